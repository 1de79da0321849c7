"""Sizes and times of many files by Linux' ``statx(2)``, called by numba. Import it where the C library has statx."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from gpustats.statistics.compiled import compiled

__all__ = ["look_at"]

_FROM_WORKING_DIRECTORY, _FOLLOW_LINKS, _SIZE_AND_MTIME = -100, 0, 0x240
_SIZE, _SECONDS, _NANOSECONDS = 5, 14, 15  # places in struct statx, in units of 8 bytes

_statx: Any = types.ExternalFunction("statx", types.intc(types.intc, types.uintp, types.intc, types.uintc, types.uintp))


@compiled
def look_at(names_at, name_starts, found, good):  # type: ignore[no-untyped-def]
    """Look at files; links are followed.

    Parameters
    ----------
    names_at : int
        Address of paths, each with a null byte behind it.
    name_starts : ndarray of int64, shape (N,)
    found : ndarray of int64, shape (N, 2)
        Gets size in bytes and modification time in nanoseconds.
    good : ndarray of bool, shape (N,)
        Gets which could be looked at.
    """
    status = np.zeros(32, np.int64)  # struct statx, 256 bytes
    for i in range(len(name_starts)):
        path, at = names_at + name_starts[i], status.ctypes.data
        good[i] = _statx(_FROM_WORKING_DIRECTORY, path, _FOLLOW_LINKS, _SIZE_AND_MTIME, at) == 0
        found[i, 0] = status[_SIZE]
        found[i, 1] = status[_SECONDS] * 1_000_000_000 + (status[_NANOSECONDS] & 0xFFFFFFFF)
