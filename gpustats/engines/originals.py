"""What the statistics that read files are given: the image as it came, before anything is done to its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.peek import stored_as
from gpustats.statistics.base import Columns, Statistic
from gpustats.statistics.original import Original, Whole, fill

__all__ = ["columns_of_files", "original"]

_NO_PIXELS = np.empty((0, 0, 0), np.uint8)


def original(data: bytes | NDArray[np.uint8] | None, pixels: NDArray[Any], color_space: str = "") -> Original:
    """Return what an image is, from its file (None where it is none), its decoded pixels and what its decoder saw."""
    if data is None:
        return Original.of_pixels(pixels)
    data = data if isinstance(data, bytes) else bytes(data)
    return Original(data, pixels.shape[0], pixels.shape[1], *stored_as(data, color_space))


def columns_of_files(
    statistics: Sequence[Statistic], files: Iterable[tuple[memoryview, int, int]], count: int
) -> Columns:
    """Return the columns of the statistics that read files, of so many files with their heights and widths."""
    measured = [s for s in statistics if s.of_original]
    found: list[list[tuple[Any, ...]]] = [[] for _ in measured]
    for data, height, width in files if measured else ():
        image = Whole(_NO_PIXELS, None, Original(data, height, width, *stored_as(data)))
        for statistic, rows in zip(measured, found, strict=True):
            rows.append(statistic.measure(image))
    columns: dict[str, NDArray[Any]] = {}
    for statistic, rows in zip(measured, found, strict=True):
        own = {name: np.zeros((count, *column.shape), column.dtype) for name, column in statistic.columns().items()}
        fill(own, rows)
        columns |= {f"{statistic.name}.{name}": column for name, column in own.items()}
    return columns
