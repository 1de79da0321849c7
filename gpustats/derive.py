"""The numbers of a result, derived from its totals when they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gpustats.float_moments import FloatAccumulator
from gpustats.moments import FRACTION_BITS, Accumulator

__all__ = ["derive"]

F64 = NDArray[np.float64]

_UNIT = 1 << FRACTION_BITS


def derive(totals: Accumulator | FloatAccumulator, name: str, scale: Fraction) -> F64:
    """Return one number a channel.

    Parameters
    ----------
    totals : Accumulator or FloatAccumulator
        Integers are divided by their `max_value`, floats are taken as they are.
    name : str
        ``mean``, ``std``, ``std_unbiased``, ``image_mean``, ``image_std``, ``image_std_unbiased``, ``image_rms_std``,
        ``std_of_means``, ``min`` or ``max``.
    scale : Fraction
        What 1.0 is shown as.

    Returns
    -------
    ndarray of float64, shape (C,)
        NaN where there is too little data.
    """
    return (
        _of_floats(totals, name, scale) if isinstance(totals, FloatAccumulator) else _of_integers(totals, name, scale)
    )


def _of_integers(t: Accumulator, name: str, scale: Fraction) -> F64:
    unit = scale / t.max_value if t.max_value else scale

    def ratios(numerators: Sequence[int], denominator: int, power: int = 1) -> F64:
        # int / int rounds correctly, so every number is rounded once (and once more by a square root).
        factor = unit**power
        top, bottom = factor.numerator, factor.denominator * denominator
        return np.array([n * top / bottom if bottom else math.nan for n in numerators], dtype=np.float64)

    if name in ("min", "max"):
        return ratios(getattr(t, name), 1 if t.images else 0)
    if name == "mean":
        return ratios(t.sum, t.pixels)
    if name in ("std", "std_unbiased"):
        spread = [t.pixels * q - s * s for q, s in zip(t.sumsq, t.sum, strict=True)]
        return np.sqrt(ratios(spread, t.pixels * (t.pixels - (name == "std_unbiased")), power=2))
    if name in ("image_mean", "image_std"):
        return ratios(getattr(t, name), t.images * _UNIT)
    if name == "image_std_unbiased":
        return ratios(t.image_std_unbiased, t.images_unbiased * _UNIT)
    if name == "image_rms_std":
        return np.sqrt(ratios(t.image_var, t.images * _UNIT, power=2))
    if name == "std_of_means":
        spread = [t.images * q - m * m for q, m in zip(t.image_mean_sq, t.image_mean, strict=True)]
        return np.sqrt(ratios(spread, (t.images * _UNIT) ** 2, power=2))
    raise KeyError(name)


def _of_floats(t: FloatAccumulator, name: str, scale: Fraction) -> F64:
    def ratios(numerators: Sequence[float], denominator: int) -> F64:
        return np.array([n / denominator if denominator else math.nan for n in numerators], dtype=np.float64)

    if name in ("min", "max", "mean", "image_mean"):
        values = ratios(getattr(t, name), 1 if t.images else 0)
    elif name in ("std", "std_unbiased"):
        values = np.sqrt(ratios(t.deviation, max(t.pixels - (name == "std_unbiased"), 0)))
    elif name == "image_std":
        values = ratios(t.image_std, t.images)
    elif name == "image_std_unbiased":
        values = ratios(t.image_std_unbiased, t.images_unbiased)
    elif name == "image_rms_std":
        values = np.sqrt(ratios(t.image_var, t.images))
    elif name == "std_of_means":
        values = np.sqrt(ratios(t.image_mean_deviation, t.images))
    else:
        raise KeyError(name)
    return values * float(scale)
