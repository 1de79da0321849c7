"""What a histogram tells: quantiles, mode, entropy, skewness and kurtosis of one channel.

Results are in units of pixel values. All arithmetic on integer values is on integers and fractions, and a result is
rounded at most twice: by a division, and by a square root.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from numbers import Real
from typing import Any, NamedTuple

__all__ = ["METHODS", "Counts", "check_quantile", "entropy", "kurtosis", "mode", "quantiles", "share", "skewness"]

METHODS = ("linear", "inverted_cdf")
"""The definitions of a quantile that are known, by NumPy's names."""


class Counts(NamedTuple):
    """How often values occur in one channel.

    Attributes
    ----------
    values : sequence of int or float
        In ascending order; NaN for the first and last of floats, where it is only known on which side they lie.
    counts : sequence of int
        How many pixels have each.
    """

    values: Sequence[Any]
    counts: Sequence[int]


def check_quantile(q: object, method: str) -> float:
    """Return `q` as a float.

    Raises
    ------
    ValueError
        Where it is not from 0 to 1, or `method` is not one of `METHODS`.
    """
    if method not in METHODS:
        raise ValueError(f"method should be {' or '.join(map(repr, METHODS))}, got {method!r}")
    if isinstance(q, bool) or not isinstance(q, Real) or not 0 <= float(q) <= 1:
        raise ValueError(f"a quantile should be a number from 0 to 1, got {q!r}")
    return float(q)


def quantiles(bins: Counts, wanted: Sequence[float], method: str) -> list[Any]:
    """Return quantiles as `numpy.quantile` defines them, NaN for no pixels.

    Parameters
    ----------
    bins : Counts
        Of one channel.
    wanted : sequence of float
        From 0 to 1.
    method : {"linear", "inverted_cdf"}
        ``"inverted_cdf"``: the smallest value v with at least a share q of the pixels at most v, which is definition 1
        of Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50 (1996) 361-365.
        ``"linear"``: between the two values nearest to place (n - 1) * q in order, definition 7 there.
    """
    below = list(accumulate(bins.counts))
    if not below or not below[-1]:
        return [math.nan] * len(wanted)
    n = below[-1]

    def value(place: int) -> Any:
        return bins.values[bisect_right(below, place)]

    def one(q: float) -> Any:
        if method == "inverted_cdf":
            # A product in floats as in NumPy: 0.1 stands for a tenth, and a tenth of 10 values is the first.
            return value(min(max(math.ceil(n * q) - 1, 0), n - 1))
        place = (n - 1) * Fraction(q)
        low = math.floor(place)
        first = value(low)
        return first if place == low else first + (value(low + 1) - first) * (place - low)

    return [one(q) for q in wanted]


def mode(bins: Counts) -> Any:
    """Return the value that most pixels have, the smallest of several; NaN for no pixels."""
    most = max(bins.counts, default=0)
    return bins.values[bins.counts.index(most)] if most else math.nan


def entropy(bins: Counts) -> float:
    """Return Shannon's entropy of the values in bits, NaN for no pixels."""
    n = sum(bins.counts)
    return math.fsum(count / n * math.log2(n / count) for count in bins.counts if count) if n else math.nan


def share(value: Any, bins: Counts) -> Any:
    """Return the share of pixels that have a value, NaN for no pixels."""
    n = sum(bins.counts)
    place = bisect_left(bins.values, value)
    count = bins.counts[place] if place < len(bins.values) and bins.values[place] == value else 0
    return Fraction(count, n) if n else math.nan


def skewness(bins: Counts) -> float:
    """Return the third central moment divided by the second to the power 3/2; NaN where all pixels are equal."""
    _, second, third, _ = _central(bins)
    return math.copysign(math.sqrt(Fraction(third * third, second**3)), third) if second else math.nan


def kurtosis(bins: Counts) -> Any:
    """Return the fourth central moment divided by the squared second, less 3; NaN where all pixels are equal."""
    _, second, _, fourth = _central(bins)
    return Fraction(fourth, second * second) - 3 if second else math.nan


def _central(bins: Counts) -> tuple[int, int, int, int]:
    """Return n, and the central moments of order 2, 3 and 4 times n**2, n**3 and n**4, which are integers."""
    n, a, b, c, d = (
        sum(count * value**power for value, count in zip(*bins, strict=True) if count) for power in range(5)
    )
    return (
        n,
        n * b - a * a,
        n * n * c - 3 * n * a * b + 2 * a**3,
        n**3 * d - 4 * n * n * a * c + 6 * n * a * a * b - 3 * a**4,
    )
