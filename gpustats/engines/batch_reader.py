"""Reads and screens the files of a batch in one call without the interpreter lock: numba calls the C library.

Read in Python, an image holds the lock for 30 µs, so that a process could not read more than about 30,000 images/s on
any number of cores. Here it is held once a batch.
"""

from __future__ import annotations

import os
from typing import Any

from numba import types

from gpustats.engines.screen import SHORTEST, ordinary_jpeg
from gpustats.statistics.compiled import compiled

__all__ = [
    "COUNT",
    "MAX_BYTES",
    "MAX_IMAGES",
    "MAX_PIXELS",
    "MAX_PIXELS_OF_IMAGE",
    "PIXELS",
    "USED",
    "place",
    "read_files",
    "read_small",
]

# What a batch holds so far, places in the array `state`.
COUNT, USED, PIXELS = range(3)

# What it may hold, places in the array `limits`.
MAX_IMAGES, MAX_BYTES, MAX_PIXELS, MAX_PIXELS_OF_IMAGE = range(4)

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)  # a named pipe must not block the run
_FROM_START, _FROM_END = os.SEEK_SET, os.SEEK_END
_PROBE = 64 << 10  # bytes; of what is no JPEG no more is read

_open: Any = types.ExternalFunction("open", types.intc(types.uintp, types.intc))
_lseek: Any = types.ExternalFunction("lseek", types.int64(types.intc, types.int64, types.intc))
_read: Any = types.ExternalFunction("read", types.intp(types.intc, types.uintp, types.uintp))
_close: Any = types.ExternalFunction("close", types.intc(types.intc))


@compiled
def read_files(names_at, name_starts, first, arena, state, limits, taken, rows):  # type: ignore[no-untyped-def]
    """Read files one behind the other into an arena, as long as they fit, and keep those that the GPU should decode.

    Parameters
    ----------
    names_at : int
        Address of paths, each with a null byte behind it; see `gpustats.sources.files.names.Names`.
    name_starts : ndarray of int64, shape (N,)
    first : int
        The path to begin with.
    arena : ndarray of uint8
    state, limits : ndarray of int64
        What the batch holds, which grows, and what it may hold; see `COUNT` and `MAX_IMAGES`.
    taken : ndarray of bool, shape (N,)
        Gets whether a file is in the batch. What is not there is for the CPU.
    rows : ndarray of int64, shape (M, 5)
        Gets start, size, height, width and components of each image in the batch.

    Returns
    -------
    int
        The first path that was not looked at, because there is no room.
    """
    for i in range(first, len(name_starts)):
        if state[COUNT] >= limits[MAX_IMAGES]:
            return i
        taken[i] = False
        file = _open(names_at + name_starts[i], _FLAGS)
        if file < 0:
            continue
        start = state[USED]
        size = _lseek(file, 0, _FROM_END)
        if size < SHORTEST or size > limits[MAX_BYTES] or _lseek(file, 0, _FROM_START) != 0:
            _close(file)
            continue
        if start + size > limits[MAX_BYTES]:
            _close(file)
            return i
        got = _fill(file, arena.ctypes.data + start, min(size, _PROBE))
        if got == _PROBE and size > _PROBE and arena[start] == 0xFF and arena[start + 1] == 0xD8:
            got += _fill(file, arena.ctypes.data + start + got, size - got)
        _close(file)
        if got != size:  # no JPEG, or a file that has just become shorter
            continue
        height, width, components = ordinary_jpeg(arena, start, start + size)
        if not _fits(height, width, limits):
            continue
        if not _add(start, size, height, width, components, state, limits, rows):
            return i
        taken[i] = True
    return len(name_starts)


@compiled
def read_small(names_at, name_starts, arena, spans):  # type: ignore[no-untyped-def]
    """Read whole files of any kind one behind the other into an arena, those that fit.

    Parameters
    ----------
    names_at, name_starts, arena
        As in `read_files`.
    spans : ndarray of int64, shape (N, 4)
        Gets start and end of each file in the arena, and height and width of an ordinary JPEG; zeros for what is not
        there.
    """
    used = 0
    for i in range(len(name_starts)):
        spans[i, 0] = spans[i, 1] = spans[i, 2] = spans[i, 3] = 0
        file = _open(names_at + name_starts[i], _FLAGS)
        if file < 0:
            continue
        size = _lseek(file, 0, _FROM_END)
        fits = 0 < size <= len(arena) - used and _lseek(file, 0, _FROM_START) == 0
        if fits and _fill(file, arena.ctypes.data + used, size) == size:
            spans[i, 0], spans[i, 1] = used, used + size
            spans[i, 2], spans[i, 3], _ = ordinary_jpeg(arena, used, used + size)
            used += size
        _close(file)


@compiled
def place(data, arena, state, limits, rows):  # type: ignore[no-untyped-def]
    """Do for one image in memory, no larger than an arena, what `read_files` does for files.

    Returns
    -------
    int
        1 where it is in the batch now, 0 where there is no room, -1 where the CPU should decode it.
    """
    size = len(data)
    height, width, components = ordinary_jpeg(data, 0, size)
    if not _fits(height, width, limits):
        return -1
    start = state[USED]
    if state[COUNT] >= limits[MAX_IMAGES] or start + size > limits[MAX_BYTES]:
        return 0
    if not _add(start, size, height, width, components, state, limits, rows):
        return 0
    arena[start : start + size] = data
    return 1


@compiled
def _fits(height, width, limits):  # type: ignore[no-untyped-def]
    return 0 < height * width <= limits[MAX_PIXELS_OF_IMAGE]


@compiled
def _add(start, size, height, width, components, state, limits, rows):  # type: ignore[no-untyped-def]
    """Count an image in; a batch of one may have more pixels than others."""
    count, pixels = state[COUNT], state[PIXELS] + height * width
    if count and pixels > limits[MAX_PIXELS]:
        return False
    rows[count, 0], rows[count, 1] = start, size
    rows[count, 2], rows[count, 3], rows[count, 4] = height, width, components
    state[COUNT], state[USED], state[PIXELS] = count + 1, start + size, pixels
    return True


@compiled
def _fill(file, at, size):  # type: ignore[no-untyped-def]
    """Read up to `size` bytes; return how many there were."""
    got = 0
    while got < size:
        more = _read(file, at + got, size - got)
        if more <= 0:
            break
        got += more
    return got
