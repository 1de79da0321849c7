"""Read-ahead for the GPU engine: reads files, screens headers, and sorts images into GPU batches and CPU work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar

from gpustats.engines.gpu_batch import EncodedBatch, EncodedImage
from gpustats.engines.screen import screen
from gpustats.engines.tuning import Tuning
from gpustats.failures import Failure, ImageError
from gpustats.sources import Batch, load
from gpustats.sources.items import held_bytes
from gpustats.sources.reader import for_threads

__all__ = ["Feed", "Stopped"]

_T = TypeVar("_T")

_CPU_BATCHES = 8
_CPU_BATCH_BYTES = 8 << 20  # of encoded data; a larger image is a batch of its own
_POLL = 0.1  # seconds between looks at `stop` while waiting


class Stopped(Exception):
    """The run was stopped while a thread waited."""


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
    stop : threading.Event
        Set when the run is over.
    """

    def __init__(
        self, batches: Iterator[Batch], tuning: Tuning, max_pixels: int, max_bytes: int, stop: threading.Event
    ) -> None:
        self._batches = for_threads(batches)
        self._readers = tuning.readers
        self._max_gpu_pixels = tuning.max_gpu_pixels
        self._batch_size = tuning.batch_size
        self._batch_bytes = tuning.batch_bytes
        self._max_pixels = max_pixels
        self._max_bytes = max_bytes
        self._stop = stop
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

    def next_for_gpu(self) -> EncodedBatch | None:
        """Wait for the next batch of JPEGs; None at the end, also when a pipeline that was built anew asks again."""
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
                    continue
                steal = False
            with suppress(queue.Empty):
                batch = self._cpu.get(timeout=_POLL)
                if batch is None:
                    return
                yield batch

    def give_to_cpu(self, batch: Batch) -> None:
        """Queue samples for the CPU; wait for room."""
        self._put(self._cpu, batch)

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
        """Tell whether a batch is over the limits that hold now."""
        return len(batch) > 1 and (len(batch) > self._batch_size or batch.pixel_bytes > self._batch_bytes)

    def images_to_cpu(self, images: list[EncodedImage]) -> None:
        """Queue images one by one for the CPU, so that each stands and falls alone."""
        for image in images:
            self.give_to_cpu(Batch([image.key], [image.group], [image.data]))

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
            self._stop.set()
        finally:
            with self._fill_lock:
                self._reading -= 1
                if self._reading == 0:
                    with suppress(Stopped):
                        self._flush()
                        self._put(self._gpu, None)

    def _sort(self, batch: Batch) -> None:
        rest = Batch([], [], [], batch.failures)
        size = 0
        failures: list[Failure] = []
        for key, group, item in zip(batch.keys, batch.groups, batch.items, strict=True):
            try:
                data = load(item, self._max_bytes)
                shape = screen(data, self._max_pixels) if isinstance(data, bytes) else None
            except ImageError as error:
                failures.append(Failure(key, error.reason, str(error)))
                continue
            fits = shape is not None and shape[0] * shape[1] <= self._max_gpu_pixels
            if isinstance(data, bytes) and shape is not None and fits and not self._gpu_closed.is_set():
                self._fill(EncodedImage(key, group, data, *shape))
                continue
            rest.keys.append(key)
            rest.groups.append(group)
            rest.items.append(data)
            size += held_bytes(data)
            if size > _CPU_BATCH_BYTES:
                self.give_to_cpu(rest)
                rest, size = Batch([], [], []), 0
        if rest.keys or rest.failures or failures:
            self.give_to_cpu(Batch(rest.keys, rest.groups, rest.items, (*rest.failures, *failures)))

    def _fill(self, image: EncodedImage) -> None:
        with self._fill_lock:
            full = len(self._filling) >= self._batch_size
            if full or (len(self._filling) and self._filling.pixel_bytes + image.pixel_bytes > self._batch_bytes):
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
