"""Sums of an array of pixels on the CPU: numba, without the interpreter lock, compiled once and cached.

The array is walked as rows of 96 bytes, a multiple of 1, 3 and 4 channels and of every vector width, so a position in
the row ("lane") always belongs to the same channel and the compiler vectorises across lanes without shuffling colours
apart. Lanes are uint32 and are emptied into uint64 before they can overflow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["moments_u8"]

_LANES = 96
# A lane of squares grows by at most 4 * 255**2 a step and must stay below 2**32: 16,512 steps; 16,384 is the power
# of two.
_STEPS = 16384


def _compiled(function: Any) -> Any:
    """Compile without the interpreter lock; keep the machine code on disk where some folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder for its cache (read-only installation without a home)
        return njit(nogil=True)(function)


@_compiled
def moments_u8(
    pixels: NDArray[np.uint8],
    channels: int,
    total: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[np.uint8],
    high: NDArray[np.uint8],
) -> None:
    """Write sum, sum of squares, min and max of each channel of interleaved 8-bit pixels.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H * W * channels,)
        Contiguous, channels interleaved.
    channels : int
        1, 2, 3, 4 or another divisor of 96 takes the fast path; any other number is right, but slower.
    total, squares : ndarray of uint64, shape (channels,)
        Outputs.
    low, high : ndarray of uint8, shape (channels,)
        Outputs.
    """
    total[:] = 0
    squares[:] = 0
    low[:] = 255
    high[:] = 0
    done = 0
    if _LANES % channels == 0:
        lane_sum = np.empty(_LANES, np.uint32)
        lane_squares = np.empty(_LANES, np.uint32)
        lane_low = np.full(_LANES, 255, np.uint8)
        lane_high = np.zeros(_LANES, np.uint8)
        steps_left = pixels.size // (4 * _LANES)
        while steps_left > 0:
            steps = min(steps_left, _STEPS)
            lane_sum[:] = 0
            lane_squares[:] = 0
            for step in range(steps):
                start = done + step * 4 * _LANES
                for j in range(_LANES):
                    a = pixels[start + j]
                    b = pixels[start + _LANES + j]
                    c = pixels[start + 2 * _LANES + j]
                    d = pixels[start + 3 * _LANES + j]
                    lane_sum[j] += np.uint32(a) + np.uint32(b) + np.uint32(c) + np.uint32(d)
                    lane_squares[j] += (
                        np.uint32(a) * np.uint32(a)
                        + np.uint32(b) * np.uint32(b)
                        + np.uint32(c) * np.uint32(c)
                        + np.uint32(d) * np.uint32(d)
                    )
                    lane_low[j] = min(lane_low[j], min(min(a, b), min(c, d)))
                    lane_high[j] = max(lane_high[j], max(max(a, b), max(c, d)))
            for j in range(_LANES):
                total[j % channels] += lane_sum[j]
                squares[j % channels] += lane_squares[j]
            done += steps * 4 * _LANES
            steps_left -= steps
        for j in range(_LANES):
            low[j % channels] = min(low[j % channels], lane_low[j])
            high[j % channels] = max(high[j % channels], lane_high[j])
    for i in range(done, pixels.size):
        x = pixels[i]
        c = i % channels
        total[c] += np.uint64(x)
        squares[c] += np.uint64(x) * np.uint64(x)
        low[c] = min(low[c], x)
        high[c] = max(high[c], x)
