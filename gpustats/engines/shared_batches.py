"""What workers take: whole batches while the source gives some, then half of what another has not come to yet.

A batch of large images can take a second. Without the second part all threads but one would wait for the last, and few
images would never be spread over many threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from gpustats.failures import Failure
from gpustats.sources.base import Batch, Sample
from gpustats.sources.reader import for_threads

__all__ = ["Pool", "SharedBatch"]


class SharedBatch:
    """The samples of a batch. Its worker takes from the front; others may take from the end.

    Attributes
    ----------
    samples : deque of tuple
        Key, group and item of the samples that are left. Other workers take them too, so `popleft` may fail.
    failures : list of Failure
        What the source itself could not read; the worker that reports it takes it out.
    """

    def __init__(self, batch: Batch) -> None:
        self.samples: deque[Sample] = deque(zip(batch.keys, batch.groups, batch.items, strict=True))
        self.failures: list[Failure] = list(batch.failures)

    def __len__(self) -> int:
        return len(self.samples)

    def add(self, batch: Batch) -> None:
        """Add a batch, before other workers know of this one."""
        self.samples.extend(zip(batch.keys, batch.groups, batch.items, strict=True))
        self.failures.extend(batch.failures)

    def take(self, count: int) -> list[Sample]:
        """Take `count` samples from the front, or what is left."""
        return self._taken(self.samples.popleft, count)

    def half(self) -> SharedBatch:
        """Take half of what is left, the last one if it is one."""
        return SharedBatch(_batch(self._taken(self.samples.pop, (len(self) + 1) // 2)[::-1]))

    @staticmethod
    def _taken(take: Callable[[], Sample], count: int) -> list[Sample]:
        taken: list[Sample] = []
        with suppress(IndexError):  # another worker was faster
            for _ in range(count):
                taken.append(take())
        return taken


def _batch(samples: list[Sample]) -> Batch:
    return Batch(*([sample[i] for sample in samples] for i in range(3)))  # type: ignore[arg-type]


class Pool:
    """The batches of a source for several workers.

    Parameters
    ----------
    batches : iterator of Batch
        Used by one thread at a time, unless it is a `Reader`.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = for_threads(batches)
        self._lock = threading.Lock()
        self._taken: list[SharedBatch] = []

    def take(self, count: int = 0) -> SharedBatch | None:
        """Return samples to measure: a batch, or as many as have `count`; None where all are taken."""
        batch = next(self._batches, None)
        shared = None if batch is None else SharedBatch(batch)
        while shared is not None and len(shared) < count and (batch := next(self._batches, None)) is not None:
            shared.add(batch)
        with self._lock:
            self._taken = [taken for taken in self._taken if len(taken)]
            if shared is None:
                shared = self._half()
            if shared is not None:
                self._taken.append(shared)
            return shared

    def _half(self) -> SharedBatch | None:
        while self._taken:
            largest = max(self._taken, key=len)
            half = largest.half()
            if len(half):
                return half
            self._taken.remove(largest)
        return None
