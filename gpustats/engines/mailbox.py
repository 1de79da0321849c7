"""How workers hand their results to the thread that folds them, without taking a core from a worker each time."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Mailbox"]

_T = TypeVar("_T")

_LOOK = 0.02  # seconds between two looks of the reader
_WAIT = 0.005  # seconds between two looks of a sender for whom there is no room


class Mailbox(Generic[_T]):
    """A bounded box that several threads fill and one empties: at the end at once, before that now and then.

    A queue wakes its reader for every item, and where all cores are busy the reader takes one from a worker: half a
    percent of a run. Here the reader looks every 20 ms.

    Parameters
    ----------
    senders : int
        Threads that will call `leave`.
    limit : int
        Items that the box holds; a sender waits while it is full.
    room : float, optional
        What the sizes of its items may sum up to; one that is larger waits until the box is empty.
    """

    def __init__(self, senders: int, limit: int, room: float = math.inf) -> None:
        self._items: deque[tuple[_T, int]] = deque()
        self._limit = limit
        self._room = room
        self._sent = self._received = 0  # sizes, each counted by those who hold its lock
        self._lock = threading.Lock()
        self._senders = senders
        self._all_left = threading.Event()
        self._closed = threading.Event()

    def send(self, item: _T, size: int = 0) -> None:
        """Put an item in; wait while the box is full, unless the reader has closed it."""
        while self._full(size) and not self._closed.wait(_WAIT):
            pass
        if size:
            with self._lock:
                self._sent += size
        self._items.append((item, size))

    def _full(self, size: int) -> bool:
        held = self._sent - self._received
        return len(self._items) >= self._limit or bool(size and held and held + size > self._room)

    def leave(self) -> None:
        """Say that this sender sends no more."""
        with self._lock:
            self._senders -= 1
            if self._senders == 0:
                self._all_left.set()

    def receive(self) -> Iterator[_T]:
        """Yield items until all senders have left."""
        finished = False
        while not finished:
            finished = self._all_left.wait(_LOOK)
            while self._items:
                item, size = self._items.popleft()
                self._received += size
                yield item

    def close(self) -> None:
        """Close the box for reading; senders do not wait from now on."""
        self._closed.set()
