"""Counts of values of which most do not occur, in few bytes: for rows, groups and checkpoints.

Dense bins of a 16-bit channel take 256 KB, for an image of any size. Here a value that occurs takes one byte or two
among others, and some three alone. The counts stand one after the other, from value 0 on, as numbers of 7 bits a byte,
lowest first (LEB128); a 0 is followed by how many values do not occur. The same counts always have the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError, MergeError
from gpustats.statistics.compiled import compiled

__all__ = ["MOST", "MOST_BINS", "added", "packed", "unpacked"]

MOST = (1 << 63) - 1
"""The largest count, of all images together."""

MOST_BINS = (1 << 16) + 2
"""The most values: those of 16 bits, or as many bins of floats and what lies outside on both sides."""

_BYTES = 9  # of the largest count


def packed(counts: NDArray[np.unsignedinteger[Any]], first: int = 0) -> bytes:
    """Return the form of counts of the values `first`, `first` + 1, ...; the counts are at most `MOST`."""
    out = np.empty(len(counts) * _BYTES + 8, np.uint8)
    return out[: _pack(counts, first, out)].tobytes()


def unpacked(data: bytes) -> tuple[list[int], list[int]]:
    """Return the values that occur in ascending order, and how often each does.

    Raises
    ------
    DataError
        Where these are no bytes of `packed`.
    """
    bins = _sum([data])
    values = np.flatnonzero(bins)
    return values.tolist(), bins[values].tolist()


def added(parts: Sequence[bytes]) -> bytes:
    """Return the sum of counts: the same bytes for any order and any split.

    Raises
    ------
    DataError
        Where one is not of `packed`.
    MergeError
        Where a count exceeds `MOST`.
    """
    return parts[0] if len(parts) == 1 else packed(_sum(parts))


def _sum(parts: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return the sum of counts as dense bins, as many as it takes."""
    bins = np.zeros(MOST_BINS, np.uint64)
    end = 0
    for part in parts:
        last = _add(np.frombuffer(part, np.uint8), bins)
        if last == _TOO_MANY:
            raise MergeError("a value of the histogram occurs more often than 2**63 - 1 times")
        if last < 0:
            raise DataError("stored counts of a histogram are damaged")
        end = max(end, last)
    return bins[:end]


_DAMAGED = -1
_TOO_MANY = -2


@compiled
def _pack(counts: NDArray[np.unsignedinteger[Any]], skipped: int, out: NDArray[np.uint8]) -> int:
    """Write counts, after so many values that do not occur; return how many bytes that took."""
    at = 0
    for value in range(counts.size):
        number = np.uint64(counts[value])
        if number == 0:
            skipped += 1
            continue
        if skipped:
            out[at] = 0
            at += 1
            while skipped > 127:
                out[at] = 128 | (skipped & 127)
                skipped >>= 7
                at += 1
            out[at] = skipped
            at += 1
            skipped = 0
        while number > np.uint64(127):
            out[at] = np.uint8(np.uint64(128) | (number & np.uint64(127)))
            number >>= np.uint64(7)
            at += 1
        out[at] = np.uint8(number)
        at += 1
    return at


@compiled
def _add(data: NDArray[np.uint8], bins: NDArray[np.uint64]) -> int:
    """Add counts to bins; return the first value after all of them, or what is wrong."""
    value = 0
    skips = False
    at = 0
    while at < data.size:
        number = np.uint64(0)
        shift = 0
        more = True
        while more:
            if at == data.size or shift > 56:
                return _DAMAGED
            byte = np.uint64(data[at])
            number |= (byte & np.uint64(127)) << np.uint64(shift)
            more = byte > np.uint64(127)
            if shift and byte == 0:  # a number that is longer than it has to be
                return _DAMAGED
            shift += 7
            at += 1
        if skips:
            if number == 0 or number >= np.uint64(bins.size - value):
                return _DAMAGED
            value += np.int64(number)
            skips = False
        elif number == 0:
            skips = True
        elif value == bins.size:
            return _DAMAGED
        else:
            bins[value] += number
            if bins[value] > np.uint64(MOST):
                return _TOO_MANY
            value += 1
    return _DAMAGED if skips else value
