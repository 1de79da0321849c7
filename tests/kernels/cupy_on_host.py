"""Runs the launcher, the GPU engine and arrays in GPU memory with the real CuPy, and CUDA in host memory below it.

    python tests/kernels/cupy_on_host.py

For an environment that has gpustats with its extra cuda13, on Linux with g++; no driver is needed. CuPy's wheel is
used as it is but for one module, the wrapper of CUDA's runtime, which the wheel links to a library that needs a driver:
it is built again from CuPy's source, which pip downloads. So CuPy itself checks our calls, compiles the kernels with
NVRTC, loads them, and manages memory, streams and events; `host_cuda.cpp` does what a device would, with the kernels of
the CPU stand-in. DALI's pipeline is a stand-in, too.
"""

from __future__ import annotations

import ctypes
import io
import os
import platform
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import machinery, metadata, util
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

_RUNTIME = "cupy_backends.cuda.api.runtime"
_TOOLS = ("cython>=3.2,<3.3", "nvidia-cuda-crt", "nvidia-cuda-profiler-api")  # and two headers that CUDA's own need
_FAILS = "GPUSTATS_HOST_CUDA_FAILS"


def why_not() -> str | None:
    """Why nothing can be run here, or None."""
    import kernel_shim

    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"built for Linux on x86-64 only, this is {sys.platform} on {platform.machine()}"
    if util.find_spec("cupy") is None:
        return "CuPy is not installed: pip install '.[cuda13]'"
    return kernel_shim.why_not()


# -- building
# ---------------------------------------------------------------------------------------------------------


class Missing(Exception):
    """What pip cannot get here."""


def _ran(command: list[str], **options: Any) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)[:300]}\n{(run.stdout + run.stderr)[-3000:]}")


def _pip(*arguments: str) -> None:
    # Without the variable CuPy looks for a CUDA toolkit even when its source is only downloaded.
    environment = {**os.environ, "CUPY_INSTALL_USE_STUB": "1"}
    command = [sys.executable, "-m", "pip", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        raise Missing(f"pip {' '.join(arguments)}: {run.stderr.strip()[-300:]}")


def build(folder: Path) -> None:
    """Build CUDA in host memory, the kernels for it, and CuPy's wrapper of the runtime, in a folder."""
    import kernel_shim

    version = metadata.version("cupy-cuda13x")
    _pip("install", "--quiet", "--no-deps", "--target", str(folder / "tools"), *_TOOLS)
    _pip("download", "--quiet", "--no-deps", "--no-binary", "cupy", f"cupy=={version}", "-d", str(folder))
    with tarfile.open(next(folder.glob("cupy-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    source = folder / f"cupy-{version}"
    headers = [Path(sysconfig.get_path("platlib"), "nvidia/cu13/include"), folder / "tools/nvidia/cu13/include"]
    include = [f"-I{path}" for path in (*headers, sysconfig.get_path("include"), source / "cupy_backends/cuda/api")]

    # The constants are those of CuPy's own build (install/cupy_builder/_command.py).
    code = (
        "from Cython.Compiler.Main import CompilationOptions, compile\n"
        "from Cython.Compiler.Options import default_options\n"
        "from Cython import __version__\n"
        "constants = dict(CUPY_CUDA_VERSION=13000, CUPY_HIP_VERSION=0, CUPY_USE_CUDA_PYTHON=False,"
        " CUPY_CUFFT_STATIC=False, CUPY_CYTHON_VERSION=__version__)\n"
        "options = CompilationOptions(default_options, cplus=True, language_level=3, include_path=['.'],"
        f" compile_time_env=constants, output_file={str(folder / 'runtime.cpp')!r})\n"
        "raise SystemExit(compile('cupy_backends/cuda/api/runtime.pyx', options).num_errors)\n"
    )
    _ran([sys.executable, "-c", code], cwd=source, env={**os.environ, "PYTHONPATH": str(folder / "tools")})
    common = ["g++", "-O1", "-shared", "-fPIC", "-w", *include]
    library = str(folder / "libcuda.so.1")
    _ran([*common, "-std=c++17", str(HERE / "host_cuda.cpp"), "-Wl,-soname,libcuda.so.1", "-ldl", "-o", library])
    _ran([*common, str(folder / "runtime.cpp"), library, "-Wl,-z,lazy", "-o", str(folder / "runtime.so")])
    kernel_shim.CpuDevice(folder)


class _Runtime:
    """Finds the one module of CuPy that was built again."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> machinery.ModuleSpec | None:
        if name != _RUNTIME:
            return None
        loader = machinery.ExtensionFileLoader(name, self._path)
        return util.spec_from_file_location(name, self._path, loader=loader)


# -- checks
# ---------------------------------------------------------------------------------------------------------


def check_launches() -> str:
    """Launch every kind of kernel, several at a time, and compare with NumPy."""
    import cupy
    from kernel_shim import Batch

    from gpustats.cuda.launcher import Reducer

    assert cupy.cuda.runtime.getDeviceProperties(0)["name"] == b"CUDA in host memory"
    reducer = Reducer(0)
    rng = np.random.default_rng(0)
    cases: list[tuple[str, dict[str, bool]]] = [("uint8", {}), ("uint16", {}), ("float32", {})]
    cases += [("uint8", {"cross": True}), ("uint16", {"cross": True})]
    cases += [("uint8", {"histogram": True}), ("uint8", {"histogram": True, "pooled": True})]
    launches = 0
    for stream in (cupy.cuda.Stream.null, cupy.cuda.Stream(non_blocking=True)):
        for channels in (3, 4, 5):
            batches = [
                (Batch.random(rng, [(5, 7), (0, 2), (30, 41 + k)], channels, dtype, start=16 * k), options)
                for k, (dtype, options) in enumerate(cases)
            ]
            pending = [reducer.launch(batch.plan(**options), stream) for batch, options in batches]
            for (batch, options), launched in zip(batches, pending, strict=True):
                batch.check(launched.result(), **options)
                launches += 1
    return f"{launches} launches"


def _photos(count: int) -> dict[str, bytes]:
    from PIL import Image

    rng = np.random.default_rng(1)
    images = {}
    for k in range(count):
        small = rng.integers(0, 256, (6, 7, 3), np.uint8) if k % 9 else np.zeros((6, 7, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((40 + k % 7, 50 + k % 5)).save(file, "JPEG")
        images[f"photo{k:03d}.jpg"] = file.getvalue()
    return images


@contextmanager
def pipelines_in_device_memory() -> Iterator[None]:
    """Replace DALI's pipeline by the tests' stand-in, whose pixels then lie in memory that CuPy has allocated."""
    import cupy

    from gpustats.engines import dali
    from tests.gpu import fake_dali

    class Pipeline(fake_dali.FakePipeline):
        def run(self) -> Any:
            outputs, serials = super().run()
            self.kept = memory = cupy.cuda.alloc(outputs.buffer.nbytes)
            on_device = np.ctypeslib.as_array((ctypes.c_uint8 * memory.mem.size).from_address(memory.ptr))
            on_device[: outputs.buffer.nbytes] = outputs.buffer
            outputs.buffer = on_device[: outputs.buffer.nbytes]
            outputs.memory = memory
            return outputs, serials

    real = dali.build_pipeline
    dali.build_pipeline = lambda source, tuning, *rest: Pipeline(source, tuning.prefetch, lambda n, images: images)
    try:
        yield
    finally:
        dali.build_pipeline = real


def _totals(folder: Path, **options: Any) -> Any:
    import gpustats

    with pipelines_in_device_memory():
        return gpustats.compute(folder, progress=False, gpu_options={"batch_size": 7}, **options)


def check_engine(folder: Path) -> str:
    """Compute a folder with the GPU engine: the integers of the CPU engine, for every statistic."""
    runs = 0
    for statistics in ((), ("histogram",), ("covariance",), ("histogram", "covariance")):
        expected = _totals(folder, device="cpu", statistics=statistics, group_by="folder")
        for more in ({}, {"per_image": folder.with_suffix(".csv")}, {"group_by": "folder"}):  # no pyarrow is needed
            found = _totals(folder, device="gpu", statistics=statistics, **more)
            assert found.totals == expected.totals, (statistics, more)
            assert found.runs[0]["engine"] == "gpu", found.runs
            assert found.runs[0]["images_by_decoder"]["dali-nvjpeg"] > 40, found.runs
            runs += 1
    return f"{runs} runs"


def check_faults(folder: Path) -> str:
    """Make every call of CUDA fail once, at every place: no image is lost and no number is another."""
    expected = _totals(folder, device="cpu", statistics=("histogram",)).totals
    functions = ("cudaMalloc", "cudaHostAlloc", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaEventRecord")
    functions += ("cudaEventSynchronize", "cuModuleLoadData", "cuLaunchKernel")
    engines = {"cpu": 0, "gpu": 0}
    for function in functions:
        for number in range(1, 13):
            os.environ[_FAILS] = f"{function}:{number}"
            try:
                found = _totals(folder, device="auto", statistics=("histogram",))
            except Exception as error:
                raise AssertionError(f"with {os.environ[_FAILS]}: {error}") from error
            assert found.totals == expected, os.environ[_FAILS]
            assert not len(found.failures), os.environ[_FAILS]
            engines[found.runs[0]["engine"]] += 1
    os.environ.pop(_FAILS)
    assert engines["gpu"] > engines["cpu"] > 0, engines
    return f"{sum(engines.values())} runs, of which the CPU did {engines['cpu']}"


def check_arrays() -> str:
    """Compute CuPy's arrays where they lie."""
    import cupy

    import gpustats

    rng = np.random.default_rng(2)
    arrays = 0
    for dtype, statistics in (("uint8", ("histogram", "covariance")), ("uint16", ("covariance",)), ("float32", ())):
        images = [(rng.random((9 + k, 11, 3)) * 200).astype(dtype) for k in range(5)]
        found = gpustats.compute([cupy.asarray(image) for image in images], statistics=statistics, progress=False)
        expected = gpustats.compute(images, statistics=statistics, progress=False)
        if dtype == "float32":
            np.testing.assert_allclose(found.std, expected.std, rtol=1e-12)
        else:
            assert found.totals["moments"] == expected.totals["moments"], dtype
            assert all(found.totals[name] == expected.totals[name] for name in statistics), dtype
        arrays += len(images)
    return f"{arrays} arrays"


def check(folder: Path) -> None:
    """Run all checks in a process that finds the libraries of `build`."""
    import logging

    logging.getLogger("gpustats").setLevel(logging.CRITICAL)
    sys.setdlopenflags(os.RTLD_LAZY)  # host_cuda.cpp has what is called, not all that CuPy names
    sys.meta_path.insert(0, _Runtime(folder / "runtime.so"))
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for name, data in _photos(60).items():
        (photos / name).write_bytes(data)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("the launcher", check_launches),
        ("the engine", lambda: check_engine(photos)),
        ("CUDA's faults", lambda: check_faults(photos)),
        ("CuPy's arrays", check_arrays),
    ]
    for what, run in checks:
        started = time.monotonic()
        print(f"{what}: {run()} in {time.monotonic() - started:.0f} s", flush=True)


def main() -> int:
    """Build and check; print what was done, and return 1 where something is wrong."""
    if sys.argv[1:2] == ["--check"]:
        check(Path(sys.argv[2]))
        return 0
    if reason := why_not():
        print(f"skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory(prefix="gpustats-cupy-") as name:
        folder = Path(name)
        started = time.monotonic()
        try:
            build(folder)
        except Missing as error:
            print(f"skipped: {error}")
            return 0
        version, seconds = metadata.version("cupy-cuda13x"), time.monotonic() - started
        print(f"CuPy {version} on CUDA in host memory: built in {seconds:.0f} s", flush=True)
        kernels = sorted(str(path) for path in folder.glob("*_900.so"))
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(folder),
            "GPUSTATS_HOST_KERNELS": ":".join(kernels),
            "CUPY_CACHE_IN_MEMORY": "1",
        }
        environment.pop("CUDA_PATH", None)
        return subprocess.run(
            [sys.executable, __file__, "--check", str(folder)], env=environment, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
