"""The reduction of a decoded batch in host memory: stands in for the CUDA launch where DALI decodes on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.gpu_batch import CHANNELS, POISON
from gpustats.statistics.base import Columns, Part
from gpustats.statistics.builder import RowBuilder

__all__ = ["Done", "HostReducer"]


class Done:
    """A launch that is finished when it returns."""

    def __init__(
        self, columns: Columns, folded: Callable[[NDArray[np.bool_]], dict[str, Part]] = lambda left_out: {}
    ) -> None:
        self._columns = columns
        self._folded = folded

    def result(self) -> Columns:
        return self._columns

    def folded(self, left_out: NDArray[np.bool_]) -> dict[str, Part]:
        return self._folded(left_out)


class HostReducer:
    """Reduces samples at their addresses with the CPU kernels; the same interface as `cuda_reduce.CudaReducer`."""

    name = "host"

    def __init__(self, statistics: tuple[str, ...] = ("moments",)) -> None:
        self._statistics = statistics

    def launch(self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]) -> Done:
        """Reduce at once; poison what was read, as the GPU engine does."""
        rows = RowBuilder(len(pointers), self._statistics)
        for i, pointer in enumerate(pointers):
            shape = (int(heights[i]), int(widths[i]), CHANNELS)
            size = shape[0] * shape[1] * CHANNELS
            pixels = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(pointer))).reshape(shape)
            rows.add(str(i), "", pixels)
            ctypes.memset(int(pointer), POISON, size)
        return Done(rows.rows().columns)
