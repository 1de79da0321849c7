"""One open file that worker threads read parts of."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from gpustats.failures import ImageError
from gpustats.sources.items import check_bytes

__all__ = ["SharedFile"]


class SharedFile:
    """One open file that several threads read from at positions of their own; closed with the last reader.

    Parameters
    ----------
    descriptor : int
        Of the open file; is duplicated.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._lock = threading.Lock()

    def __del__(self) -> None:
        os.close(self._descriptor)

    def size(self) -> int:
        """Return how many bytes the file has."""
        return os.fstat(self._descriptor).st_size

    def reader(self, offset: int, size: int) -> Callable[[int], bytes]:
        """Return an item of a source: a function that reads these bytes."""

        def read(max_bytes: int) -> bytes:
            check_bytes(size, max_bytes)
            data = self.read_at(offset, size)
            if len(data) < size:
                raise ImageError("truncated", "the container ends within this member")
            return data

        return read

    def read_at(self, offset: int, size: int) -> bytes:
        """Read so many bytes, fewer where the file ends; raise `ImageError` where it cannot be read."""
        try:
            if hasattr(os, "pread"):
                data = os.pread(self._descriptor, size, offset)
                while len(data) < size:  # a call reads 2 GiB at most
                    more = os.pread(self._descriptor, size - len(data), offset + len(data))
                    if not more:
                        break
                    data += more
                return data
            with self._lock:  # Windows: the position belongs to the file
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                return os.read(self._descriptor, size)
        except MemoryError:
            raise ImageError("too_large", "not enough memory to read this member") from None
        except OSError as error:
            raise ImageError("unreadable", error.strerror or str(error)) from None
