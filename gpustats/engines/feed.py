"""Read-ahead for the GPU engine: reads files, screens headers, and sorts images into GPU batches and CPU work.

The encoded bytes of all images that the GPU engine holds stay below a limit:

- Three quarters are for the GPU, divided by the most batches that can be in flight: that is the arena of a batch. A
  JPEG that does not fit into one goes to the CPU: nobody has to wait, and DALI always gets the batches that it wants.
- A quarter is for images in memory that are being read and for those that wait for the CPU, counted from before they
  are read until their outcome is there. A reader waits for its part while it holds nothing, and the CPU needs nothing
  from here to go on, so that nobody waits for ever. An image larger than the quarter is held alone.

Files for the CPU are handed over by their paths: the CPU engine reads them when their turn comes.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import compress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.base import Outcome
from gpustats.engines.device_arrays import is_on_device
from gpustats.engines.filling import Filling
from gpustats.engines.gpu_batch import CHANNELS, EncodedBatch, EncodedImage
from gpustats.engines.tuning import Tuning
from gpustats.failures import Failure, ImageError
from gpustats.limits.memory import ByteLimit
from gpustats.sources import Batch, load
from gpustats.sources.files.names import Names
from gpustats.sources.items import Item, Pixels
from gpustats.sources.reader import for_threads

__all__ = ["Feed", "Stopped"]

_T = TypeVar("_T")

_CPU_BATCHES = 8
_LARGEST_ARENA = 256 << 20  # DALI counts bytes in 32 bits
_CPU_BATCH_BYTES = 8 << 20  # of encoded data; a larger image is one batch
_POLL = 0.1  # seconds between looks at `stop` while waiting


class Stopped(Exception):
    """The run was stopped while a thread waited."""


@dataclass(slots=True)
class _Rest:
    """Samples that a reader keeps for the CPU until they are worth a batch."""

    keys: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, keys: Sequence[str], groups: Sequence[str], items: Sequence[Item], taken: int = 0) -> None:
        """Append samples that hold `taken` bytes each."""
        self.keys += keys
        self.groups += groups
        self.items += items
        self.taken += [taken] * len(keys)


class Feed:
    """Two bounded queues filled by reader threads: batches for the GPU, samples for the CPU.

    Parameters
    ----------
    batches : iterator of Batch
        The source.
    tuning : Tuning
        Batch limits and the number of readers.
    max_pixels, max_bytes : int
        Limits of an image and of a file.
    memory : int
        Bytes of encoded images that may be held, in the pipeline and by the CPU too.
    """

    def __init__(
        self, batches: Iterator[Batch], tuning: Tuning, *, max_pixels: int, max_bytes: int, memory: int
    ) -> None:
        self._batches = for_threads(batches)
        self._readers = tuning.readers
        self._max_gpu_pixels = min(tuning.max_gpu_pixels, max_pixels)
        self._batch_size = self._largest_batch = tuning.batch_size
        self._batch_bytes = tuning.batch_bytes
        self._max_bytes = max_bytes
        # Being filled, two in the queue, one more than DALI's prefetch inside, two in reduction, one to be fed again.
        in_flight = tuning.readers + 2 + (tuning.prefetch + 1) + 2 + 1
        self._arena_bytes = min(max((memory - memory // 4) // in_flight, 1), _LARGEST_ARENA)
        self._spare: list[NDArray[np.uint8]] = []
        self._cpu_batch_bytes = min(_CPU_BATCH_BYTES, memory // 16)
        self._held = ByteLimit(memory // 4)
        self._at_cpu: defaultdict[str, list[int]] = defaultdict(list)
        self._at_cpu_lock = threading.Lock()
        self._stop = threading.Event()
        self._end_lock = threading.Lock()
        self._gpu: queue.Queue[EncodedBatch | None] = queue.Queue(maxsize=2)  # None: the end
        self._gpu_ended = False
        self._cpu: queue.Queue[Batch | None] = queue.Queue(maxsize=_CPU_BATCHES)
        self._reading = tuning.readers
        self._gpu_closed = threading.Event()  # the GPU takes no more: everything is work for the CPU
        self.error: BaseException | None = None

    def start(self) -> list[threading.Thread]:
        """Start the readers."""
        threads = [
            threading.Thread(target=self._read, name=f"gpustats-read-{i}", daemon=True) for i in range(self._readers)
        ]
        for thread in threads:
            thread.start()
        return threads

    def stop(self) -> None:
        """End the run; every thread that waits for the feed gets `Stopped`."""
        self._stop.set()
        self._held.close()

    @property
    def stopped(self) -> bool:
        """Whether the run is over."""
        return self._stop.is_set()

    def next_for_gpu(self) -> EncodedBatch | None:
        """Wait for the next batch of JPEGs; None at the end, also when a rebuilt pipeline asks again."""
        while not self._stop.is_set():
            if self._gpu_ended:
                return None
            with suppress(queue.Empty):
                batch = self._gpu.get(timeout=_POLL)
                self._gpu_ended = batch is None
                return batch
        raise Stopped

    def for_cpu(self, steal: bool) -> Iterator[Batch]:
        """Yield samples for the CPU until nothing more can come; with `steal`, whole batches of the source too."""
        while not self._stop.is_set():
            if steal and self._cpu.empty():
                batch = next(self._batches, None)
                if batch is not None:
                    yield batch
                    del batch
                    continue
                steal = False
            with suppress(queue.Empty):
                batch = self._cpu.get(timeout=_POLL)
                if batch is None:
                    return
                yield batch
                del batch  # or this frame would hold its images until the next one comes

    def done_by_cpu(self, outcome: Outcome) -> None:
        """Say that the CPU holds these images no more."""
        taken = 0
        with self._at_cpu_lock:
            for key in (*outcome.rows.keys, *(failure.key for failure in outcome.failures)):
                if key in self._at_cpu:
                    taken += self._at_cpu[key].pop()
                    if not self._at_cpu[key]:
                        del self._at_cpu[key]
        self._held.release(taken)

    def close_cpu(self) -> None:
        """Say that the GPU is done: after what is queued now, there is no more work for the CPU."""
        self._put(self._cpu, None)

    def close_gpu(self) -> None:
        """Say that the GPU takes no more: what comes is work for the CPU, but for batches that are ready."""
        self._gpu_closed.set()

    def _put(self, to: queue.Queue[_T | None], value: _T | None) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                to.put(value, timeout=_POLL)
                return
        raise Stopped

    def halve_batches(self) -> bool:
        """Make coming batches half as large, because memory ran out; False where they hold one image already.

        For batches that were made before, see `is_too_large`.
        """
        if self._batch_size == 1:
            return False
        self._batch_size //= 2
        self._batch_bytes = max(self._batch_bytes // 2, 1)
        return True

    def is_too_large(self, batch: EncodedBatch) -> bool:
        """Return whether a batch exceeds the current limits."""
        return len(batch) > 1 and (len(batch) > self._batch_size or batch.pixel_bytes > self._batch_bytes)

    def recycle(self, batch: EncodedBatch) -> None:
        """Take back the arena of a batch that nobody needs any more: fresh memory would have to be cleared first."""
        if batch.whole:
            self._spare.append(batch.arena)

    def images_to_cpu(self, images: Iterable[EncodedImage]) -> None:
        """Queue images one by one for the CPU, so that a failure costs one image."""
        for image in images:
            taken = self._take(len(image.data))
            self._hand_over(_Rest([image.key], [image.group], [image.data], [taken]))

    def _read(self) -> None:
        filling = Filling(self._largest_batch, self._arena, self._limits)
        try:
            while not self._stop.is_set():
                batch = next(self._batches, None)
                if batch is None:
                    break
                self._sort(batch, filling)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            self.error = error
            self.stop()
        finally:
            with suppress(Stopped):
                self._flush(filling)
            with self._end_lock:
                self._reading -= 1
                last = self._reading == 0
            if last:
                with suppress(Stopped):
                    self._put(self._gpu, None)

    def _arena(self) -> NDArray[np.uint8]:
        try:
            return self._spare.pop()
        except IndexError:
            return np.empty(self._arena_bytes, np.uint8)

    def _limits(self) -> NDArray[np.int64]:
        """Return what a batch may hold, see `gpustats.engines.batch_reader.MAX_IMAGES`."""
        pixels = self._batch_bytes // CHANNELS
        return np.array([self._batch_size, self._arena_bytes, pixels, self._max_gpu_pixels], np.int64)

    def _sort(self, batch: Batch, filling: Filling) -> None:
        """Put what the GPU decodes into `filling`, and queue the rest for the CPU."""
        if self._gpu_closed.is_set():
            self._put(self._cpu, batch)
            return
        rest = _Rest(failures=list(batch.failures))
        paths = [item for item in batch.items if isinstance(item, str)]
        if len(paths) == len(batch):
            self._sort_files(batch.keys, batch.groups, paths, filling, rest)
        else:
            for sample in zip(batch.keys, batch.groups, batch.items, strict=True):
                self._sort_one(*sample, filling, rest)
                if sum(rest.taken) > self._cpu_batch_bytes:
                    self._hand_over(rest)
        self._hand_over(rest)

    def _sort_files(
        self, keys: Sequence[str], groups: Sequence[str], paths: Sequence[str], filling: Filling, rest: _Rest
    ) -> None:
        try:
            names = Names(paths)
        except ValueError:  # the CPU engine says what is wrong with which
            rest.add(keys, groups, paths)
            return
        done, taken = 0, np.zeros(len(paths), np.bool_)
        while done < len(paths):
            done = filling.read(names, done, keys, groups, taken)
            if done < len(paths):
                self._flush(filling)
        if not taken.all():
            others = (~taken).tolist()
            keys, groups, paths = (list(compress(values, others)) for values in (keys, groups, paths))
            rest.add(keys, groups, paths)

    def _sort_one(self, key: str, group: str, item: Item, filling: Filling, rest: _Rest) -> None:
        if isinstance(item, str):
            self._sort_files([key], [group], [item], filling, rest)
            return
        try:
            data, taken = self._load(item, rest)
        except ImageError as error:
            rest.failures.append(Failure(key, error.reason, str(error)))
            return
        added = None
        if isinstance(data, bytes):
            while (added := filling.add(key, group, data)) is False:
                self._flush(filling)
        if added:
            self._held.release(taken)  # it is in the GPU's part from here
        else:
            rest.add([key], [group], [data], taken)

    def _load(self, item: Item, rest: _Rest) -> tuple[bytes | Pixels, int]:
        """Read an item when there is memory for it; return it with what is to be released."""
        taken = 0

        def expect(size: int) -> None:
            nonlocal taken
            if not taken:
                taken = self._take(size, rest)

        try:
            data = load(item, self._max_bytes, expect)
            expect(len(data) if isinstance(data, bytes) else 0 if is_on_device(data) else data.nbytes)
        except BaseException:
            self._held.release(taken)
            raise
        return data, taken

    def _take(self, size: int, rest: _Rest | None = None) -> int:
        """Wait for memory, with nothing held back that others could wait for."""
        taken = self._held.try_take(size)
        if taken is None:
            if rest is not None:
                self._hand_over(rest)
            taken = self._held.take(size)
            if self.stopped:
                raise Stopped
        return taken

    def _hand_over(self, rest: _Rest) -> None:
        """Queue what a reader has for the CPU; wait for room."""
        if not rest.keys and not rest.failures:
            return
        with self._at_cpu_lock:
            for key, taken in zip(rest.keys, rest.taken, strict=True):
                if taken:
                    self._at_cpu[key].append(taken)
        batch = Batch(rest.keys, rest.groups, rest.items, tuple(rest.failures))
        rest.keys, rest.groups, rest.items, rest.taken, rest.failures = [], [], [], [], []
        self._put(self._cpu, batch)

    def _flush(self, filling: Filling) -> None:
        """Queue what a reader has for the GPU; wait for room."""
        if not len(filling):
            return
        batch = filling.take()
        while not self._stop.is_set():
            if self._gpu_closed.is_set():
                self.images_to_cpu(batch.image(i) for i in range(len(batch)))
                return
            with suppress(queue.Full):
                self._gpu.put(batch, timeout=_POLL)
                return
        raise Stopped
