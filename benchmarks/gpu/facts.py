"""The part `machine`: what the figures were measured on; everything is read, nothing is set."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from benchmarks.gpu.plan import Context
from gpustats.engines.device import gpu_problem
from gpustats.limits.machine import usable_cpus

__all__ = ["facts", "nvidia_smi"]

_FIELDS = (
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.max.mem",
    "pcie.link.gen.current",
    "pcie.link.width.current",
    "power.limit",
    "mig.mode.current",
)


def facts(context: Context) -> dict[str, Any]:
    """Return facts of the GPU, the driver and the libraries; what cannot be read is there with the reason."""
    return {
        "device_problem": gpu_problem(),
        "nvidia_smi": nvidia_smi(_FIELDS),
        "driver_capabilities": {
            name: os.environ.get(name, "not set") for name in ("NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES")
        },
        "cuda": {name: _tried(read) for name, read in _CUDA.items()},
        "libraries": {name: _tried(read) for name, read in _LIBRARIES.items()},
        "usable_cores": usable_cpus(),
        "cores": os.cpu_count(),
    }


def nvidia_smi(fields: tuple[str, ...]) -> dict[str, str]:
    """Ask nvidia-smi for fields of GPU 0; one that it does not know costs only itself."""
    try:
        together = _query(fields)
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, FileNotFoundError):
            return {"error": "there is no nvidia-smi"}
        together = None
    if together is not None:
        return dict(zip(fields, together, strict=True))
    found: dict[str, str] = {}
    for name in fields:
        with suppress(OSError, subprocess.SubprocessError):
            found[name] = (_query((name,)) or ["unknown"])[0]
    return found


def _query(fields: tuple[str, ...]) -> list[str] | None:
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    values = [value.strip() for value in done.stdout.strip().split(",")]
    return values if done.returncode == 0 and len(values) == len(fields) else None


def _tried(read: Callable[[], Any]) -> str:
    try:
        return str(read())
    except Exception as error:  # noqa: BLE001 - a library may be absent or broken in any way
        return f"{type(error).__name__}: {error}"[:200]


def _runtime() -> Any:
    from cupy.cuda import runtime

    return runtime


def _nvrtc() -> str:
    from cupy.cuda import nvrtc

    return ".".join(map(str, nvrtc.getVersion()))


def _compute_capability() -> str:
    properties = _runtime().getDeviceProperties(0)
    return f"{properties['major']}.{properties['minor']}, {properties['multiProcessorCount']} multiprocessors"


def _version(name: str) -> Callable[[], Any]:
    def read() -> Any:
        import importlib

        return importlib.import_module(name).__version__

    return read


_CUDA: dict[str, Callable[[], Any]] = {
    "runtime": lambda: _runtime().runtimeGetVersion(),
    "driver": lambda: _runtime().driverGetVersion(),
    "nvrtc": _nvrtc,
    "compute_capability": _compute_capability,
}
_LIBRARIES: dict[str, Callable[[], Any]] = {
    "cupy": _version("cupy"),
    "dali": _version("nvidia.dali"),
    "nvimgcodec": _version("nvidia.nvimgcodec"),
    "numba": _version("numba"),
    "numpy": _version("numpy"),
    "pillow": _version("PIL"),
    "simplejpeg": _version("simplejpeg"),
    "torch": _version("torch"),
    "torchvision": _version("torchvision"),
}
