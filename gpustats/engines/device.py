"""Which engine runs: the device that was asked for, and what stands in its way."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Mapping

from gpustats.definition import Definition
from gpustats.engines.base import Engine
from gpustats.engines.gpu_batch import KIND
from gpustats.engines.on_gpu import kernel_problem
from gpustats.errors import DeviceError
from gpustats.install import pip_install
from gpustats.limits.machine import usable_cpus
from gpustats.limits.memory import memory_in_flight

__all__ = ["gpu_problem", "open_engine"]

_DEFAULT = Definition()

log = logging.getLogger("gpustats")

_DEVICE = re.compile(r"(?:gpu|cuda)(?::(\d+))?")


def open_engine(
    device: str,
    *,
    definition: Definition = _DEFAULT,
    workers: int | None,
    max_pixels: int,
    memory: str | float | None = None,
    isolate: bool = False,
    gpu_options: Mapping[str, int | float] | None = None,
) -> Engine:
    """Return the engine for a device.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"gpu"``, ``"cuda"`` or ``"cuda:1"``. ``"auto"`` takes the GPU where CuPy, DALI and a
        device are there, else the CPU, and says why in one line of the log ``gpustats``.
    definition : Definition
        What is measured.
    workers : int or None
        CPU threads; by default the cores that the process may use.
    max_pixels : int
        Limit of an image.
    memory : str, int or float, optional
        What the process should stay below on the host; see `gpustats.limits.memory.parse_memory`.
    isolate : bool
        Decode in processes of their own, which is done on the CPU: ``"auto"`` then takes the CPU.
    gpu_options : mapping, optional
        Settings of `gpustats.engines.tuning.Tuning` by name.

    Raises
    ------
    DeviceError
        Where `device` is unknown, or a GPU was asked for and cannot be used or has no kernel for a statistic.
    """
    match = _DEVICE.fullmatch(device) if isinstance(device, str) else None
    if match is None and device not in ("auto", "cpu"):
        raise DeviceError(f"device should be 'auto', 'cpu', 'gpu' or 'cuda:N', got {device!r}")
    threads = workers or usable_cpus()
    in_flight = memory_in_flight(memory)
    if isolate:
        if match:
            raise DeviceError(f"device={device!r} cannot be used: isolate=True decodes on the CPU")
        from gpustats.engines.isolated import IsolatedEngine

        return IsolatedEngine(definition, workers=threads, max_pixels=max_pixels, memory=in_flight)
    if device != "cpu":
        device_id = int(match[1] or 0) if match else 0
        problem = kernel_problem(definition.statistics, KIND) or gpu_problem(device_id)
        if problem is None:
            return _open_gpu(device_id, definition, threads, max_pixels, in_flight, gpu_options)
        if match:
            raise DeviceError(f"device={device!r} cannot be used: {problem}")
        log.info("gpustats: computing on the CPU: %s", problem)
    from gpustats.engines.cpu import CpuEngine

    return CpuEngine(definition, workers=threads, max_pixels=max_pixels, memory=in_flight)


def gpu_problem(device_id: int = 0) -> str | None:
    """Return why CUDA device `device_id` cannot be used, None where it can."""
    for module, name in (("cupy", "CuPy"), ("nvidia", "DALI")):
        if importlib.util.find_spec(module) is None:
            return f"{name} is not installed; {_install()}"
    try:
        import cupy
        import nvidia.dali  # noqa: F401 - only whether it can be loaded
    except ImportError as error:
        return f"{error}; {_install()}"
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA reports no usable device ({error})"
    if device_id >= count:
        return f"there is no CUDA device {device_id}: CUDA sees {count}"
    return None


def _install() -> str:
    return f"{pip_install('cuda13')} (or [cuda12] for CUDA 12)"


def _open_gpu(
    device_id: int,
    definition: Definition,
    workers: int,
    max_pixels: int,
    memory: int,
    options: Mapping[str, int | float] | None,
) -> Engine:
    from gpustats.engines.cpu import CpuEngine
    from gpustats.engines.cuda_reduce import CudaReducer, device_name
    from gpustats.engines.gpu import GpuEngine
    from gpustats.engines.tuning import choose

    name = device_name(device_id)
    tuning = choose(name, workers, options)
    ahead = memory // 4
    cpu = CpuEngine(definition, workers=tuning.cpu_workers or workers, max_pixels=max_pixels, memory=memory - ahead)
    return GpuEngine(
        tuning=tuning,
        cpu=cpu,
        reducer=CudaReducer(device_id, definition.statistics),
        decode_device="mixed",
        device_id=device_id,
        device_name=name,
        max_pixels=max_pixels,
        max_bytes=cpu.max_bytes,
        memory=ahead,
    )
