"""From the pixels of images to rows, and from small batches of rows to the totals of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.failures import ImageError, printable
from gpustats.float_moments import FloatAccumulator, FloatMoments
from gpustats.moments import Accumulator, ImageMoments

__all__ = ["RowBuffer", "RowBuilder", "Rows", "Totals", "joined"]

Rows: TypeAlias = "ImageMoments | FloatMoments"
Totals: TypeAlias = "Accumulator | FloatAccumulator"

_UINT8 = np.dtype(np.uint8)
_INTEGERS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_FLOATS = {np.dtype(np.float16): np.float32, np.dtype(np.float32): np.float32, np.dtype(np.float64): np.float64}
_U16_PIXELS = 1 << 32  # more could overflow the sum of squares of 16-bit values


class RowBuilder:
    """Reduces the images of one batch to rows. All must have the same channels and depth.

    Parameters
    ----------
    count : int
        Images at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._keys: list[str] = []
        self._groups: list[str] = []
        self._size = np.empty((2, count), np.uint64)
        self._channels = 0
        self._max_value = 0  # 0: floats
        self._kernel: Any = None
        self._row_u8: Any = None
        self._like: tuple[int] | None = None  # channels of 8-bit images, once there is one
        self._sums: NDArray[Any] = np.empty((2, 0, 0), np.uint64)
        self._extremes: NDArray[Any] = np.empty((2, 0, 0), np.uint8)

    def add(self, key: str, group: str, pixels: NDArray[Any]) -> None:
        """Measure one image.

        Parameters
        ----------
        key, group : str
            Its name and group.
        pixels : ndarray of uint8, uint16, float16, float32 or float64, shape (H, W) or (H, W, C)
            Of any strides and byte order.

        Raises
        ------
        ImageError
            Where a value is not finite, or values of this type cannot be measured.
        DataError
            Where the image has other channels or another depth than one before it.
        """
        if pixels.shape[2:] == self._like and pixels.dtype is _UINT8 and pixels.flags.c_contiguous:
            # What decoders give, thousands of times a second: nothing is left to check.
            self._row_u8(pixels, len(self._keys), self._sums, self._extremes, self._size)
            self._keys.append(key)
            self._groups.append(group)
            return
        dtype = pixels.dtype.newbyteorder("=")
        max_value = _INTEGERS.get(dtype, 0)
        if not max_value and dtype not in _FLOATS:
            raise ImageError("unsupported", _type_advice(dtype))
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        height, width, channels = pixels.shape
        if max_value == 65535 and height * width > _U16_PIXELS:
            raise ImageError("too_large", f"16-bit images of more than {_U16_PIXELS:,} pixels are not measured")
        row = len(self._keys)
        if row == 0:
            self._allocate(channels, max_value)
        elif (channels, max_value) != (self._channels, self._max_value):
            mine, theirs = self.rows().kind, _kind(channels, max_value)
            raise DataError(_mixture((mine, self._keys[0]), (theirs, key)))
        self._reduce(row, pixels, dtype)
        if not max_value and not np.isfinite(self._sums[:, row]).all():
            raise ImageError("corrupt", "a pixel is not finite (NaN or infinite), or too large for a variance")
        self._size[0, row], self._size[1, row] = height, width
        self._keys.append(key)
        self._groups.append(group)

    def _reduce(self, row: int, pixels: NDArray[Any], dtype: np.dtype[Any]) -> None:
        """Measure an image in main memory."""
        channels, reduce = self._channels, self._kernel
        a, b, low, high = self._sums[0, row], self._sums[1, row], self._extremes[0, row], self._extremes[1, row]
        planes, interleaved = _planes(pixels, _FLOATS.get(dtype, dtype))
        for plane, some in zip(planes, (slice(channels),) if interleaved else _each(channels), strict=True):
            reduce(plane, channels if interleaved else 1, a[some], b[some], low[some], high[some])

    def rows(self) -> Rows:
        """Return the rows of the images added so far."""
        done = slice(len(self._keys))
        (height, width), (a, b), (low, high) = self._size[:, done], self._sums[:, done], self._extremes[:, done]
        if self._channels and not self._max_value:
            return FloatMoments(self._keys, self._groups, height, width, a, b, low, high)
        return ImageMoments(self._keys, self._groups, height, width, a, b, low, high, max_value=self._max_value)

    def _allocate(self, channels: int, max_value: int) -> None:
        from gpustats.reduce import moments_float, moments_u8, moments_u16, row_u8  # compiles when first called

        self._channels, self._max_value = channels, max_value
        self._kernel = {0: moments_float, 255: moments_u8, 65535: moments_u16}[max_value]
        shape = (2, self._count, channels)
        self._sums = np.empty(shape, np.uint64 if max_value else np.float64)
        self._extremes = np.empty(shape, {0: np.float64, 255: np.uint8, 65535: np.uint16}[max_value])
        if max_value == 255:
            self._row_u8, self._like = row_u8, (channels,)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts.

    Raises
    ------
    DataError
        Where they have different channels or depths.
    """
    parts = [part for part in parts if len(part)] or list(parts[:1])
    for part in parts[1:]:
        if part.kind != parts[0].kind:
            raise DataError(_mixture((parts[0].kind, parts[0].keys[0]), (part.kind, part.keys[0])))
    whole: Rows = type(parts[0]).concatenated(parts) if len(parts) > 1 else parts[0]  # type: ignore[arg-type]
    return whole


def _each(channels: int) -> list[slice]:
    return [slice(c, c + 1) for c in range(channels)]


def _planes(pixels: NDArray[Any], dtype: Any) -> tuple[Sequence[NDArray[Any]], bool]:
    """Return contiguous flat arrays and whether they are one with interleaved channels or one a channel."""
    if pixels.dtype == dtype and not pixels.flags.c_contiguous:
        planar = pixels.transpose(2, 0, 1)  # CHW in memory is reduced channel by channel, without a copy
        if planar.flags.c_contiguous:
            return [plane.reshape(-1) for plane in planar], False
    return [np.ascontiguousarray(pixels, dtype=dtype).reshape(-1)], True


def _kind(channels: int, max_value: int) -> str:
    totals: Totals = Accumulator() if max_value else FloatAccumulator()
    totals.channels = channels
    if isinstance(totals, Accumulator):
        totals.max_value = max_value
    return totals.kind


def _mixture(a: tuple[str, str], b: tuple[str, str]) -> str:
    (kind_a, key_a), (kind_b, key_b) = sorted((a, b))
    return (
        f"the images differ: {printable(key_a)} has {kind_a}, {printable(key_b)} has {kind_b}; "
        "these cannot be pooled, compute them separately"
    )


def _type_advice(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "b":
        return "pixels of type bool are masks, not images; convert them first, for example with .astype('uint8') * 255"
    return f"pixels of type {dtype} are not measured; convert them to uint8, uint16 or a float type"


class RowBuffer:
    """Collects small batches and folds them together, since a call of `Accumulator.fold` costs more than a row.

    Parameters
    ----------
    rows : int
        How many rows to collect.

    Attributes
    ----------
    totals : Accumulator or FloatAccumulator
        What was folded, complete after `flush` only; which of the two, the first rows decide.
    """

    def __init__(self, rows: int = 512) -> None:
        self.totals: Totals = Accumulator()
        self._limit = rows
        self._parts: list[Any] = []
        self._count = 0
        self._first: tuple[str, str] | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Rows) -> None:
        """Add a batch; fold what was collected when there is enough of it.

        Raises
        ------
        DataError
            Where its images have other channels or another depth than those before.
        """
        if not len(rows):
            return
        if self._first is None:
            self._first = (rows.kind, rows.keys[0])
            if isinstance(rows, FloatMoments):
                self.totals = FloatAccumulator()
        elif rows.kind != self._first[0]:
            raise DataError(_mixture(self._first, (rows.kind, rows.keys[0])))
        self._parts.append(rows)
        self._count += len(rows)
        if self._count >= self._limit:
            self.flush()

    def flush(self) -> None:
        """Fold what was collected."""
        if self._parts:
            parts, self._parts, self._count = self._parts, [], 0
            self.totals.fold(type(parts[0]).concatenated(parts))
