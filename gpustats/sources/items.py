"""What an image is before it is decoded, and the four questions that are asked of it.

How its bytes are had (`load`), how many it holds in memory already (`held_bytes`), whether it can be sent to another
process (`travels`), and what shows that it has changed (`stamp`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import GpustatsError
from gpustats.failures import ImageError

__all__ = ["Item", "Pixels", "Stamp", "check_bytes", "content_stamp", "held_bytes", "load", "stamp", "travels"]

Pixels: TypeAlias = "NDArray[np.generic]"
"""Decoded pixels of one image, (H, W) or (H, W, C), of any strides: a view of the dataset where that is possible."""

Item: TypeAlias = "str | bytes | memoryview | Pixels | Callable[[int], bytes | Pixels]"
"""A path, encoded bytes or a view of them, decoded pixels, or a function that reads either on a worker thread.

The function gets the number of bytes it may read and raises `ImageError` where there are more. What it holds
open must be safe to use from several threads. One that reads a whole remote file is a `files.remote.RemoteFile`, or has
its attribute `identity`.
"""

Stamp: TypeAlias = "tuple[int, int | bytes] | None"
"""Size, and what shows a change (mtime or hash); None where an image cannot be identified and is always read."""

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_CHUNK = 1 << 20


def check_bytes(size: int, max_bytes: int) -> None:
    """Raise `ImageError` where an image of this many bytes should not be read."""
    if size > max_bytes:
        raise ImageError("too_large", f"the image has {size:,} bytes, more than the limit of {max_bytes:,}")


def load(item: Item, max_bytes: int, expect: Callable[[int], None] = lambda size: None) -> bytes | Pixels:
    """Read what stands behind an item.

    Parameters
    ----------
    item : str, bytes, memoryview, ndarray or callable
        See `Item`.
    max_bytes : int
        Larger files are refused.
    expect : callable
        Called with the size of a file before it is read; may wait for memory.

    Raises
    ------
    ImageError
        With the reason ``missing``, ``unreadable`` or ``too_large``.
    """
    if isinstance(item, str):
        return _read_file(item, max_bytes, expect)
    if isinstance(item, memoryview):  # decoders want bytes; the worker copies, not the source, which all wait for
        expect(len(item))
        return bytes(item)
    if callable(item):
        try:
            data = item(max_bytes)
        except (ImageError, GpustatsError):
            raise
        except MemoryError:
            raise ImageError("too_large", "not enough memory to read the image") from None
        except Exception as error:  # noqa: BLE001 - packages that read containers raise anything; one image, named
            raise ImageError("unreadable", f"{type(error).__name__}: {error}") from None
        expect(len(data) if isinstance(data, bytes) else 0)
        return data
    return item


def _read_file(path: str, max_bytes: int, expect: Callable[[int], None]) -> bytes:
    # Four system calls and no file object: this runs once an image, and what surrounds it is held by one thread at a
    # time.
    try:
        descriptor = os.open(path, _OPEN_FLAGS)  # a named pipe must not block the run: O_NONBLOCK
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("unreadable", "not a regular file")
            if status.st_size > max_bytes:
                raise ImageError(
                    "too_large", f"the file has {status.st_size:,} bytes, more than the limit of {max_bytes:,}"
                )
            expect(status.st_size)
            data = os.read(descriptor, status.st_size + 1)
            if len(data) != status.st_size:  # grown, shrunk or a short read: take what is there now
                parts = [data]
                while parts[-1] and sum(map(len, parts)) <= max_bytes:
                    parts.append(os.read(descriptor, 1 << 20))
                data = b"".join(parts)
            return data
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ImageError("missing", "no such file") from None
    except MemoryError:
        raise ImageError("too_large", "not enough memory to read the file") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError("unreadable", getattr(error, "strerror", None) or str(error)) from None


def held_bytes(item: Item) -> int:
    """Return the encoded bytes that an item holds, or will hold when it is fetched ahead (`files.remote.RemoteFile`).

    Decoded pixels are views of what is in memory anyway.
    """
    return len(item) if isinstance(item, bytes | memoryview) else getattr(item, "held", 0)


def travels(item: Item) -> bool:
    """Say whether an item can be pickled; functions and views belong to this process, which has to load them."""
    return not callable(item) and not isinstance(item, memoryview)


def stamp(
    item: Item,
    container: str | None,
    by_content: bool,
    of_file: Callable[[str], Stamp],
    of_container: Callable[[str], Stamp],
) -> Stamp:
    """Return what identifies an unchanged image.

    Parameters
    ----------
    item : Item
        The image.
    container : str or None
        The file that holds it whole, where one does.
    by_content : bool
        Whether files are identified by their content; what is in memory of a container is then hashed itself.
    of_file, of_container : callable
        Return the stamp of a loose file and of a container.
    """
    if isinstance(item, str):
        return of_file(item)
    if container is not None and (callable(item) or not by_content):
        return of_container(container)
    if isinstance(item, bytes | memoryview):
        return len(item), hashlib.blake2b(item, digest_size=16).digest()
    if isinstance(item, np.ndarray):
        content = hashlib.blake2b(f"{item.dtype.str} {item.shape}".encode(), digest_size=16)
        content.update(np.ascontiguousarray(item).data)
        return item.nbytes, content.digest()
    return None


def content_stamp(path: str) -> Stamp:
    """Return a file's size and the hash of its content; None where it cannot be read."""
    try:
        return os.stat(path).st_size, _file_hash(path)
    except (OSError, ValueError):
        return None


def _file_hash(path: str) -> bytes:
    content = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            content.update(chunk)
    return content.digest()
