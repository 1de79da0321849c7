"""Writes a result to a path: a regular file whole or not at all, and anything else as a stream."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from gpustats.errors import DataError
from gpustats.failures import printable

__all__ = ["check_target", "descriptor_of", "write_text"]

_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?:self|thread-self|\d+))/fd/(\d+)")
_MOST_LINKS = 40
_NO_TEMPORARY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})
"""What it means that a file can be written, but not replaced: its folder is closed, or it is mounted alone."""


def write_text(path: str | os.PathLike[str], pieces: Callable[[], Iterable[str]]) -> None:
    """Write text, which a function gives in pieces, to a path.

    A regular file, and what a symbolic link leads to, is replaced when the text is written whole, and keeps its mode.
    A device, a named pipe or an open descriptor (``/dev/stdout``, ``>(command)``) is written as a stream.

    Raises
    ------
    DataError
        Where it cannot be written.
    """
    target = os.fsdecode(path)

    def data() -> Iterator[bytes]:
        return (piece.encode("utf-8", "surrogateescape") for piece in pieces())

    try:
        number = descriptor_of(target)
        if number is not None:
            _write_to_descriptor(number, data())
        elif os.path.exists(target) and not os.path.isfile(target):
            with open(target, "wb") as stream:
                stream.writelines(data())
        else:
            _replace(os.path.realpath(target), data)
    except (OSError, ValueError) as error:
        raise _cannot(target, getattr(error, "strerror", None) or str(error)) from None


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise `DataError` where `write_text` could not write to a path; nothing that exists is changed."""
    target = os.fsdecode(path)
    try:
        if not target:
            raise _cannot("''", "the path is empty")
        if descriptor_of(target) is not None:
            return
        folder = os.path.dirname(os.path.realpath(target))
        if os.path.isdir(target) or target.endswith(("/", os.sep)):
            raise _cannot(target, "it is a folder; give the name of a file")
        if not os.path.isdir(folder):
            raise _cannot(target, f"there is no folder {printable(os.path.dirname(target) or folder)}")
        try:
            os.stat(target)
        except FileNotFoundError:
            os.unlink(_new_file(folder, ()))
        else:
            if not os.access(target, os.W_OK):
                raise _cannot(target, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise _cannot(target, getattr(error, "strerror", None) or str(error)) from None


def descriptor_of(path: str) -> int | None:
    """Return the number of the open descriptor that a path stands for, as ``/dev/stdout`` does; else None."""
    for _ in range(_MOST_LINKS):
        match = _DESCRIPTOR.fullmatch(path)
        if match and (not path.startswith("/proc/") or path.split("/")[2] in ("self", "thread-self", str(os.getpid()))):
            return int(match[1])
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except (OSError, ValueError):
            return None
    return None


def _cannot(path: str, reason: str) -> DataError:
    return DataError(f"{printable(path)}: cannot be written: {reason}")


def _write_to_descriptor(number: int, data: Iterable[bytes]) -> None:
    # A duplicate shares the position in the file; opening the path again would begin at the start of it.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # replaced by something that is no file, or closed
            if stream.fileno() == number:
                stream.flush()
    with open(os.dup(number), "wb") as stream:
        stream.writelines(data)


def _replace(target: str, data: Callable[[], Iterable[bytes]]) -> None:
    status = os.stat(target) if os.path.exists(target) else None
    if status is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    temporary = ""
    try:
        temporary = _new_file(os.path.dirname(target), data())
        if status is not None:
            if hasattr(os, "chown"):
                with suppress(OSError):  # only the superuser may give files away
                    os.chown(temporary, status.st_uid, status.st_gid)
            os.chmod(temporary, stat.S_IMODE(status.st_mode))
        os.replace(temporary, target)
        temporary = ""
    except OSError as error:
        if status is None or error.errno not in _NO_TEMPORARY:
            raise
        with open(target, "wb") as file:
            file.writelines(data())
    finally:
        if temporary:
            os.unlink(temporary)


def _new_file(folder: str, data: Iterable[bytes]) -> str:
    """Write a file of a new name in a folder, and return its path; nothing is left where that fails."""
    path = os.path.join(folder, f".gpustats-{os.urandom(8).hex()}.tmp")
    try:
        with open(path, "xb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            os.unlink(path)
        raise
    return path
