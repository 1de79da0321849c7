"""The reduction of a decoded batch in host memory: stands in for the CUDA launch where DALI decodes on the CPU."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.gpu_batch import CHANNELS, POISON, Moments
from gpustats.reduce import moments_u8

__all__ = ["HostReducer"]


class HostReducer:
    """Reduces samples at their addresses with the CPU kernel; the same interface as `cuda_reduce.CudaReducer`."""

    name = "host"

    def launch(self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]) -> Moments:
        """Reduce at once; poison what was read, as the GPU engine does."""
        count = len(pointers)
        moments = Moments(
            sum=np.empty((count, CHANNELS), np.uint64),
            sumsq=np.empty((count, CHANNELS), np.uint64),
            min=np.empty((count, CHANNELS), np.uint8),
            max=np.empty((count, CHANNELS), np.uint8),
        )
        for i in range(count):
            size = int(heights[i] * widths[i]) * CHANNELS
            pixels = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(pointers[i])))
            moments_u8(pixels, CHANNELS, moments.sum[i], moments.sumsq[i], moments.min[i], moments.max[i])
            ctypes.memset(int(pointers[i]), POISON, size)
        return moments
