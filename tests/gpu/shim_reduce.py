"""The reduction of a decoded batch by the CUDA kernels, run on the CPU; plans as `cuda_reduce.CudaReducer` does."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpustats.cuda.outputs import finish
from gpustats.cuda.tiles import LaunchPlan, plan_batch
from gpustats.engines.gpu_batch import CHANNELS, KIND, POISON
from gpustats.engines.on_gpu import columns_of, pooled_parts, wanted
from gpustats.statistics import for_kind
from tests.gpu.host_reduce import Done

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))
if TYPE_CHECKING:
    from kernel_shim import CpuDevice

__all__ = ["ShimReducer"]


class ShimReducer:
    """Runs one kernel over a batch in host memory."""

    name = "cuda on the CPU"

    def __init__(self, device: CpuDevice, statistics: tuple[str, ...], per_image: bool = True) -> None:
        self._device = device
        self._per_image = per_image
        self._statistics = for_kind(statistics, KIND)
        self.plans: list[LaunchPlan] = []

    def launch(self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]) -> Done:
        """Measure at once, and poison the pixels."""
        plan = plan_batch(pointers, heights, widths, CHANNELS, np.uint8, **wanted(self._statistics, self._per_image))
        self.plans.append(plan)
        outputs = finish(plan, self._device.run(plan))
        for pointer, size in zip(pointers, heights * widths * CHANNELS, strict=True):
            ctypes.memset(int(pointer), POISON, int(size))
        columns = columns_of(self._statistics, outputs)
        return Done(columns, lambda left_out: pooled_parts(self._statistics, outputs, left_out))
