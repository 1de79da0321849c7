"""A budget of bytes that the threads of an engine share, so that many large images are never in memory at once."""

from __future__ import annotations

import re
import threading

from gpustats.errors import OptionError
from gpustats.failures import ImageError
from gpustats.limits.machine import usable_memory
from gpustats.wording import named

__all__ = ["PROCESS_BYTES", "ByteLimit", "MemoryBudget", "memory_in_flight", "parse_memory"]

PROCESS_BYTES = 256 << 20
"""What the process takes in addition to images: interpreter, numpy, numba's compiler and the decoders, rounded up."""

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SMALLEST = 64 << 20


def parse_memory(memory: object, usable: int) -> int:
    """Return the bytes that ``memory=`` asks for.

    Parameters
    ----------
    memory : int, float or str
        Bytes, a share of `usable` from 0.0 to 1.0, or text such as ``"2GB"``, ``"512MiB"``, ``"1.5g"``, ``"25%"``.
    usable : int
        Bytes that the process could get.

    Raises
    ------
    OptionError
        For anything else, and for less than 64 MiB.

    Examples
    --------
    >>> parse_memory("2GB", usable=0), parse_memory("512MiB", usable=0), parse_memory(0.25, usable=4 << 30)
    (2000000000, 536870912, 1073741824)
    """
    size: float = 0
    if isinstance(memory, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:(%)|([kmgt]?)(i?)b?)\s*", memory, re.IGNORECASE)
        if match:
            number, percent, unit, binary = match.groups()
            size = float(number)
            if percent:
                size = size / 100 * usable if size <= 100 else 0
            else:
                size *= (1024 if binary else 1000) ** _UNITS[unit.lower()]
    elif isinstance(memory, float):
        size = memory * usable if 0 < memory <= 1 else 0
    elif isinstance(memory, int) and not isinstance(memory, bool):
        size = memory
    if size < _SMALLEST:
        raise OptionError(
            f"{named('memory')} should be at least 64 MiB, as bytes (2_000_000_000), text ('2GB', '512MiB', '25%') or "
            f"a share of the memory available (0.25), got {memory!r}"
        )
    return int(size)


def memory_in_flight(memory: object) -> int:
    """Return the bytes that files and pixels may take where ``memory=`` is the limit for the whole process.

    None stands for half of what the machine and the cgroup have left, at least 1 GiB.
    """
    usable = usable_memory()
    if memory is None:
        return max(usable // 2, 1 << 30)
    limit = parse_memory(memory, usable)
    return max(limit - PROCESS_BYTES, limit // 2)


class ByteLimit:
    """Counts the bytes that threads hold together; a thread that would exceed the limit waits.

    Parameters
    ----------
    limit : int
        Bytes. What is larger waits until nothing else is held, and is then held alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = max(limit, 1)
        self._free = self._limit
        self._closed = False
        self._changed = threading.Condition()

    def take(self, size: int) -> int:
        """Wait until `size` bytes may be held; return what to give to `release` afterwards."""
        size = min(size, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size or self._closed)
            self._free -= size
        return size

    def try_take(self, size: int) -> int | None:
        """Do as `take`, but return None where that would wait."""
        size = min(size, self._limit)
        with self._changed:
            if self._free < size:
                return None
            self._free -= size
        return size

    def release(self, taken: int) -> None:
        """Give back what `take` returned."""
        if taken:
            with self._changed:
                self._free += taken
                self._changed.notify_all()

    def close(self) -> None:
        """Let everybody pass from now on: the run is over."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class MemoryBudget(ByteLimit):
    """Hands out memory to workers: a fixed share each without asking, more only while the common part lasts.

    A quarter of the budget is divided among the workers: an image whose file and whose pixels each fit into a share
    takes no lock. The rest is common: larger images wait for one another there, one that asks for all of it is taken
    alone, and one that asks for more is refused.

    A worker waits at most once an image and holds nothing of the common part while it waits, so that no two workers
    can wait for each other.

    Parameters
    ----------
    total : int
        Bytes.
    workers : int
        Threads that share them.

    Attributes
    ----------
    share : int
        Bytes of pixels, and as many bytes of file, that a worker may hold without asking.
    common : int
        Bytes that one image may take at most.
    refused : int
        Images that were refused.
    """

    def __init__(self, total: int, workers: int) -> None:
        self.share = max(total // (8 * workers), 1)
        self.common = max(total - total // 4, 1)
        self.refused = 0
        super().__init__(self.common)

    def reserve(self, size: int) -> int:
        """Wait until `size` bytes may be allocated; return what to give to `release` afterwards.

        Raises
        ------
        ImageError
            With the reason ``too_large`` where no image may take so much.
        """
        if size <= self.share:
            return 0
        self.check(size)
        return self.take(size)

    def reserve_all(self, size: int) -> int:
        """Wait until the whole common part is free, for a file of `size` bytes that will need as yet unknown more."""
        self.check(size)
        return self.take(self.common)

    def check(self, size: int) -> None:
        """Raise `ImageError` where one image may not take `size` bytes."""
        if size > self.common:
            self.refused += 1
            raise ImageError(
                "too_large",
                f"decoding takes about {size / 1e6:,.0f} MB, more than the {self.common / 1e6:,.0f} MB that the memory "
                "limit leaves for one image",
            )
