"""Rows of exact numbers, one an image, and the accumulator that folds them.

Everything an engine knows about an image is one row of `ImageMoments`. `Accumulator` adds rows; integers have no
order, so any batch size, thread count, split or merge gives the same bits. What is not an integer for an image (its
mean, standard deviation and variance) is rounded once to a multiple of 2**-40 and folded as an integer, so it has no
order either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.totals import TotalsBase, natural

__all__ = ["FRACTION_BITS", "Accumulator", "ImageMoments"]

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

FRACTION_BITS = 40
"""Per-image means, standard deviations and variances are folded as multiples of 2**-40 of a grey level."""

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


@dataclass(frozen=True, slots=True, eq=False)
class ImageMoments:
    """Exact sums of a batch of images, one row an image, kept as a struct of arrays.

    Attributes
    ----------
    keys : sequence of str
        The name of each image, unique in its dataset.
    groups : sequence of str
        The group of each image (first-level folder, class label), ``""`` where there is none.
    height, width : ndarray of uint64, shape (N,)
        Size in pixels.
    sum, sumsq : ndarray of uint64, shape (N, C)
        Sum of the values and of their squares over the pixels of a channel.
    min, max : ndarray of an unsigned integer dtype, shape (N, C)
        Smallest and largest value of a channel.
    max_value : int
        The value that stands for 1.0: 255 for 8-bit images, 65535 for 16-bit ones.
    """

    keys: Sequence[str]
    groups: Sequence[str]
    height: U64
    width: U64
    sum: U64
    sumsq: U64
    min: NDArray[np.unsignedinteger[Any]]
    max: NDArray[np.unsignedinteger[Any]]
    max_value: int = 255

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def channels(self) -> int:
        """Channels an image has."""
        return int(self.sum.shape[1])

    @property
    def kind(self) -> str:
        """What the images are, for messages and to tell images apart that cannot be pooled."""
        return _kind(self.channels, self.max_value)

    @classmethod
    def concatenated(cls, parts: Sequence[ImageMoments]) -> ImageMoments:
        """Return the rows of all parts; all must have the same channels and `max_value`."""
        return cls(
            keys=[key for part in parts for key in part.keys],
            groups=[group for part in parts for group in part.groups],
            height=np.concatenate([part.height for part in parts]),
            width=np.concatenate([part.width for part in parts]),
            sum=np.concatenate([part.sum for part in parts]),
            sumsq=np.concatenate([part.sumsq for part in parts]),
            min=np.concatenate([part.min for part in parts]),
            max=np.concatenate([part.max for part in parts]),
            max_value=parts[0].max_value,
        )


def _multiply(a: U64, b: U64) -> tuple[U64, U64]:
    """Return the 128-bit product of two uint64 arrays as its high and low halves."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _32, b & _LOW, b >> _32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _32)
    middle2 = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _32) + (middle2 >> _32), (middle2 << _32) | (low & _LOW)


def _column_sums(values: U64) -> list[int]:
    """Sum a (N, C) uint64 array over its rows as Python integers: 32-bit halves cannot overflow below 2**32 rows."""
    low = (values & _LOW).sum(axis=0, dtype=np.uint64)
    high = (values >> _32).sum(axis=0, dtype=np.uint64)
    return [(int(h) << 32) + int(w) for h, w in zip(high, low, strict=True)]


def _fixed_point_sums(values: F64) -> list[int]:
    """Round each value to a multiple of 2**-40 and sum over the rows, exactly, in units of 2**-40.

    The value is taken apart at 2**-8 first, so that it may be as large as 2**44.
    """
    coarse = np.floor(values * 256.0)
    fine = np.rint((values * 256.0 - coarse) * float(1 << (FRACTION_BITS - 8)))
    return [
        (c << (FRACTION_BITS - 8)) + f
        for c, f in zip(_column_sums(coarse.astype(np.uint64)), _column_sums(fine.astype(np.uint64)), strict=True)
    ]


def _squared_deviation(pixels: U64, total: U64, squares: U64) -> F64:
    """Return n * sum(x^2) - sum(x)^2 of every image: subtracted in 128-bit integers, then rounded to float64."""
    high_a, low_a = _multiply(np.broadcast_to(pixels, squares.shape), squares)
    high_b, low_b = _multiply(total, total)
    high = high_a - high_b - (low_a < low_b).astype(np.uint64)
    return high.astype(np.float64) * 2.0**64 + (low_a - low_b).astype(np.float64)


class Accumulator(TotalsBase):
    """Folds rows into totals that are Python integers, so nothing overflows and nothing depends on order.

    The empty accumulator is the identity of `merge`. Reading derives nothing here: see `gpustats.Stats`.

    Attributes
    ----------
    channels, images, pixels, images_unbiased, height_min, height_max, width_min, width_max, key_hash
        See `TotalsBase`.
    max_value : int
        The value that stands for 1.0; 0 while empty.
    sum, sumsq, min, max : list of int
        Per channel, over all pixels.
    image_mean, image_std, image_std_unbiased, image_var : list of int
        Per channel, the sum over images of the image's mean, std (ddof 0 and 1) and variance (ddof 0), in units of
        2**-40. Images of one pixel have no ddof=1 std and are left out of that sum (`images_unbiased` counts the
        others).
    image_mean_sq : list of int
        Per channel, the sum over images of the squared mean, in units of 2**-80.
    """

    scalars = (*TotalsBase.scalars, "max_value")
    per_channel = (
        "sum",
        "sumsq",
        "min",
        "max",
        "image_mean",
        "image_mean_sq",
        "image_std",
        "image_std_unbiased",
        "image_var",
    )
    __slots__ = ("max_value", *per_channel)

    max_value: int
    sum: list[int]
    sumsq: list[int]
    min: list[int]
    max: list[int]
    image_mean: list[int]
    image_mean_sq: list[int]
    image_std: list[int]
    image_std_unbiased: list[int]
    image_var: list[int]

    @property
    def kind(self) -> str:
        """What the images are, for messages."""
        return _kind(self.channels, self.max_value)

    def fold(self, rows: ImageMoments) -> None:
        """Add every row of a batch. Costs about 0.2 ms a call and 2 microseconds a row: large batches are cheaper.

        Raises
        ------
        MergeError
            Where the rows have another number of channels than what was folded before.
        ValueError
            Where a row has no pixels.
        """
        if len(rows):
            self.merge(self._of_rows(rows))

    @classmethod
    def _of_rows(cls, rows: ImageMoments) -> Accumulator:
        self = cls()
        self.channels, self.max_value = rows.channels, rows.max_value
        each, several = self._count(rows.keys, rows.height, rows.width)
        pixels = each[:, None]
        count = pixels.astype(np.float64)
        deviation = _squared_deviation(pixels, rows.sum, rows.sumsq)
        mean = rows.sum.astype(np.float64) / count
        # sqrt, division and multiplication are correctly rounded by IEEE 754: the same bits on every machine.
        std_unbiased = np.sqrt(deviation[several] / (count[several] * (count[several] - 1.0)))
        mean_fixed = np.rint(mean * float(1 << FRACTION_BITS)).astype(np.uint64)
        mean_sq_high, mean_sq_low = _multiply(mean_fixed, mean_fixed)
        self.sum = _column_sums(rows.sum)
        self.sumsq = _column_sums(rows.sumsq)
        self.min = [int(x) for x in rows.min.min(axis=0)]
        self.max = [int(x) for x in rows.max.max(axis=0)]
        self.image_mean = _column_sums(mean_fixed)
        self.image_mean_sq = [
            (high << 64) + low for high, low in zip(_column_sums(mean_sq_high), _column_sums(mean_sq_low), strict=True)
        ]
        self.image_std = _fixed_point_sums(np.sqrt(deviation) / count)
        self.image_std_unbiased = _fixed_point_sums(std_unbiased)
        self.image_var = _fixed_point_sums(deviation / (count * count))
        return self

    def merge(self, other: Accumulator) -> None:
        """Add everything that `other` folded; `other` stays as it is.

        Raises
        ------
        MergeError
            Where the two have different numbers of channels or different bit depths.
        """
        if other.images == 0:
            return
        if self.images == 0 and isinstance(other, Accumulator):
            self._copy(other)
            return
        self._check_kind(other)
        self._add(other, [name for name in self.per_channel if name not in ("min", "max")])

    @classmethod
    def from_dict(cls, data: Any) -> Accumulator:
        """Read what `to_dict` wrote.

        Raises
        ------
        DataError
            Where a number is missing, is no integer, is negative, or contradicts another.
        """
        self = cls()
        self._read(data, natural)
        self._check()
        return self

    def _check(self) -> None:
        n, top = self.pixels, self.max_value
        consistent = (self.images == 0) == (n == 0) and self.images <= n
        for s, q, low, high in zip(self.sum, self.sumsq, self.min, self.max, strict=True):
            consistent &= low * n <= s <= high * n and low <= high <= top and s * s <= n * q and q <= s * top
        if not consistent:
            raise DataError("the integers contradict one another: the file was changed or damaged")


def _kind(channels: int, max_value: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'} of {max_value.bit_length()} bits"
