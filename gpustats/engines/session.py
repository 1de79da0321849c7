"""One drive of the GPU: what was fed, what is decoded, what is reduced, and what of it failed."""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpustats.engines import dali
from gpustats.engines.base import Outcome
from gpustats.engines.feed import Stopped
from gpustats.engines.gpu_batch import CHANNELS, KIND, POISON, BatchReducer, EncodedBatch, EncodedImage, PendingBatch
from gpustats.engines.spot_check import SpotCheck
from gpustats.errors import GpustatsError
from gpustats.statistics.base import Columns, Part, Statistic
from gpustats.statistics.rows import Rows

__all__ = ["BuildPipeline", "Counters", "Session", "Supply", "sample_pointers"]

BuildPipeline = Callable[[Callable[[], dali.Fed]], Any]
"""Builds a pipeline over the callback that gives it one batch a call."""


@dataclass(slots=True)
class Counters:
    """What a session counts; part of the provenance of a result.

    The seconds are those that the GPU's thread waits: for encoded images, for DALI beyond that, and for the kernels.
    """

    images: int = 0
    batches: int = 0
    batches_retried: int = 0
    pipelines_rebuilt: int = 0
    out_of_memory: int = 0
    outputs_dropped: int = 0
    not_written: int = 0
    seconds_in_feed: float = 0.0
    seconds_in_dali: float = 0.0
    seconds_in_reducer: float = 0.0


class Supply(Protocol):
    """Where a session gets its batches and leaves what the CPU should do; `gpustats.engines.feed.Feed` in a run."""

    def next_for_gpu(self) -> EncodedBatch | None:
        """Return the next batch; None at the end, also when asked again."""
        ...

    def is_too_large(self, batch: EncodedBatch) -> bool:
        """Return whether a batch exceeds the current limits."""
        ...

    def halve_batches(self) -> bool:
        """Make coming batches smaller; False where they cannot be."""
        ...

    def images_to_cpu(self, images: Iterable[EncodedImage]) -> None:
        """Leave images to the CPU."""
        ...

    def recycle(self, batch: EncodedBatch) -> None:
        """Take back the memory of a batch that nobody needs any more."""
        ...

    def close_gpu(self) -> None:
        """Say that the GPU takes no more."""
        ...


@dataclass(frozen=True, slots=True)
class _Fed:
    batch: EncodedBatch
    serials: NDArray[np.int64]  # DALI reads them where they are


class Session:
    """The state of one drive: every image that the feed gave out is in one of these places until it is accounted for.

    An image moves on only when the step that takes it further has succeeded, so that an exception at any point leaves
    it where `abandon` or `give_up` finds it.

    Every image that is fed has a serial number, which comes out of the pipeline with its pixels: pixels are matched
    to keys by that number, never by the order in which batches come out.

    Parameters
    ----------
    feed : Supply
        Gives batches, takes what the CPU should do.
    emit : callable
        Takes the outcome of a batch.
    reducer : BatchReducer
        Reduces decoded pixels.
    build : callable
        Builds a pipeline over the callback that feeds it.
    counters : Counters
        Added to.
    spot_check : SpotCheck
        Compares some images with the CPU decoder.
    statistics : sequence of Statistic
        What is measured; those that read files are measured here.
    """

    def __init__(
        self,
        *,
        feed: Supply,
        emit: Callable[[Outcome], None],
        reducer: BatchReducer,
        build: BuildPipeline,
        counters: Counters,
        spot_check: SpotCheck,
        statistics: Sequence[Statistic] = (),
    ) -> None:
        self._statistics = statistics
        self._feed = feed
        self._emit = emit
        self._reducer = reducer
        self._build = build
        self._counters = counters
        self._spot_check = spot_check
        self._again: deque[EncodedBatch] = deque()  # to be fed (again) before the feed is asked
        self._inside: dict[int, _Fed] = {}  # in the pipeline, by the serial number of the first image
        self._serial = 0  # of the next image; never used twice, so that no late output fits another batch
        self._feeding = False
        self._reducing: deque[tuple[EncodedBatch, Any, PendingBatch]] = deque()
        self._for_cpu: deque[tuple[EncodedBatch, int]] = deque()
        self._pipeline: Any = None
        self._pixels: Any = None  # of the last batch that came out
        self.finished = False

    def run(self) -> None:
        """Decode and reduce until the feed is empty. Raises where the pipeline should be rebuilt."""
        self._take_back()  # a new pipeline holds nothing
        self._feeding = False
        self._pipeline = None  # the old one goes before the new one comes
        self._pixels = None
        self._pipeline = self._build(self._next)
        failed_in_a_row = 0
        while True:
            self._send_to_cpu()
            try:
                pixels, serials = self._decode()
            except StopIteration:
                break
            except RuntimeError as error:
                if dali.is_out_of_memory(error) or failed_in_a_row or self._feeding or not self._inside:
                    raise
                failed_in_a_row += 1
                # DALI does not say which batch it was. Where it was not the oldest, that one's pixels are dropped when
                # they come out, and the other is missing at the end.
                self._retry_on_cpu(self._inside.pop(next(iter(self._inside))).batch)
                continue
            failed_in_a_row = 0
            number = self._number(serials)
            if number is None:
                self._counters.outputs_dropped += 1
                continue
            self._launch(self._inside[number].batch, pixels)
            del self._inside[number]
            while len(self._reducing) > 1:
                self._collect()
        while self._reducing:
            self._collect()
        self._send_to_cpu()
        if self._inside:
            raise RuntimeError(f"DALI has ended without giving back {len(self._inside)} of its batches")
        self.finished = not self._again

    def _decode(self) -> tuple[Any, Any]:
        """Return the next batch that comes out of the pipeline."""
        started, fed = time.perf_counter(), self._counters.seconds_in_feed
        try:
            self._pixels, serials = self._pipeline.run()
            return self._pixels, serials
        finally:
            waited = self._counters.seconds_in_feed - fed
            self._counters.seconds_in_dali += time.perf_counter() - started - waited

    def keep_for_ever(self) -> None:
        """Never destroy what belongs to a lost CUDA context: DALI's destructors would end the process."""
        for thing in (self._pipeline, self._pixels, *self._reducing):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))

    def abandon(self, error: Exception) -> bool:
        """Save what was in a broken pipeline: collect what is reduced, feed the rest again.

        Returns
        -------
        bool
            Whether the next attempt is another one, with smaller batches.
        """
        lost: list[EncodedBatch] = []
        while self._reducing:
            oldest = self._reducing[0]
            try:
                self._collect()
            except (Stopped, GpustatsError):
                raise
            except Exception:  # noqa: BLE001 - the device lost it: as if it had not come out
                if self._reducing and self._reducing[0] is oldest:
                    lost.append(self._reducing.popleft()[0])
        self._take_back()
        self._again.extendleft(reversed(lost))
        waiting = self._again
        out_of_memory = dali.is_out_of_memory(error)
        if waiting and (not out_of_memory or len(waiting[0]) == 1):
            # Without memory for one image the CPU takes it. Otherwise one of these broke the pipeline; which one, DALI
            # does not say reliably.
            self._retry_on_cpu(waiting.popleft())
        if not out_of_memory:
            return False
        self._counters.out_of_memory += 1
        return self._feed.halve_batches()

    def give_up(self) -> None:
        """Leave everything to the CPU."""
        self._feed.close_gpu()
        self._take_back()
        for batch in self._again:
            self._leave_to_cpu(batch)
        self._again.clear()
        self._send_to_cpu()
        while (batch_or_none := self._feed.next_for_gpu()) is not None:
            self._leave_to_cpu(batch_or_none)
            self._send_to_cpu()

    def close(self) -> None:
        """Wait for the kernels that still read pixels, and write over them: only then may the pixels be let go."""
        while self._reducing:
            with suppress(Exception):  # the run is over; what it says matters no more
                self._reducing[0][2].result()
            self._reducing.popleft()

    def _take_back(self) -> None:
        """Have what is in the pipeline fed again, in the same order."""
        self._again.extendleft(fed.batch for fed in reversed(self._inside.values()))
        self._inside.clear()

    def _next(self) -> dali.Fed:
        """Give DALI its next batch (the callback of its external source)."""
        self._feeding = True
        batch = self._again.popleft() if self._again else self._from_feed()
        if batch is None:
            self._feeding = False
            raise StopIteration
        self._again.appendleft(batch)
        while self._feed.is_too_large(self._again[0]):
            halves = self._again[0].halves()
            self._again.popleft()
            self._again.extendleft(reversed(halves))
        first = self._again[0]
        serials = np.arange(self._serial, self._serial + len(first))[:, None]
        fed = (first.arena, first.starts, first.sizes, serials)
        self._inside[self._serial] = _Fed(self._again.popleft(), serials)
        self._serial += len(first)
        self._feeding = False
        return fed

    def _from_feed(self) -> EncodedBatch | None:
        started = time.perf_counter()
        try:
            return self._feed.next_for_gpu()
        finally:
            self._counters.seconds_in_feed += time.perf_counter() - started

    def _number(self, serials: Any) -> int | None:
        """Return which batch came out, None for one that is not waited for any more."""
        found = serials.as_array()
        number = int(found[0, 0])
        fed = self._inside.get(number)
        if fed is not None and not np.array_equal(found, fed.serials):
            raise RuntimeError("DALI has given back images in other batches than they were fed in")
        return number if fed is not None else None

    def _retry_on_cpu(self, batch: EncodedBatch) -> None:
        self._counters.batches_retried += 1
        self._leave_to_cpu(batch)

    def _leave_to_cpu(self, batch: EncodedBatch) -> None:
        self._for_cpu.extend((batch, i) for i in range(len(batch)))

    def _send_to_cpu(self) -> None:
        while self._for_cpu:
            batch, i = self._for_cpu[0]
            self._feed.images_to_cpu([batch.image(i)])
            self._for_cpu.popleft()

    def _launch(self, batch: EncodedBatch, pixels: Any) -> None:
        """Start the reduction of a decoded batch; keep the batch until it is done."""
        heights, widths = batch.heights, batch.widths
        shapes = zip(heights.tolist(), widths.tolist(), strict=True)
        if pixels.shape() != [(height, width, CHANNELS) for height, width in shapes]:
            self._retry_on_cpu(batch)  # the decoder read another header than we did: let the CPU say what is true
            return
        pending = self._reducer.launch(sample_pointers(pixels, heights * widths * CHANNELS), heights, widths)
        self._reducing.append((batch, pixels, pending))

    def _collect(self) -> None:
        batch, _, pending = self._reducing[0]
        started = time.perf_counter()
        try:
            columns = pending.result()  # waits: only then may the pixels be let go
        finally:
            self._counters.seconds_in_reducer += time.perf_counter() - started
        good = written(columns)
        if not self._spot_check.passes(self._counters.batches + 1, batch, columns, good):
            self._retry_on_cpu(batch)  # the CPU decoder refuses what the GPU took: its verdicts count
            self._reducing.popleft()
            self._counters.batches += 1
            return
        columns = {**columns, **self._of_files(batch)}
        self._finish(batch, _rows(batch, columns, good, pending.folded(~good)), good)

    def _of_files(self, batch: EncodedBatch) -> Columns:
        """Return the columns of the statistics that read files."""
        readers = [s for s in self._statistics if s.of_original]
        return {f"{s.name}.{name}": column for s in readers for name, column in s.of_jpegs(batch).items()}

    def _finish(self, batch: EncodedBatch, rows: Rows, good: NDArray[np.bool_]) -> None:
        """Emit the rows of the oldest batch in reduction. All that can fail comes before it leaves the books, so that
        it is emitted once or not at all."""
        unwritten = [(batch, i) for i in np.flatnonzero(~good).tolist()]
        outcome = Outcome(rows)
        self._for_cpu.extend(unwritten)
        self._reducing.popleft()
        self._emit(outcome)
        self._counters.batches += 1
        self._counters.not_written += len(unwritten)
        self._counters.images += int(good.sum())
        if not unwritten:
            self._feed.recycle(batch)


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
    """Return which images the decoder wrote: not those that hold nothing but `POISON`, or nothing but zeros as fresh
    memory does.

    A real image of that one colour is decoded once more on the CPU, which costs time and changes nothing.
    """
    low, high = columns["moments.min"], columns["moments.max"]
    flat = (low == high).all(axis=1)
    blank = (low == POISON).all(axis=1) | (low == 0).all(axis=1)
    good: NDArray[np.bool_] = ~(flat & blank)
    return good


def _rows(batch: EncodedBatch, columns: Columns, good: NDArray[np.bool_], folded: Mapping[str, Part]) -> Rows:
    rows = Rows(KIND, batch.keys, batch.groups, batch.heights, batch.widths, columns)
    if not good.all():
        rows = rows.take(good)
    return replace(rows, folded=folded) if folded else rows
