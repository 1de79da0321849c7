from __future__ import annotations

import functools
import os

import pytest
from kernel_shim import CpuDevice, why_not


@pytest.fixture(scope="session")
def cpu_device(tmp_path_factory: pytest.TempPathFactory) -> CpuDevice:
    """The kernels as a Hopper or newer would run them, on the CPU."""
    if reason := why_not():
        pytest.skip(reason)
    return CpuDevice(tmp_path_factory.mktemp("kernels"), arch=900)


@pytest.fixture(scope="session")
def old_cpu_device(tmp_path_factory: pytest.TempPathFactory) -> CpuDevice:
    """The kernels with the code that replaces newer instructions, on the CPU."""
    if reason := why_not():
        pytest.skip(reason)
    return CpuDevice(tmp_path_factory.mktemp("old_kernels"), arch=750, sources=("moments.cu", "joint.cu"))


@functools.cache
def _no_gpu() -> str | None:
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "no CUDA device"
    except Exception as error:  # noqa: BLE001 - a broken driver shows itself in many ways; none may stop the other tests
        return f"no usable CUDA device: {type(error).__name__}: {error}"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, for those of GPU tests need the device."""
    if item.get_closest_marker("gpu") and (reason := _no_gpu()):
        if os.environ.get("GPUSTATS_REQUIRE_GPU") == "1":
            pytest.fail(f"GPUSTATS_REQUIRE_GPU=1, but {reason}")
        pytest.skip(reason)
