"""Compiles every kernel for sm_90 as CuPy does, with what pip installed alone, and computes a folder on the CPU.

    python tests/kernels/bare_compile.py

For a fresh environment that has gpustats with one of its extras for CUDA and nothing else. No driver is needed.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["CUPY_ADDS"]

# What CuPy 14 puts behind our options, besides paths and the architecture.
CUPY_ADDS = ("-ftz=true", "--device-as-default-execution-space")


def why_not() -> str | None:
    """Why there is nothing to check on this platform, or None."""
    if sys.platform not in ("linux", "win32"):
        return f"there are no wheels of CuPy for {sys.platform}"
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64"):
        return f"there are no wheels of CuPy for {platform.machine()}"
    return None


def compile_as_cupy(source: str, options: Sequence[str]) -> tuple[bytes, tuple[str, ...]]:
    """Return the machine code of a source, and the options that CuPy gave to NVRTC.

    It is the function of CuPy that RawModule calls. Without a device it is told the architecture, and it fails
    when it loads what it has compiled, which is kept before.
    """
    from cupy._core.core import compile_with_cache
    from cupy.cuda import compiler
    from cupy_backends.cuda.api.driver import CUDADriverError
    from cupy_backends.cuda.api.runtime import CUDARuntimeError

    done: list[tuple[bytes, tuple[str, ...]]] = []
    real = compiler._NVRTCProgram.compile

    def kept(program: Any, options: tuple[str, ...] = (), log_stream: Any = None) -> Any:
        result = real(program, options, log_stream)
        done.append((result[0], options))
        return result

    compiler._get_arch = lambda: "90"
    compiler._get_arch_for_options_for_nvrtc = lambda arch=None: ("-arch=sm_90", "cubin")
    compiler._NVRTCProgram.compile = kept
    try:
        compile_with_cache(source, tuple(options), prepend_cupy_headers=False)
    except (CUDADriverError, CUDARuntimeError) as error:
        if not done:
            raise AssertionError(f"CuPy did not come as far as NVRTC: {error}") from error
    finally:
        compiler._NVRTCProgram.compile = real
    return done[-1]


def loaded(name: str) -> list[Path]:
    """Return the libraries of this process whose file begins with a name (Linux)."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {Path(line.split(maxsplit=5)[5].strip()) for line in maps if line.count("/")}
    return sorted(path for path in paths if path.name.startswith(name))


def check_kernels() -> None:
    """Compile all kernels; fail where something comes from elsewhere or the options are others than the tests use."""
    from gpustats.cuda.launcher import COMPILE_OPTIONS, KERNELS, kernel_source

    packages = Path(sysconfig.get_path("platlib")).resolve()
    for source in KERNELS:
        start = time.monotonic()
        code, options = compile_as_cupy(kernel_source(source), COMPILE_OPTIONS)
        assert code.startswith(b"\x7fELF"), f"{source}: what was compiled is no machine code"
        folders = [Path(option[2:]).resolve() for option in options if option.startswith("-I")]
        outside = [str(folder) for folder in folders if not folder.is_relative_to(packages)]
        assert not outside, f"headers come from outside the environment: {', '.join(outside)}"
        assert any((folder / "cuda_runtime.h").is_file() for folder in folders), "there are no headers of CUDA"
        rest = tuple(option for option in options if not option.startswith(("-I", "-arch")))
        assert rest == (*COMPILE_OPTIONS, *CUPY_ADDS), f"CuPy compiles with other options than the tests: {rest}"
        print(f"{source}: {len(code)} bytes for sm_90 in {time.monotonic() - start:.1f} s")
    if sys.platform == "linux":
        libraries = loaded("libnvrtc")
        assert libraries, "libnvrtc is not loaded"
        outside = [str(path) for path in libraries if not path.resolve().is_relative_to(packages)]
        assert not outside, f"libnvrtc comes from outside the environment: {', '.join(outside)}"
        print("libnvrtc:", *(path.relative_to(packages) for path in libraries))


def check_compute() -> None:
    """Compute a few images with CuPy and DALI installed; without a driver the CPU is taken."""
    import numpy as np
    from PIL import Image

    import gpustats

    with tempfile.TemporaryDirectory() as folder:
        for k in range(3):
            Image.fromarray(np.full((4, 5, 3), 10 * k, np.uint8)).save(Path(folder, f"{k}.png"))
        stats = gpustats.compute(folder, progress=False)
    assert stats.n_images == 3, f"{stats.n_images} of 3 images were computed"
    print(f"gpustats.compute: {stats.n_images} images, mean {stats.mean}")


def main() -> int:
    """Check, print what was found, and return 1 where something is missing."""
    if reason := why_not():
        print(f"skipped: {reason}")
        return 0
    os.environ["CUPY_CACHE_IN_MEMORY"] = "1"  # what was compiled before proves nothing
    os.environ.pop("CUDA_PATH", None)
    try:
        check_kernels()
        check_compute()
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
