"""What the statistics that read files are given: the image as it came, before anything is done to its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.peek import stored_as
from gpustats.statistics.base import Columns, Statistic
from gpustats.statistics.original import Original, Whole

__all__ = ["columns_of_files", "original"]

_NO_PIXELS = np.empty((0, 0, 0), np.uint8)


def original(
    data: bytes | NDArray[np.uint8] | None, pixels: NDArray[Any], whole: tuple[int, int] | None = None
) -> Original:
    """Return what an image is, from its file (None where it is none) and its decoded pixels.

    `whole` is its height and width where it was decoded at a reduced scale.
    """
    if data is None:
        return Original.of_pixels(pixels)
    data = data if isinstance(data, bytes) else bytes(data)
    height, width = whole or pixels.shape[:2]
    return Original(data, height, width, *stored_as(data))


def columns_of_files(
    statistics: Sequence[Statistic], files: Iterable[tuple[memoryview, int, int]], count: int
) -> Columns:
    """Return the columns of the statistics that read files, of so many files with their heights and widths."""
    measured = [
        (s, {name: np.zeros((count, *column.shape), column.dtype) for name, column in s.columns().items()})
        for s in statistics
        if s.of_original
    ]
    for row, (data, height, width) in enumerate(files if measured else ()):
        found = Whole(_NO_PIXELS, None, Original(data, height, width, *stored_as(data)))
        for statistic, columns in measured:
            statistic.measure(found, row, columns)
    return {f"{s.name}.{name}": column for s, columns in measured for name, column in columns.items()}
