"""Words of messages: counts with their plural, and options in the way of the interface that is in use.

An option is named as Python's keyword, or as the command line's option while a command runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

__all__ = ["amount", "bytes_of", "named", "option", "options_of", "spoken"]

_MISSING = object()
_names: dict[str, str] = {}


@contextmanager
def spoken(names: Mapping[str, str]) -> Iterator[None]:
    """Name options in this way until the end of the block, in the whole process.

    Parameters
    ----------
    names : mapping of str to str
        What options are called, by their keyword: ``{"max_failures": "--max-failures"}``. An option that is not in it
        is called by its keyword.
    """
    before = dict(_names)
    _names.update(names)
    try:
        yield
    finally:
        _names.clear()
        _names.update(before)


def options_of() -> dict[str, str]:
    """Return what options are called now, for a process that makes messages for this one."""
    return dict(_names)


def named(name: str) -> str:
    """Return what an option is called.

    >>> named("max_failures")
    'max_failures'
    >>> with spoken({"max_failures": "--max-failures"}):
    ...     named("max_failures")
    '--max-failures'
    """
    return _names.get(name, name)


def option(name: str, value: object = _MISSING) -> str:
    """Return an option as it is written, with a value or without.

    >>> option("column"), option("layout", "HW"), option("isolate", True)
    ('column=', "layout='HW'", 'isolate=True')
    >>> with spoken({"column": "--column", "layout": "--layout", "isolate": "--isolate"}):
    ...     option("column"), option("layout", "HW"), option("isolate", True)
    ('--column', '--layout HW', '--isolate')
    """
    if name not in _names:
        return f"{name}=" if value is _MISSING else f"{name}={_shown(repr, value)}"
    return _names[name] if value is _MISSING or value is True else f"{_names[name]} {_shown(_quoted, value)}"


def _quoted(value: object) -> str:
    return shlex.quote(str(value))


def _shown(form: Callable[[object], str], value: object) -> str:
    return f"{value:,}" if type(value) is int else form(value)


def amount(count: int, one: str, many: str = "") -> str:
    """Return a count and what is counted, as one or as many.

    >>> amount(1, "image"), amount(1200, "image"), amount(2, "process", "processes")
    ('1 image', '1,200 images', '2 processes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def bytes_of(size: int) -> str:
    """Return a number of bytes as people read it.

    >>> bytes_of(999), bytes_of(1_250_000)
    ('999 bytes', '1.2 MB')
    """
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return amount(size, "byte")
