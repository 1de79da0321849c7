"""How kernels on the CPU walk an array of pixels: as rows of lanes, where a lane always holds the same channel, or apart.

What needs the channels of a pixel together takes them apart first, some thousand values at a time, so that they stay in
the first cache: for three channels, LLVM shuffles 32 pixels at once, which takes less than to multiply them in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.compiled import compiled

__all__ = ["lanes_of", "split"]


@compiled
def lanes_of(channels: int, usual: int, itemsize: int) -> int:
    """Return the lanes of a row: the usual number where the channels divide it, else up to 16 pixels of them.

    Four rows that are long keep the processor from reading ahead, so they stay below 256 bytes where they can.
    """
    if usual % channels == 0:
        return usual
    pixels = 16
    while pixels > 1 and pixels * channels * itemsize > 256:
        pixels //= 2
    return pixels * channels


@compiled
def split(pixels: NDArray[Any], planes: NDArray[Any]) -> None:
    """Take the channels of interleaved pixels apart.

    Parameters
    ----------
    pixels : ndarray, shape (N * channels,)
        Contiguous, channels interleaved.
    planes : ndarray, shape (channels, N)
        Output.
    """
    channels, count = planes.shape
    if channels == 3:
        one, two, three = planes[0], planes[1], planes[2]
        for x in range(np.uint64(count)):  # unsigned, so that nobody asks whether a place is negative
            first = x * np.uint64(3)
            one[x] = pixels[first]
            two[x] = pixels[first + np.uint64(1)]
            three[x] = pixels[first + np.uint64(2)]
    else:
        for channel in range(channels):
            own = planes[channel]
            for x in range(count):
                own[x] = pixels[x * channels + channel]
