"""Checks of what comes from a saved result: single numbers, and all of them together."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from gpustats.errors import DataError

__all__ = ["checksum", "finite", "natural", "whole"]


def checksum(numbers: Any) -> str:
    """Return the 128-bit BLAKE2b hash, in hexadecimal, of numbers in plain containers.

    Programs that keep numbers as float64 round integers above 2**53 without a word. It depends on the values alone, not
    on the order of names or the spaces of a file.
    """
    text = json.dumps(numbers, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def natural(value: Any, name: str) -> int:
    """Return a non-negative integer as it is.

    Raises
    ------
    DataError
        For anything else.
    """
    return _integer(value, name, "a non-negative integer", type(value) is int and value >= 0)


def whole(value: Any, name: str) -> int:
    """Return an integer as it is.

    Raises
    ------
    DataError
        For anything else.
    """
    return _integer(value, name, "an integer", type(value) is int)


def _integer(value: Any, name: str, wanted: str, good: bool) -> int:
    if not good:
        rounded = "; was the file written again by a program that rounds integers?" if type(value) is float else ""
        raise DataError(f"'{name}' should be {wanted}, got {value!r:.80}{rounded}")
    return int(value)


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
