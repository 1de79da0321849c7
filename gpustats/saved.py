"""Checks of single numbers that come from a saved result."""

from __future__ import annotations

import math
from typing import Any

from gpustats.errors import DataError

__all__ = ["finite", "natural"]


def natural(value: Any, name: str) -> int:
    """Return a non-negative integer as it is.

    Raises
    ------
    DataError
        For anything else.
    """
    if type(value) is not int or value < 0:
        raise DataError(f"'{name}' should be a non-negative integer, got {value!r:.80}")
    return value


def finite(value: Any, name: str) -> float:
    """Return a finite number as a float.

    Raises
    ------
    DataError
        For anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"'{name}' should be a finite number, got {value!r:.80}")
    return float(value)
