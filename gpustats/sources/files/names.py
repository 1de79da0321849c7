"""Paths of a batch as the C library takes them, and their sizes and times, had without the interpreter lock."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Names", "sizes_and_times"]


class Names:
    """Paths, each with a null byte behind it.

    Attributes
    ----------
    text : ndarray of uint8
        The bytes of all.
    address : int
        Where they are in memory, as long as this object lives.
    starts : ndarray of int64, shape (N,)
        Where each begins.

    Raises
    ------
    ValueError
        Where a path holds a null character.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        text = os.fsencode("\0".join(paths) + "\0")
        if text.count(0) != len(paths):
            raise ValueError("a path holds a null character")
        self.text = np.frombuffer(text, np.uint8)
        self.address: int = self.text.ctypes.data
        self.starts: NDArray[np.int64] = np.zeros(len(paths), np.int64)
        self.starts[1:] = np.flatnonzero(self.text == 0)[:-1] + 1


def sizes_and_times(paths: Sequence[str]) -> Sequence[tuple[int, int] | None]:
    """Return size and modification time of files, in bytes and nanoseconds; None for what cannot be looked at."""
    look_at = _statx()
    try:
        names = Names(paths) if look_at and paths else None
    except ValueError:
        names = None
    if names is None:
        return [_size_and_time(path) for path in paths]
    found = np.empty((len(paths), 2), np.int64)
    good = np.empty(len(paths), np.bool_)
    look_at(names.address, names.starts, found, good)
    pairs: list[tuple[int, int]] = list(zip(*found.T.tolist(), strict=True))
    if good.all():
        return pairs
    # Some container runtimes forbid statx.
    return [
        pair if fine else _size_and_time(path) for pair, fine, path in zip(pairs, good.tolist(), paths, strict=True)
    ]


def _size_and_time(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


@cache
def _statx() -> Any:
    """Return `look_at`; None where the C library does not have what it calls."""
    if not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "statx"):
        return None
    from gpustats.sources.files.statx import look_at

    return look_at
