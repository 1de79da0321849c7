from __future__ import annotations

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
    return CpuDevice(tmp_path_factory.mktemp("old_kernels"), arch=750, sources=("moments.cu", "joint.cu", "strided.cu"))
