"""Distributions of whole numbers as counts: exact, of any order, in bounded memory.

A distribution is a pair of lists: values that occur, ascending, and how often each does. Values with many binary
digits are rounded to a number of them, so that there are not more than so many different ones, whatever occurs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.saved import natural
from gpustats.statistics.exact import WHOLE

__all__ = ["Counts", "count", "merged", "read_counts", "read_names", "rounded", "total"]

Counts: TypeAlias = "list[list[Any]]"
"""Values, ascending, and how often each occurs."""


def rounded(values: NDArray[np.uint64], digits: int) -> NDArray[np.uint64]:
    """Return values rounded to so many binary digits: exact below ``2**digits``, else to ``2**-digits`` of the value.

    >>> rounded(np.array([7, 9, 1000], np.uint64), 3).tolist()
    [7, 10, 1024]
    """
    _, length = np.frexp(values.astype(np.float64))
    shift = np.maximum(length - digits, 0).astype(np.uint64)
    half = (np.uint64(1) << shift) >> np.uint64(1)
    found: NDArray[np.uint64] = ((values + half) >> shift) << shift
    return found


def count(values: NDArray[Any], starts: Sequence[int] = WHOLE) -> list[Counts]:
    """Return how often each value occurs in each segment of an array; a segment ends where the next one starts.

    All at once: groups have few images, and there are many groups.

    >>> count(np.array([3, 1, 3, 5, 5]), [0, 3, 3])
    [[[1, 3], [1, 2]], [[], []], [[5], [2]]]
    """
    segments = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))
    ordered = values[np.lexsort((values, segments))]
    first = np.ones(len(values), np.bool_)
    first[1:] = (ordered[1:] != ordered[:-1]) | (segments[1:] != segments[:-1])
    places = np.flatnonzero(first)
    found, counts = ordered[places].tolist(), np.diff(places, append=len(values)).tolist()
    ends = [*np.searchsorted(places, starts).tolist(), len(places)]
    return [[found[start:stop], counts[start:stop]] for start, stop in itertools.pairwise(ends)]


def merged(a: Counts, b: Counts) -> Counts:
    """Return the counts of both together; both stay as they are."""
    if not a[0] or not b[0]:
        return [list(part) for part in (a if a[0] else b)]
    together = dict(zip(*a, strict=True))
    for value, n in zip(*b, strict=True):
        together[value] = together.get(value, 0) + n
    if len(together) == len(a[0]):
        return [list(a[0]), list(together.values())]
    values = sorted(together)
    return [values, [together[value] for value in values]]


def total(counts: Counts) -> int:
    """Return how many values were counted."""
    return sum(counts[1])


def read_counts(data: Any, name: str) -> Counts:
    """Read counts of integers from plain containers.

    Raises
    ------
    DataError
        Where they are none.
    """
    values, counts = _two(data, name)
    return _checked([natural(value, name) for value in values], counts, name)


def read_names(data: Any, name: str) -> Counts:
    """Read counts of texts."""
    values, counts = _two(data, name)
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"'{name}' should hold names, got {values!r:.80}")
    return _checked(values, counts, name)


def _two(data: Any, name: str) -> Iterable[list[Any]]:
    if not isinstance(data, list) or len(data) != 2 or not all(isinstance(part, list) for part in data):
        raise DataError(f"'{name}' should hold values and their counts, got {data!r:.80}")
    return data


def _checked(values: list[Any], counts: list[Any], name: str) -> Counts:
    counts = [natural(n, name) for n in counts]
    if len(values) != len(counts) or 0 in counts or any(a >= b for a, b in itertools.pairwise(values)):
        raise DataError(f"'{name}' should hold ascending values, and a count from 1 for each")
    return [values, counts]
