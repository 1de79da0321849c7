"""Read-ahead for the GPU engine: reads files, screens headers, and sorts images into GPU batches and CPU work.

The encoded bytes of all images that the GPU engine holds stay below a limit:

- Three quarters are for the GPU, divided by the most batches that can be in flight. A batch has no more bytes than one
  part, and a JPEG that has more goes to the CPU: nobody has to wait, and DALI always gets the batches that it wants.
- A quarter is for what is being read and for the CPU, counted from before a file is read until its outcome is there.
  A reader waits for its part while it holds nothing, and the CPU needs nothing from here to go on, so that nobody waits
  for ever. An image larger than the quarter is held alone.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from gpustats.engines.base import Outcome
from gpustats.engines.device_arrays import is_on_device
from gpustats.engines.gpu_batch import EncodedBatch, EncodedImage
from gpustats.engines.screen import screen
from gpustats.engines.tuning import Tuning
from gpustats.failures import Failure, ImageError
from gpustats.limits.memory import ByteLimit
from gpustats.sources import Batch, load
from gpustats.sources.items import Item, Pixels
from gpustats.sources.reader import for_threads

__all__ = ["Feed", "Stopped"]

_T = TypeVar("_T")

_CPU_BATCHES = 8
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
        self._max_gpu_pixels = tuning.max_gpu_pixels
        self._batch_size = tuning.batch_size
        self._batch_bytes = tuning.batch_bytes
        self._max_pixels = max_pixels
        self._max_bytes = max_bytes
        # Being filled, two in the queue, one more than DALI's prefetch inside, two in reduction; and an image a reader.
        self._encoded_bytes = max((memory - memory // 4) // (tuning.prefetch + 6 + tuning.readers), 1)
        self._cpu_batch_bytes = min(_CPU_BATCH_BYTES, memory // 16)
        self._held = ByteLimit(memory // 4)
        self._at_cpu: defaultdict[str, list[int]] = defaultdict(list)
        self._at_cpu_lock = threading.Lock()
        self._stop = threading.Event()
        self._fill_lock = threading.Lock()
        self._filling = EncodedBatch()
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
        Takes no lock: a reader may hold it while it waits for the GPU, whose thread calls this.
        """
        if self._batch_size == 1:
            return False
        self._batch_size //= 2
        self._batch_bytes = max(self._batch_bytes // 2, 1)
        return True

    def is_too_large(self, batch: EncodedBatch) -> bool:
        """Return whether a batch exceeds the current limits."""
        return len(batch) > 1 and (len(batch) > self._batch_size or batch.pixel_bytes > self._batch_bytes)

    def images_to_cpu(self, images: list[EncodedImage]) -> None:
        """Queue images one by one for the CPU, so that a failure costs one image."""
        for image in images:
            taken = self._take(len(image.data))
            self._hand_over(_Rest([image.key], [image.group], [image.data], [taken]))

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                batch = next(self._batches, None)
                if batch is None:
                    break
                self._sort(batch)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            self.error = error
            self.stop()
        finally:
            with self._fill_lock:
                self._reading -= 1
                if self._reading == 0:
                    with suppress(Stopped):
                        self._flush()
                        self._put(self._gpu, None)

    def _sort(self, batch: Batch) -> None:
        rest = _Rest(failures=list(batch.failures))
        for sample in zip(batch.keys, batch.groups, batch.items, strict=True):
            try:
                self._sort_one(*sample, rest)
            except ImageError as error:
                rest.failures.append(Failure(sample[0], error.reason, str(error)))
            if sum(rest.taken) > self._cpu_batch_bytes:
                self._hand_over(rest)
        self._hand_over(rest)

    def _sort_one(self, key: str, group: str, item: Item, rest: _Rest) -> None:
        data, taken = self._load(item, rest)
        try:
            shape = screen(data, self._max_pixels) if isinstance(data, bytes) else None
        except ImageError:
            self._held.release(taken)
            raise
        if isinstance(data, bytes) and shape is not None and self._gpu_takes(data, *shape):
            self._held.release(taken)  # it belongs to the GPU's part from here
            self._fill(EncodedImage(key, group, data, *shape))
            return
        rest.keys.append(key)
        rest.groups.append(group)
        rest.items.append(data)
        rest.taken.append(taken)

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

    def _gpu_takes(self, data: bytes, height: int, width: int) -> bool:
        fits = height * width <= self._max_gpu_pixels and len(data) <= self._encoded_bytes
        return fits and not self._gpu_closed.is_set()

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

    def _fill(self, image: EncodedImage) -> None:
        with self._fill_lock:
            batch = self._filling
            if len(batch) and (
                len(batch) >= self._batch_size
                or batch.pixel_bytes + image.pixel_bytes > self._batch_bytes
                or batch.encoded_bytes + len(image.data) > self._encoded_bytes
            ):
                self._flush()
            self._filling.add(image)

    def _flush(self) -> None:
        batch, self._filling = self._filling, EncodedBatch()
        if not len(batch):
            return
        while not self._stop.is_set():
            if self._gpu_closed.is_set():
                self.images_to_cpu(batch.images)
                return
            with suppress(queue.Full):
                self._gpu.put(batch, timeout=_POLL)
                return
        raise Stopped
