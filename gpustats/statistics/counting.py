"""The moments of a few images without compiled code: NumPy counts how often each value occurs.

numba takes 0.4 seconds to load what it compiled before, and some seconds where it has to compile: too long for one
image. So the first images of a process are counted here, see `gpustats.statistics.compiled`. The integers are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["count_row"]

_AT_ONCE = 1 << 17  # values that NumPy widens to 8 bytes each before it counts them


def count_row(
    pixels: NDArray[Any],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[Any],
    high: NDArray[Any],
) -> None:
    """Fill a row from 8- or 16-bit pixels; see `Statistic.kernel`."""
    top = int(np.iinfo(pixels.dtype).max)
    values = np.arange(top + 1, dtype=np.uint64)
    step = _AT_ONCE * channels
    n[row, first : first + channels] = pixels.size // channels
    for channel in range(channels):
        counts = np.zeros(top + 1, np.uint64)
        for start in range(channel, pixels.size, step):
            counts += np.bincount(pixels[start : start + step : channels], minlength=top + 1).astype(np.uint64)
        seen = np.flatnonzero(counts)
        column = first + channel
        total[row, column] = counts @ values
        squares[row, column] = counts @ (values * values)
        low[row, column], high[row, column] = (seen[0], seen[-1]) if len(seen) else (top, 0)
