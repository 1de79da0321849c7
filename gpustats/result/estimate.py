"""What a result from a sample of images is an estimate of, and how good it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.saved import natural

__all__ = ["LEVEL", "Estimate", "student"]

LEVEL = 0.95
"""The confidence of the intervals that are shown, and of `tolerance`."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A sample: how many images were drawn, and of how many.

    Attributes
    ----------
    drawn : int
        Images drawn, those that could not be read among them.
    of : int
        Images of the dataset.
    seed : int or None
        What decided which; None where samples of several seeds were pooled.
    share : float or None
        The share that was asked for; None where a number of images was.
    tolerance : float or None
        The half-width that was asked for.
    reached : bool
        Whether every half-width was at most `tolerance`.
    how : str
        ``"listed"``: the names were listed, or counted, and nothing else was read of the images that were not drawn.
        ``"read through"``: the files that hold the images were read from beginning to end to find them.
    even : bool
        Whether every image had the same chance; False where samples of different shares were pooled.
    """

    drawn: int
    of: int
    seed: int | None = 0
    share: float | None = None
    tolerance: float | None = None
    reached: bool = False
    how: str = "listed"
    even: bool = True

    @property
    def whole(self) -> bool:
        """Whether every image was drawn, so that there is no sampling error."""
        return self.drawn == self.of

    @property
    def left(self) -> float:
        """What is left of a squared error: the correction for a finite population, ``1 - drawn / of``."""
        return 1 - self.drawn / self.of

    def __str__(self) -> str:
        if self.whole:
            return f"all {self.of:,} images were read: the sampling error is zero"
        return f"estimate from {self.drawn:,} of {self.of:,} images"

    def facts(self) -> list[str]:
        """Return what a table says, a line each."""
        if not self.even:
            return [
                f"{self}, pooled from samples of different shares: every image that was read has the same weight, "
                "so the numbers are not those of all images"
            ]
        seed = "" if self.seed is None or self.whole else f" (seed {self.seed})"
        lines = [f"{self}{seed}"]
        if self.tolerance is not None:
            met = "reached" if self.reached and not self.whole else "not reached before all images were read"
            lines.append(f"tolerance {self.tolerance:g}: {met}")
        if self.how != "listed" and not self.whole:
            lines.append("drawn by a hash of the key; the files were read through to find the images")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for JSON; `text` is for people."""
        return {"text": "; ".join(self.facts()), **asdict(self)}

    @classmethod
    def from_dict(cls, data: Any) -> Estimate | None:
        """Read what `to_dict` wrote; None is no sample.

        Raises
        ------
        DataError
            For anything else.
        """
        if data is None:
            return None
        try:
            found = cls(**{name: data[name] for name in cls.__slots__})
            drawn, of = natural(found.drawn, "drawn"), natural(found.of, "of")
            right = 0 < drawn <= of and isinstance(found.reached, bool) and isinstance(found.even, bool)
            right = right and all(x is None or isinstance(x, float | int) for x in (found.share, found.tolerance))
            right = right and isinstance(found.how, str) and (found.seed is None or type(found.seed) is int)
        except (KeyError, TypeError) as error:
            raise DataError(f"'estimate' is incomplete or damaged: {error!r}") from None
        if not right:
            raise DataError(f"'estimate' is damaged: {data!r:.200}")
        return found

    @classmethod
    def pooled(cls, parts: Sequence[tuple[Estimate | None, int]]) -> Estimate | None:
        """Return what a result of several is an estimate of.

        Parameters
        ----------
        parts : sequence of (Estimate or None, int)
            Of each result, and how many images it has; None where all were read.
        """
        if all(estimate is None for estimate, _ in parts):
            return None
        samples = [cls(images, images) if estimate is None else estimate for estimate, images in parts if images]
        if len(samples) == 1:
            return samples[0]
        first = samples[0]
        return cls(
            sum(sample.drawn for sample in samples),
            sum(sample.of for sample in samples),
            first.seed if all(sample.seed == first.seed for sample in samples) else None,
            first.share if all(sample.share == first.share for sample in samples) else None,
            how="listed" if all(sample.how == "listed" for sample in samples) else "read through",
            even=all(sample.even and _alike(first, sample) for sample in samples),
        )


def _alike(a: Estimate, b: Estimate) -> bool:
    """Return whether two samples have the same share of their images, but for rounding to whole images."""
    if a.share is not None and a.share == b.share:
        return True
    return abs(a.drawn / a.of - b.drawn / b.of) <= max(1 / a.of, 1 / b.of)


def student(level: float, freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how many standard errors an interval reaches to each side, by Student's t.

    Source: G. W. Hill (1970), "Algorithm 396: Student's t-quantiles", Communications of the ACM 13(10), 619-620.

    Parameters
    ----------
    level : float
        The confidence: 0.95.
    freedom : ndarray
        Degrees of freedom, not always whole; NaN for fewer than one.

    Examples
    --------
    >>> student(0.95, np.array([1.0, 2.0, 30.0])).round(3).tolist()
    [12.706, 4.303, 2.042]
    """
    return np.array([_student(1 - level, float(n)) for n in np.ravel(freedom)]).reshape(np.shape(freedom))


def _student(p: float, n: float) -> float:
    if not n >= 1:
        return math.nan
    if n == 1:
        return 1 / math.tan(p * math.pi / 2)
    if n == 2:
        return math.sqrt(2 / (p * (2 - p)) - 2)
    if n < 2:
        return _between(p, n)
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * p) ** (2 / n)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(p / 2)
        y = x**2
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y**2)
    else:
        y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (
            n + 2
        ) + 1 / y
    return math.sqrt(n * y)


def _between(p: float, n: float) -> float:
    """Return the quantile for 1 to 2 degrees of freedom, where the algorithm is off by up to 20 percent.

    A parabola in 1 / n through the logarithms at 1, 2 and 4, which are exact or nearly so; off by 0.7 percent at 95%.
    """
    at = (1.0, 2.0, 4.0)
    whole = 0.0
    for i in at:
        others = [(1 / n - 1 / j) / (1 / i - 1 / j) for j in at if j != i]
        whole += math.log(_student(p, i)) * math.prod(others)
    return math.exp(whole)
