"""The GPU engine: DALI decodes, a kernel reduces where the pixels lie, the CPU engine takes what the GPU should not.

Threads: readers fill a `Feed`; one thread drives DALI and the reductions; the CPU engine works beside it on
everything that was screened out or whose batch failed. All of them emit rows, and rows add up whoever made them.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.engines import dali
from gpustats.engines.base import Outcome
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.feed import Feed, Stopped
from gpustats.engines.gpu_batch import CHANNELS, KIND, POISON, BatchReducer, EncodedBatch, EncodedImage, PendingBatch
from gpustats.engines.spot_check import SpotCheck
from gpustats.engines.tuning import Tuning
from gpustats.errors import GpustatsError
from gpustats.sources import Batch
from gpustats.statistics.base import Columns
from gpustats.statistics.rows import Rows

__all__ = ["GpuEngine"]

log = logging.getLogger("gpustats")

_REBUILDS_IN_A_ROW = 3


class GpuEngine:
    """Measures JPEGs with DALI and a reducer, everything else with the CPU engine.

    Parameters
    ----------
    tuning : Tuning
        Batch limits, threads, prefetch.
    cpu : CpuEngine
        Decodes what the GPU does not take, and every image of a batch that failed.
    reducer : BatchReducer
        Reduces a decoded batch: the CUDA kernels, or their stand-in on the host.
    decode_device : {"mixed", "cpu"}
        Where DALI decodes. ``"cpu"`` is for tests on machines without a GPU.
    device_id : int or None
        CUDA device of the pipeline.
    device_name : str
        For the provenance.
    max_pixels, max_bytes : int
        Limits of an image and of a file.
    """

    def __init__(
        self,
        *,
        tuning: Tuning,
        cpu: CpuEngine,
        reducer: BatchReducer,
        decode_device: dali.DecodeDevice,
        device_id: int | None,
        device_name: str,
        max_pixels: int,
        max_bytes: int,
    ) -> None:
        self._tuning = tuning
        self._cpu = cpu
        self._reducer = reducer
        self._decode_device = decode_device
        self._device_id = device_id
        self._device_name = device_name
        self._max_pixels = max_pixels
        self.max_bytes = max_bytes
        self._spot_check = SpotCheck(max_pixels)
        names = ("batches", "batches_retried", "pipelines_rebuilt", "out_of_memory", "not_written")
        self._counts = dict.fromkeys(names, 0)
        self._images = 0
        self._given_up: str | None = None

    def report(self) -> dict[str, Any]:
        """Return the provenance of what was measured so far."""
        report = self._cpu.report()
        decoder = f"dali-{'nvjpeg' if self._decode_device == 'mixed' else 'cpu'}"
        return {
            **report,
            "engine": "gpu" if self._decode_device == "mixed" else "gpu (decoding on the CPU)",
            "device": self._device_name,
            "decoders": {decoder: dali.dali_version(), **report["decoders"]},
            "images_by_decoder": {decoder: self._images, **report["images_by_decoder"]},
            "spot_check": self._spot_check.report(),
            **self._counts,
            **({"gpu_given_up": self._given_up} if self._given_up else {}),
        }

    def outcomes(self, batches: Iterator[Batch]) -> Generator[Outcome, None, None]:
        """Yield outcomes of the GPU and of the CPU as they come."""
        stop = threading.Event()
        feed = Feed(batches, self._tuning, self._max_pixels, self.max_bytes, stop)
        results: queue.Queue[Outcome | BaseException | None] = queue.Queue(maxsize=64)

        def emit(outcome: Outcome) -> None:
            while not stop.is_set():
                with suppress(queue.Full):
                    results.put(outcome, timeout=0.1)
                    return
            raise Stopped

        def run(work: Any) -> None:
            try:
                work()
            except Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
                results.put(error)
            results.put(None)

        def on_gpu() -> None:
            self._drive(feed, emit)
            feed.close_cpu()

        def on_cpu() -> None:
            outcomes = self._cpu.outcomes(feed.for_cpu(steal=self._tuning.cpu_workers > 0))
            try:
                for outcome in outcomes:
                    emit(outcome)
            finally:
                outcomes.close()

        threads = [
            threading.Thread(target=run, args=(work,), name=f"gpustats-{work.__name__}", daemon=True)
            for work in (on_gpu, on_cpu)
        ]
        threads += feed.start()
        for thread in threads[:2]:
            thread.start()
        try:
            running = 2
            while running:
                try:
                    result = results.get(timeout=0.2)
                except queue.Empty:
                    continue
                if result is None:
                    running -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield result
            if feed.error is not None:
                raise feed.error
        finally:
            stop.set()
            for thread in threads:
                while thread.is_alive():
                    with suppress(queue.Empty):
                        results.get_nowait()
                    thread.join(0.01)

    def _drive(self, feed: Feed, emit: Any) -> None:
        """Run pipelines until the feed is empty; a pipeline that breaks is built anew."""
        session = _Session(self, feed, emit)
        fruitless = 0
        while not session.finished:
            before = self._images
            try:
                session.run()
            except (Stopped, GpustatsError):
                raise
            except Exception as error:  # noqa: BLE001 - of DALI, CuPy or the driver: no image may be lost by any
                helped = session.abandon(error)
                self._counts["pipelines_rebuilt"] += 1
                fruitless = 0 if helped or self._images > before else fruitless + 1
                log.warning("gpustats: the GPU pipeline is built anew after: %s", _first_line(error))
                if fruitless >= _REBUILDS_IN_A_ROW:
                    self._given_up = _first_line(error)
                    log.warning("gpustats: the GPU is given up, the CPU goes on alone")
                    session.give_up()
                    return


class _Session:
    """The state of one drive: every image that the feed gave out is in one of these places until it is accounted for.

    An image moves on only when the step that takes it further has succeeded, so that an exception at any point leaves
    it where `abandon` or `give_up` finds it.
    """

    def __init__(self, engine: GpuEngine, feed: Feed, emit: Any) -> None:
        self._engine = engine
        self._feed = feed
        self._emit = emit
        self._again: deque[EncodedBatch] = deque()  # to be fed (again) before the feed is asked
        self._inside: deque[EncodedBatch] = deque()  # in the pipeline
        self._reducing: deque[tuple[EncodedBatch, Any, PendingBatch]] = deque()
        self._for_cpu: deque[EncodedImage] = deque()
        self.finished = False

    def run(self) -> None:
        """Decode and reduce until the feed is empty. Raises where the pipeline should be built anew."""
        engine = self._engine
        self._again.extendleft(reversed(self._inside))  # a new pipeline holds nothing
        self._inside.clear()
        pipeline = dali.build_pipeline(self._next, engine._tuning, engine._decode_device, engine._device_id)
        failed_in_a_row = 0
        while True:
            self._send_to_cpu()
            try:
                (pixels,) = pipeline.run()
            except StopIteration:
                break
            except RuntimeError as error:
                if dali.is_out_of_memory(error) or failed_in_a_row or not self._inside:
                    raise
                failed_in_a_row += 1
                self._retry_on_cpu(self._inside.popleft())
                continue
            failed_in_a_row = 0
            self._launch(self._inside[0], pixels)
            self._inside.popleft()
            while len(self._reducing) > 1:
                self._collect()
        while self._reducing:
            self._collect()
        self._send_to_cpu()
        self.finished = not self._again and not self._inside

    def abandon(self, error: Exception) -> bool:
        """Save what was in a broken pipeline: collect what is reduced, feed the rest again.

        Returns
        -------
        bool
            Whether the next attempt is another one, with smaller batches.
        """
        while self._reducing:
            try:
                self._collect()
            except (Stopped, GpustatsError):
                raise
            except Exception:  # noqa: BLE001 - the device lost it: as if it had not come out
                self._inside.appendleft(self._reducing.popleft()[0])
        waiting = deque([*self._inside, *self._again])
        self._inside.clear()
        self._again = waiting
        out_of_memory = dali.is_out_of_memory(error)
        if waiting and (not out_of_memory or len(waiting[0]) == 1):
            # Without memory for one image the CPU takes it. Otherwise one of these broke the pipeline; which one, DALI
            # does not say reliably.
            self._retry_on_cpu(waiting.popleft())
        if not out_of_memory:
            return False
        self._engine._counts["out_of_memory"] += 1
        return self._feed.halve_batches()

    def give_up(self) -> None:
        """Leave everything to the CPU."""
        self._feed.gpu_closed.set()
        for batch in (*self._inside, *self._again):
            self._for_cpu.extend(batch.images)
        self._inside.clear()
        self._again.clear()
        self._send_to_cpu()
        while (batch_or_none := self._feed.next_for_gpu()) is not None:
            self._for_cpu.extend(batch_or_none.images)
            self._send_to_cpu()

    def _next(self) -> list[NDArray[np.uint8]]:
        """Give DALI its next batch (the callback of its external source)."""
        batch = self._again.popleft() if self._again else self._feed.next_for_gpu()
        if batch is None:
            raise StopIteration
        self._again.appendleft(batch)
        while self._feed.is_too_large(self._again[0]):
            halves = self._again[0].halves()
            self._again.popleft()
            self._again.extendleft(reversed(halves))
        arrays = self._again[0].arrays()
        self._inside.append(self._again.popleft())
        return arrays

    def _retry_on_cpu(self, batch: EncodedBatch) -> None:
        self._engine._counts["batches_retried"] += 1
        self._for_cpu.extend(batch.images)

    def _send_to_cpu(self) -> None:
        while self._for_cpu:
            self._feed.images_to_cpu([self._for_cpu[0]])
            self._for_cpu.popleft()

    def _launch(self, batch: EncodedBatch, pixels: Any) -> None:
        """Start the reduction of a decoded batch; keep the batch until it is done."""
        shapes = pixels.shape()
        if shapes != [(image.height, image.width, CHANNELS) for image in batch.images]:
            self._retry_on_cpu(batch)  # the decoder read another header than we did: let the CPU say what is true
            return
        heights = np.array([image.height for image in batch.images], np.uint64)
        widths = np.array([image.width for image in batch.images], np.uint64)
        pending = self._engine._reducer.launch(sample_pointers(pixels, heights * widths * CHANNELS), heights, widths)
        self._reducing.append((batch, pixels, pending))

    def _collect(self) -> None:
        batch, _, pending = self._reducing[0]
        columns = pending.result()  # waits: only then may the pixels be let go
        self._finish(batch, columns)
        self._reducing.popleft()

    def _finish(self, batch: EncodedBatch, columns: Columns) -> None:
        """Emit the rows of a batch. All that can fail comes first, so that a batch is emitted once or not at all."""
        engine = self._engine
        good = written(columns)
        unwritten = [image for image, fine in zip(batch.images, good, strict=True) if not fine]
        failures = []
        refused = engine._spot_check.check(engine._counts["batches"] + 1, batch, columns, good)
        if refused is not None:  # the CPU decoder refuses what the GPU took: its verdict counts
            index, failure = refused
            good[index] = False
            failures.append(failure)
        self._emit(Outcome(_rows(batch, columns, good), failures))
        engine._counts["batches"] += 1
        engine._counts["not_written"] += len(unwritten)
        engine._images += int(good.sum())
        self._for_cpu.extend(unwritten)


def sample_pointers(pixels: Any, sizes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the address of every sample of a DALI output.

    A decoder's output is one packed buffer: first address plus the sizes before. That is checked against the
    last sample's own address; asking for each costs microseconds a sample and is done only where they disagree.
    """
    offsets = np.zeros(len(sizes), np.uint64)
    np.cumsum(sizes[:-1], out=offsets[1:])
    pointers: NDArray[np.uint64] = offsets + np.uint64(pixels[0].data_ptr())
    if int(pointers[-1]) != pixels[len(sizes) - 1].data_ptr():
        pointers = np.array([pixels[i].data_ptr() for i in range(len(sizes))], np.uint64)
    return pointers


def written(columns: Columns) -> NDArray[np.bool_]:
    """Tell which images the decoder wrote: not those that hold nothing but `POISON`, or nothing but zeros as fresh
    memory does.

    A real image of that one colour is decoded once more on the CPU, which costs time and changes nothing.
    """
    low, high = columns["moments.min"], columns["moments.max"]
    flat = (low == high).all(axis=1)
    blank = (low == POISON).all(axis=1) | (low == 0).all(axis=1)
    good: NDArray[np.bool_] = ~(flat & blank)
    return good


def _rows(batch: EncodedBatch, columns: Columns, good: NDArray[np.bool_]) -> Rows:
    rows = Rows(
        KIND,
        [image.key for image in batch.images],
        [image.group for image in batch.images],
        np.array([image.height for image in batch.images], np.uint64),
        np.array([image.width for image in batch.images], np.uint64),
        columns,
    )
    return rows if good.all() else rows.take(good)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
