"""Moments of integer images of 32 bits. The sum of squares of an image takes two words; totals are Python's integers.

There is no CUDA kernel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.base import Column, Columns, Kind, Part
from gpustats.statistics.clusters import FACTORS
from gpustats.statistics.compiled import compiled
from gpustats.statistics.exact import FRACTION_BITS
from gpustats.statistics.moments import Moments

__all__ = ["WideMoments", "row_u32"]

_UNIT = 1 << FRACTION_BITS


class WideMoments(Moments):
    """Sums of 32-bit images, with the totals of `Moments`."""

    outputs = None

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """Integers of 32 bits only."""
        return None if kind.dtype in ("uint32", "int32") else "these sums are of integers of 32 bits"

    def columns(self) -> Mapping[str, Column]:
        """Return what `Moments` has; the sum of squares is ``sumsq`` + 2**64 ``sumsq_high``."""
        columns = dict(super().columns())
        return {**columns, "sumsq_high": columns["sumsq"]}

    def kernel(self) -> Any:
        """Return the function for 32-bit images."""
        return row_u32

    def fold_segments(self, columns: Columns, starts: Sequence[int]) -> list[Part]:
        """Return the totals of each segment of the rows, some 20 microseconds a row."""
        rows = [self._of_row(columns, row) for row in range(len(columns["n"]))]
        stops = [*starts[1:], len(rows)]
        return [
            self._of_values(functools.reduce(self.merge, rows[start:stop]))
            for start, stop in zip(starts, stops, strict=True)
        ]

    def _of_row(self, columns: Columns, row: int) -> Part:
        """Return the totals of one image."""
        names = ("n", "sum", "sumsq", "min", "max", "sumsq_high")
        channels = zip(*(columns[name][row].tolist() for name in names), strict=True)
        totals = [
            _of_channel(n, total, squares + (high << 64)) | {"min": low, "max": top}
            for n, total, squares, low, top, high in channels
        ]
        return {name: [channel[name] for channel in totals] for name in self.combine}

    def of_images(self, columns: Columns) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return number of values, mean, std with ddof=0, min and max of each image."""
        stds = [self._of_row(columns, row)["image_std"] for row in range(len(columns["n"]))]
        std = np.array(stds, np.float64).reshape(columns["n"].shape) / _UNIT
        return {**super().of_images(columns), "std": (std, 1)}


def _of_channel(n: int, total: int, squares: int) -> dict[str, Any]:
    """Return the totals of one channel of an image, without its extremes."""
    deviation = n * squares - total * total
    mean = round(Fraction(total * _UNIT, n)) if n else 0
    values = (n, total, squares, n * n)
    return {
        "n": n,
        "images": int(n > 0),
        "images_unbiased": int(n > 1),
        "sum": total,
        "sumsq": squares,
        "image_mean": mean,
        "image_mean_sq": mean * mean,
        "image_std": round(math.sqrt(deviation) / n * _UNIT) if n else 0,
        "image_std_unbiased": round(math.sqrt(Fraction(deviation, n * (n - 1))) * _UNIT) if n > 1 else 0,
        "image_var": round(Fraction(deviation * _UNIT, n * n)) if n else 0,
        "products": [values[i] * values[j] for i, j in FACTORS],
    }


@compiled
def row_u32(
    pixels: NDArray[np.uint32],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[np.uint32],
    high: NDArray[np.uint32],
    squares_high: NDArray[np.uint64],
) -> None:
    """Fill a row from 32-bit pixels; see `Statistic.kernel`.

    Squares are added up in halves of 32 bits, which cannot overflow for up to 2**32 pixels.
    """
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    for channel in range(channels):
        lower = upper = added = np.uint64(0)
        smallest, largest = np.uint32(0xFFFFFFFF), np.uint32(0)
        for i in range(channel, pixels.size, channels):
            x = np.uint64(pixels[i])
            square = x * x
            added += x
            lower += square & mask
            upper += square >> half
            smallest = min(smallest, pixels[i])
            largest = max(largest, pixels[i])
        column = first + channel
        n[row, column] = pixels.size // channels
        total[row, column] = added
        upper += lower >> half
        squares[row, column] = (upper << half) | (lower & mask)
        squares_high[row, column] = upper >> half
        low[row, column] = smallest
        high[row, column] = largest
