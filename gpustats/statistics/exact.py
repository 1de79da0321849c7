"""Exact arithmetic on columns of 64-bit integers: sums, 128-bit products, and sums of values in fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FRACTION_BITS",
    "WHOLE",
    "column_sums",
    "fixed_point_segments",
    "fixed_point_sums",
    "multiply",
    "segment_sums",
    "squared_deviation",
]

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

FRACTION_BITS = 40
"""What is no integer for an image (its mean, std and variance) is rounded to a multiple of 2**-40 of a grey level."""

WHOLE = (0,)
"""The start of the one segment that holds all rows."""

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def multiply(a: U64, b: U64) -> tuple[U64, U64]:
    """Return the 128-bit product of two uint64 arrays as its high and low halves."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _32, b & _LOW, b >> _32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _32)
    middle2 = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _32) + (middle2 >> _32), (middle2 << _32) | (low & _LOW)


def column_sums(values: NDArray[Any]) -> list[int]:
    """Sum a (N, C) array of unsigned integers over its rows, as Python integers."""
    return segment_sums(values, WHOLE)[0] if len(values) else [0] * values.shape[1]


def segment_sums(values: NDArray[Any], starts: Sequence[int]) -> list[list[int]]:
    """Sum a (N, C) array of unsigned integers over segments of its rows, as Python integers.

    It is summed in halves of 32 bits, which cannot overflow below 2**32 rows.

    Parameters
    ----------
    values : ndarray, shape (N, C)
        N is at least 1.
    starts : sequence of int
        The first row of each segment, in ascending order. The first is 0; a segment ends where the next begins.
    """
    values = values.astype(np.uint64, copy=False)
    high, low = (np.add.reduceat(half, starts, axis=0).tolist() for half in (values >> _32, values & _LOW))
    return [[(h << 32) + w for h, w in zip(*halves, strict=True)] for halves in zip(high, low, strict=True)]


def fixed_point_sums(values: F64) -> list[int]:
    """Round each value of a (N, C) array to a multiple of 2**-40 and sum over the rows, exactly, in units of 2**-40."""
    return fixed_point_segments(values, WHOLE)[0] if len(values) else [0] * values.shape[1]


def fixed_point_segments(values: F64, starts: Sequence[int]) -> list[list[int]]:
    """Do the same for segments of the rows; see `segment_sums`.

    A value is taken apart at 2**-8 first, so that it may be as large as 2**44.
    """
    coarse = np.floor(values * 256.0)
    fine = np.rint((values * 256.0 - coarse) * float(1 << (FRACTION_BITS - 8)))
    sums = (segment_sums(part.astype(np.uint64), starts) for part in (coarse, fine))
    return [[(c << (FRACTION_BITS - 8)) + f for c, f in zip(*parts, strict=True)] for parts in zip(*sums, strict=True)]


def squared_deviation(n: U64, total: U64, squares: U64) -> F64:
    """Return n * sum(x^2) - sum(x)^2 of every image: subtracted in 128-bit integers, then rounded to float64."""
    high_a, low_a = multiply(np.broadcast_to(n, squares.shape), squares)
    high_b, low_b = multiply(total, total)
    high = high_a - high_b - (low_a < low_b).astype(np.uint64)
    return high.astype(np.float64) * 2.0**64 + (low_a - low_b).astype(np.float64)
