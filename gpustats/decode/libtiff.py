"""Keeps libtiff from writing its messages to the terminal: Pillow gives no access to them."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import PIL._imaging

__all__ = ["silent_libtiff"]

_HANDLERS = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")


@contextmanager
def silent_libtiff() -> Iterator[None]:
    """Take away libtiff's handlers of errors and warnings, which write to standard error, and put them back.

    They hold for the whole process, so threads may decode meanwhile. What went wrong is known all the same: Pillow
    raises an exception. Where libtiff is a part of Pillow's own library, as on Windows, nothing is changed.
    """
    before = [(setter, setter(None)) for setter in _setters()]
    try:
        yield
    finally:
        for setter, handler in before:
            setter(handler)


@functools.cache
def _setters() -> tuple[Any, ...]:
    """Return the functions of the libtiff that Pillow is linked to; empty where they cannot be reached."""
    try:
        library = ctypes.CDLL(PIL._imaging.__file__)  # symbols are looked for in what it is linked to as well
        setters = tuple(getattr(library, name) for name in _HANDLERS)
    except (OSError, AttributeError):
        return ()
    for setter in setters:
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return setters
