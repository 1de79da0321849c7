"""A budget of bytes that the threads of an engine share, so that many large images are never in memory at once."""

from __future__ import annotations

import threading

__all__ = ["MemoryBudget"]


class MemoryBudget:
    """Hands out memory to workers: a fixed share each without asking, more only while the common part lasts.

    Half of the budget is divided among the workers; an image that fits into a share takes no lock. The other half is
    for larger images, which wait for one another; one that is larger than that half is taken alone.

    Parameters
    ----------
    total : int
        Bytes.
    workers : int
        Threads that share them.
    """

    def __init__(self, total: int, workers: int) -> None:
        self.share = max(total // (2 * workers), 1)
        self._common = max(total // 2, 1)
        self._free = self._common
        self._changed = threading.Condition()

    def reserve(self, size: int) -> int:
        """Wait until `size` bytes may be allocated; return what to give to `release` afterwards."""
        if size <= self.share:
            return 0
        size = min(size, self._common)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        return size

    def release(self, reserved: int) -> None:
        """Give back what `reserve` returned."""
        if reserved:
            with self._changed:
                self._free += reserved
                self._changed.notify_all()
