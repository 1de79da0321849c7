"""What range the values have, and what that suggests: floats from 0 to 1, from 0 to 255, normalized already."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gpustats.statistics.base import Kind

__all__ = ["range_hint", "seen_range"]

_NEAR_MEAN, _NEAR_STD = 1.0, (0.4, 2.0)
_LARGE = 64
"""What a value of 8 bits as a float exceeds in most images."""
_NOT_THEIRS = "and these numbers are not those of the images"


def seen_range(number: Callable[[str], Any]) -> str:
    """Return the smallest and the largest value of all channels.

    Parameters
    ----------
    number : callable
        Returns a number of a result by its name, an array of shape (C,).

    Examples
    --------
    >>> seen_range({"min": np.array([-1.0, 0.0]), "max": np.array([0.5, 2.25])}.__getitem__)
    'from -1 to 2.25'
    """
    low, high = _ends(number)
    return f"from {low:.4g} to {high:.4g}"


def range_hint(kind: Kind | None, number: Callable[[str], Any]) -> str | None:
    """Say what the range suggests where the numbers may not be those that the user wants; else None.

    The hint is a guess. Values that were normalized have a mean near 0 and a std near 1; images of 8 bits that were
    stored in 16 have no value above 255.

    Parameters
    ----------
    kind : Kind or None
        Of the images; None where there are none.
    number : callable
        See `seen_range`. Integers are on [0, 1], floats as the images have them.
    """
    if kind is None:
        return None
    low, high = _ends(number)
    if kind.is_float and not kind.as_is:
        return None  # the user says what 1.0 is
    if kind.is_float:
        return _hint_of_floats(low, high, number("mean"), number("std"))
    top = kind.max_value
    largest = round(high * top) if math.isfinite(high) else 0
    if largest == 1 < top:
        return f"no value is larger than 1 of {top:,.15g}: masks, or floats on [0, 1] that were cast to integers"
    if 1 < largest <= 255 < top:
        return f"no value is larger than 255 of {top:,.15g}: images of 8 bits that are stored in more"
    return None


def _hint_of_floats(low: float, high: float, mean: Any, std: Any) -> str | None:
    if low >= 0:
        return "values of 8 bits as floats: stats.mean / 255 is on [0, 1]" if _LARGE < high <= 255 else None
    if (abs(mean) < _NEAR_MEAN).all() and ((std > _NEAR_STD[0]) & (std < _NEAR_STD[1])).all():
        return f"mean near 0 and std near 1: the values seem to be normalized already, {_NOT_THEIRS}"
    if low >= -1 and high <= 1:
        return f"values on [-1, 1]: they seem to be scaled already, {_NOT_THEIRS}"
    return None


def _ends(number: Callable[[str], Any]) -> tuple[float, float]:
    """Return the smallest and the largest value; NaN where nothing counts."""
    low, high = (np.asarray(number(name), float) for name in ("min", "max"))
    low, high = low[~np.isnan(low)], high[~np.isnan(high)]
    return (float(low.min()), float(high.max())) if low.size and high.size else (math.nan, math.nan)
