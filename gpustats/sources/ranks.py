"""The place of an image in the random order that a seed gives: 64 bits of a hash of the seed and the key.

FNV-1a over the bytes of the key from a state that the seed decides (Fowler, Noll and Vo), with the last step of
MurmurHash3 before and after (Appleby), so that every bit of the seed and of the key reaches every bit of the rank. A
million keys take a fifth of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.compiled import compiled

__all__ = ["ranks_of"]

_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_FIRST_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SECOND_MIX = np.uint64(0xC4CEB9FE1A85EC53)
_33 = np.uint64(33)


def ranks_of(keys: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """Return the rank of each key.

    Examples
    --------
    >>> ranks_of(["a.jpg", "b.jpg"], 0).tolist() == ranks_of(["b.jpg", "a.jpg"], 0).tolist()[::-1]
    True
    """
    encoded = [key.encode("utf-8", "surrogateescape") for key in keys]
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    ranks = np.empty(len(encoded), np.uint64)
    _fill(np.frombuffer(b"".join(encoded) or b"\0", np.uint8), ends, np.uint64(seed), ranks)
    return ranks


@compiled
def _mixed(x: Any) -> Any:
    x ^= x >> _33
    x *= _FIRST_MIX
    x ^= x >> _33
    x *= _SECOND_MIX
    return x ^ (x >> _33)


@compiled
def _fill(data: NDArray[np.uint8], ends: NDArray[np.int64], seed: np.uint64, ranks: NDArray[np.uint64]) -> None:
    """Write the rank of each key; the bytes of one end where those of the next begin."""
    start = _mixed(seed ^ _START)
    place = 0
    for i in range(ends.size):
        state = start
        while place < ends[i]:
            state = (state ^ np.uint64(data[place])) * _PRIME
            place += 1
        ranks[i] = _mixed(state ^ start)
