"""From the pixels of images to rows, for any statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.failures import ImageError
from gpustats.statistics import for_kind
from gpustats.statistics.base import Kind, Statistic
from gpustats.statistics.compiled import at_first, ready
from gpustats.statistics.missing import present, valid_values
from gpustats.statistics.original import Original, Whole
from gpustats.statistics.rows import NO_ROWS, Rows, mixture

__all__ = ["RowBuilder"]

_UINT8 = np.dtype(np.uint8)
# What pixels are measured as, and what a kernel is given.
_MEASURED = {
    np.dtype(np.uint8): ("uint8", np.uint8),
    np.dtype(np.uint16): ("uint16", np.uint16),
    np.dtype(np.float16): ("float64", np.float32),
    np.dtype(np.float32): ("float64", np.float32),
    np.dtype(np.float64): ("float64", np.float64),
}


class RowBuilder:
    """Reduces the images of one batch to rows. All must be of one kind.

    Parameters
    ----------
    count : int
        Images at most.
    statistics : tuple of str
        What to measure.
    nodata : tuple of float
        Values that do not count, see `gpustats.statistics.missing.present`.
    """

    def __init__(self, count: int, statistics: tuple[str, ...], nodata: tuple[float, ...] = ()) -> None:
        self._count = count
        self._names = statistics
        self._nodata = nodata
        self._keys: list[str] = []
        self._groups: list[str] = []
        self._size = np.empty((2, count), np.uint64)
        self._kind: Kind | None = None
        self._own: list[dict[str, NDArray[Any]]] = []  # columns of each statistic
        self._calls: list[tuple[Any, bool, tuple[NDArray[Any], ...]]] = []  # kernel, whole pixels, columns
        self._derived: list[tuple[Any, tuple[NDArray[Any], ...]]] = []  # from columns of others to columns
        self._whole: list[tuple[Statistic, dict[str, NDArray[Any]]]] = []  # those that measure whole images
        self._like: tuple[int] | None = None  # channels of 8-bit images, once there is one
        self._most_values = 0  # in one of these that no statistic finds too large

    def add(self, key: str, group: str, pixels: NDArray[Any], original: Original | None = None) -> None:
        """Measure one image.

        Parameters
        ----------
        key, group : str
            Its name and group.
        pixels : ndarray of uint8, uint16, float16, float32 or float64, shape (H, W) or (H, W, C)
            Of any strides and byte order. Masked values, NaN and infinity are left out.
        original : Original, optional
            What the image is, for statistics that want to know; by default its pixels.

        Raises
        ------
        ImageError
            Where a channel has no valid value, or values of this type cannot be measured.
        DataError
            Where the image is of another kind than one before it, or a statistic cannot be had of its kind.
        """
        row = len(self._keys)
        if (
            pixels.shape[2:] == self._like
            and pixels.dtype is _UINT8
            and type(pixels) is np.ndarray  # not a masked array
            and pixels.size <= self._most_values
            and pixels.flags.c_contiguous
        ):
            # What decoders give, thousands of times a second: nothing is left to check.
            flat, channels = pixels.reshape(-1), pixels.shape[2]
            for kernel, _, columns in self._calls:
                kernel(flat, channels, row, 0, *columns)
            if self._derived or self._whole:
                self._finish(row, Whole(pixels, None, original))
        else:
            self._measure(key, row, pixels[:, :, None] if pixels.ndim == 2 else pixels, original)
        self._size[0, row], self._size[1, row] = pixels.shape[:2]
        self._keys.append(key)
        self._groups.append(group)

    def _measure(self, key: str, row: int, pixels: NDArray[Any], original: Original | None) -> None:
        """Check an image, and fill its row."""
        dtype = pixels.dtype.newbyteorder("=")
        if dtype not in _MEASURED:
            raise ImageError("unsupported", _type_advice(dtype))
        height, width, channels = pixels.shape
        measured, wanted = _MEASURED[dtype]
        kind = Kind(channels, measured)
        if row == 0:
            if kind != self._kind:
                self._allocate(kind)
        elif kind != self._kind:
            raise DataError(mixture((self._kind, self._keys[0]), (kind, key)))
        statistics = for_kind(self._names, kind)
        for statistic in statistics:
            if height * width > statistic.most_pixels:
                limit = f"images of more than {statistic.most_pixels:,} pixels are not measured ({statistic.name})"
                raise ImageError("too_large", limit)
        valid = present(pixels, self._nodata)
        values: NDArray[Any] = np.ma.getdata(pixels)
        if valid is None:
            self._fill(row, values, wanted)
            if kind.is_float and self._problem(statistics, row):
                finite = np.isfinite(values)
                valid = None if finite.all() else finite
        elif kind.is_float:
            valid &= np.isfinite(values)
        if valid is not None:
            self._fill_valid(row, values.astype(wanted, copy=False), valid)
        self._finish(row, Whole(values, valid, original))
        problem = self._problem(statistics, row)
        if problem:
            raise ImageError("corrupt", problem)

    def _finish(self, row: int, image: Whole) -> None:
        """Fill what is not filled by kernels from pixel values alone."""
        for derive, both in self._derived:
            derive(row, *both)
        for statistic, columns in self._whole:
            statistic.measure(image, row, columns)

    def _problem(self, statistics: Sequence[Statistic], row: int) -> str | None:
        """Return what a statistic finds wrong with a row."""
        found = (statistic.row_problem(own, row) for statistic, own in zip(statistics, self._own, strict=True))
        return next(filter(None, found), None)

    def _fill(self, row: int, pixels: NDArray[Any], wanted: Any) -> None:
        """Fill a row from all values of an image."""
        channels = pixels.shape[2]
        planes, interleaved = _planes(pixels, wanted)
        whole = planes[0] if interleaved else None
        for kernel, whole_pixels, columns in self._calls:
            if whole is None and whole_pixels:
                whole = np.ascontiguousarray(pixels, dtype=wanted).reshape(-1)
            if whole is not None and (interleaved or whole_pixels):
                kernel(whole, channels, row, 0, *columns)
            else:
                for channel, plane in enumerate(planes):
                    kernel(plane, 1, row, channel, *columns)

    def _fill_valid(self, row: int, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Fill a row from the valid values of an image."""
        for kernel, whole_pixels, columns in self._calls:
            parts = valid_values(values, valid, whole_pixels)
            for channel, part in enumerate(parts):
                kernel(part, values.shape[2] // len(parts), row, channel, *columns)

    def rows(self) -> Rows:
        """Return the rows of the images added so far."""
        done = len(self._keys)
        if not done:
            return NO_ROWS
        columns = {
            f"{statistic}.{name}": column[:done]
            for statistic, own in zip(self._names, self._own, strict=True)
            for name, column in own.items()
        }
        return Rows(self._kind, self._keys, self._groups, self._size[0, :done], self._size[1, :done], columns)

    def _allocate(self, kind: Kind) -> None:
        statistics = for_kind(self._names, kind)
        self._kind = kind
        self._own = [
            {name: np.empty((self._count, *column.shape), column.dtype) for name, column in s.columns().items()}
            for s in statistics
        ]
        columns = {s.name: tuple(own.values()) for s, own in zip(statistics, self._own, strict=True)}
        self._calls, self._derived = [], []
        for statistic in statistics:
            own = columns[statistic.name]
            if (given := statistic.given(self._names)) is not None:
                self._derived.append((ready(given.derive), (*columns[given.name], *own)))
                if given.kernel is not None:
                    self._calls.append((at_first(given.kernel), statistic.whole_pixels, own))
            elif not statistic.whole:
                self._calls.append((at_first(statistic.kernel()), statistic.whole_pixels, own))
        self._whole = [pair for pair in zip(statistics, self._own, strict=True) if pair[0].whole]
        if kind.dtype == "uint8" and not self._nodata:
            self._like = (kind.channels,)
            self._most_values = min(statistic.most_pixels for statistic in statistics)


def _planes(pixels: NDArray[Any], dtype: Any) -> tuple[Sequence[NDArray[Any]], bool]:
    """Return contiguous flat arrays and whether they are one with interleaved channels or one a channel."""
    if pixels.dtype == dtype and not pixels.flags.c_contiguous:
        planar = pixels.transpose(2, 0, 1)  # CHW in memory is reduced channel by channel, without a copy
        if planar.flags.c_contiguous:
            return [plane.reshape(-1) for plane in planar], False
    return [np.ascontiguousarray(pixels, dtype=dtype).reshape(-1)], True


def _type_advice(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "b":
        return "pixels of type bool are masks, not images; convert them first, for example with .astype('uint8') * 255"
    return f"pixels of type {dtype} are not measured; convert them to uint8, uint16 or a float type"
