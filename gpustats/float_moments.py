"""Rows and totals of float images: float64 moments, merged by the parallel formula of Chan, Golub and LeVeque.

Float sums depend on order, so what is pooled here is numerically stable but not bit-identical across batch sizes and
splits, and the result says so: ``stats.exact`` is False. Values are taken as they are, without a scale.

References
----------
T. F. Chan, G. H. Golub, R. J. LeVeque (1983), "Algorithms for computing the sample variance: analysis and
recommendations", The American Statistician 37(3), 242-247, equations 1.5 and 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.totals import TotalsBase

__all__ = ["FloatAccumulator", "FloatMoments"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class FloatMoments:
    """Moments of a batch of float images, one row an image, kept as a struct of arrays.

    Attributes
    ----------
    keys, groups, height, width
        As in `ImageMoments`.
    mean : ndarray of float64, shape (N, C)
        Mean over the pixels of a channel.
    deviation : ndarray of float64, shape (N, C)
        Sum of the squared deviations from that mean.
    min, max : ndarray of float64, shape (N, C)
        Smallest and largest value of a channel.
    """

    keys: Sequence[str]
    groups: Sequence[str]
    height: U64
    width: U64
    mean: F64
    deviation: F64
    min: F64
    max: F64

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def channels(self) -> int:
        """Channels an image has."""
        return int(self.mean.shape[1])

    @property
    def kind(self) -> str:
        """What the images are, for messages and to tell images apart that cannot be pooled."""
        return f"{self.channels} channel{'' if self.channels == 1 else 's'} of floats"

    @classmethod
    def concatenated(cls, parts: Sequence[FloatMoments]) -> FloatMoments:
        """Return the rows of all parts; all must have the same channels."""
        arrays = ("height", "width", "mean", "deviation", "min", "max")
        return cls(
            [key for part in parts for key in part.keys],
            [group for part in parts for group in part.groups],
            *(np.concatenate([getattr(part, name) for part in parts]) for name in arrays),
        )


_SUMS = ("image_std", "image_std_unbiased", "image_var")


class FloatAccumulator(TotalsBase):
    """Folds rows of float images into float64 moments. The empty accumulator is the identity of `merge`.

    Attributes
    ----------
    channels, images, pixels, images_unbiased, height_min, height_max, width_min, width_max, key_hash
        See `TotalsBase`.
    mean, deviation : list of float
        Per channel, the mean over all pixels and the sum of the squared deviations from it.
    min, max : list of float
        Per channel, over all pixels.
    image_mean, image_mean_deviation : list of float
        Per channel, the mean over images of the image means and the sum of the squared deviations from it.
    image_std, image_std_unbiased, image_var : list of float
        Per channel, the sum over images of the image's std (ddof 0 and 1) and variance (ddof 0).
    """

    per_channel = ("mean", "deviation", "min", "max", "image_mean", "image_mean_deviation", *_SUMS)
    __slots__ = per_channel

    max_value = 0
    """Floats have no value that stands for 1.0."""

    mean: list[float]
    deviation: list[float]
    min: list[float]
    max: list[float]
    image_mean: list[float]
    image_mean_deviation: list[float]
    image_std: list[float]
    image_std_unbiased: list[float]
    image_var: list[float]

    @property
    def kind(self) -> str:
        """What the images are, for messages."""
        return f"{self.channels} channel{'' if self.channels == 1 else 's'} of floats"

    def fold(self, rows: FloatMoments) -> None:
        """Add every row of a batch.

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
    def _of_rows(cls, rows: FloatMoments) -> FloatAccumulator:
        self = cls()
        self.channels = rows.channels
        pixels, several = self._count(rows.keys, rows.height, rows.width)
        count = pixels.astype(np.float64)[:, None]
        mean = (rows.mean * (count / count.sum())).sum(axis=0)
        image_mean = rows.mean.mean(axis=0)
        self.mean = mean.tolist()
        self.deviation = (rows.deviation + count * (rows.mean - mean) ** 2).sum(axis=0).tolist()
        self.min, self.max = rows.min.min(axis=0).tolist(), rows.max.max(axis=0).tolist()
        self.image_mean = image_mean.tolist()
        self.image_mean_deviation = ((rows.mean - image_mean) ** 2).sum(axis=0).tolist()
        self.image_std = np.sqrt(rows.deviation / count).sum(axis=0).tolist()
        unbiased = np.sqrt(rows.deviation[several] / (count[several] - 1.0))
        self.image_std_unbiased = unbiased.sum(axis=0).tolist()
        self.image_var = (rows.deviation / count).sum(axis=0).tolist()
        return self

    def merge(self, other: FloatAccumulator) -> None:
        """Add everything that `other` folded; `other` stays as it is.

        Raises
        ------
        MergeError
            Where `other` holds integers or another number of channels.
        """
        if other.images == 0:
            return
        if self.images == 0 and isinstance(other, FloatAccumulator):
            self._copy(other)
            return
        self._check_kind(other)
        self.mean, self.deviation = _pooled(
            (self.pixels, self.mean, self.deviation), (other.pixels, other.mean, other.deviation)
        )
        self.image_mean, self.image_mean_deviation = _pooled(
            (self.images, self.image_mean, self.image_mean_deviation),
            (other.images, other.image_mean, other.image_mean_deviation),
        )
        self._add(other, _SUMS)

    @classmethod
    def from_dict(cls, data: Any) -> FloatAccumulator:
        """Read what `to_dict` wrote.

        Raises
        ------
        DataError
            Where a number is missing, is not finite, or contradicts another.
        """
        self = cls()
        self._read(data, _finite)
        if (
            (self.images == 0) != (self.pixels == 0)
            or self.images > self.pixels
            or any(low > high for low, high in zip(self.min, self.max, strict=True))
            or any(value < 0 for name in ("deviation", "image_mean_deviation", *_SUMS) for value in getattr(self, name))
        ):
            raise DataError("the moments contradict one another: the file was changed or damaged")
        return self


def _pooled(
    a: tuple[int, list[float], list[float]], b: tuple[int, list[float], list[float]]
) -> tuple[list[float], list[float]]:
    """Return mean and squared deviations of two parts together: equation 2.1 of Chan, Golub and LeVeque."""
    means, deviations = [], []
    total = a[0] + b[0]
    for mean_a, deviation_a, mean_b, deviation_b in zip(a[1], a[2], b[1], b[2], strict=True):
        delta = mean_b - mean_a
        means.append(mean_a + delta * (b[0] / total))
        deviations.append(deviation_a + deviation_b + delta * delta * (a[0] * (b[0] / total)))
    return means, deviations


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"'{name}' should be a finite number, got {value!r:.80}")
    return float(value)
