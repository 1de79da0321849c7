"""The CPU engine in separate processes, so that a decoder that crashes costs one image and not the run.

Each worker of the CPU engine is a process that decodes and reduces; rows come back, not pixels. Each has an interpreter
lock of its own, so that small images, too, are measured by as many cores as there are. When a process dies, its message
is done again in parts in a new process, and the part that kills that one, too, image by image; the image that does so
alone on the machine is the one that failed. So is a message with an image that needs more than a process's part of the
memory.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from gpustats.decode import decoder as decode
from gpustats.definition import Definition
from gpustats.engines.base import Outcome
from gpustats.engines.cpu import _DEFAULT, _PATIENCE, CpuEngine
from gpustats.engines.process import Crashed, Lost, Process
from gpustats.engines.shared_batches import SharedBatch
from gpustats.engines.small_files import SmallFiles
from gpustats.engines.worker import Answer
from gpustats.failures import Failure, ImageError
from gpustats.sources import Batch, load
from gpustats.sources.items import travels
from gpustats.statistics.rows import Rows

__all__ = ["IsolatedEngine"]

_THREADS = 2  # a process: while it works on the message of one, the other makes the next and takes the last answer
_SECONDS = 0.03  # to make or measure a message: handing it over takes a hundredth of this, and the end is not far
_AT_FIRST, _AT_MOST = 4, 256  # images a message
_BYTES = 4 << 20  # a message, of what is in memory; only the last image of it may exceed this
_AT_STAKE = 16  # images of a message that is not taken apart further before each is done alone, while all others wait
_LOOK = 1.0  # seconds between two looks for processes that are stuck


class _Gate:
    """Many may pass together, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Pass unless somebody is inside alone or waits to be."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside >= 0 and not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Pass when no thread is inside."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._inside == 0)
            self._waiting -= 1
            self._inside = -1
        try:
            yield
        finally:
            with self._changed:
                self._inside = 0
                self._changed.notify_all()


class IsolatedEngine(CpuEngine):
    """Measures images in `workers` processes, with the results of `CpuEngine`.

    Parameters
    ----------
    definition : Definition
        What is measured.
    workers : int
        Processes.
    max_pixels : int
        Images with more fail as ``too_large``.
    memory : int
        Bytes of file data and pixels that may be in flight in all processes together; each process takes about 150 MB
        of its own beside.
    """

    def __init__(self, definition: Definition = _DEFAULT, *, workers: int, max_pixels: int, memory: int) -> None:
        super().__init__(definition, workers=workers, max_pixels=max_pixels, memory=memory)
        self._threads = _THREADS * workers
        self._total = memory
        self._gate = _Gate()
        self._at_once = _AT_FIRST
        self._seats: dict[threading.Thread, int] = {}
        self._processes: dict[int, Process] = {}  # by seat
        self._starting = threading.Lock()

    def report(self) -> dict[str, Any]:
        """Return the provenance of what was measured so far."""
        return {
            **super().report(),
            "device": f"cpu ({self._workers} process{'' if self._workers == 1 else 'es'})",
            "isolated": True,
        }

    def outcomes(self, batches: Iterator[Batch]) -> Generator[Outcome, None, None]:
        """Yield outcomes of parts of batches, in the order in which workers finish."""
        over = threading.Event()
        threading.Thread(target=self._watch, args=(over,), name="gpustats-watch", daemon=True).start()
        try:
            yield from super().outcomes(batches)
        finally:
            over.set()
            with self._starting:  # after this no thread starts one, for the run is over
                left, self._processes = self._processes, {}
                threads, self._seats = self._seats, {}
            for process in left.values():
                process.end()
            deadline = time.monotonic() + _PATIENCE
            for thread in threads:
                thread.join(max(deadline - time.monotonic(), 0))
            for process in left.values():
                process.kill()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(_LOOK):
            for process in [*self._processes.values()]:
                process.end_if_stuck()

    def measure(
        self, batch: SharedBatch, decoder: decode.Decoder, stop: threading.Event, files: SmallFiles | None = None
    ) -> tuple[list[Outcome], Counter[str]]:
        """Have the next samples of a batch measured by this thread's process."""
        failures, batch.failures = batch.failures, []
        message = self._message(batch, failures)
        parts: list[Rows] = []
        by_decoder: Counter[str] = Counter()
        for answer in self._answers(message, stop) if len(message) else ():
            if isinstance(answer, Failure):
                failures.append(answer)
            else:
                parts.append(answer.outcome.rows)
                failures += answer.outcome.failures
                by_decoder += answer.by_decoder
        return [Outcome(Rows.joined(parts), failures)], by_decoder

    def _answers(self, batch: Batch, stop: threading.Event) -> Iterator[Answer | Failure]:
        """Have a batch measured, in parts where a process dies of it or has not enough memory."""
        with self._gate.together():
            answer = self._try(self._total // self._workers, batch, stop)
        if isinstance(answer, Answer) and not answer.refused:
            fitting = int(_SECONDS / max(answer.seconds, 1e-6) * len(batch))
            self._at_once = max(1, min(fitting, 2 * self._at_once, _AT_MOST))
            yield answer
        elif len(batch) > _AT_STAKE:
            for part in _parts(batch, _AT_STAKE):
                if not stop.is_set():
                    yield from self._answers(part, stop)
        else:
            for single in _parts(batch, 1):
                if not stop.is_set():
                    yield from self._alone(single, stop)

    def _alone(self, single: Batch, stop: threading.Event) -> Iterator[Answer | Failure]:
        """Have one image measured while all others wait."""
        with self._gate.alone():
            answer = self._try(self._total, single, stop)
        if isinstance(answer, Answer):
            yield answer
        elif not stop.is_set():
            yield Failure(single.keys[0], "corrupt", f"the decoder crashed: its process {answer}")

    def _try(self, memory: int, batch: Batch, stop: threading.Event) -> Answer | str:
        """Return the answer of this thread's process; what became of the process where it crashed."""
        while (process := self._process(stop)) is not None:
            try:
                return process.measure(memory, batch)
            except Crashed as crash:
                with self._starting:
                    if self._processes.get(self._seat()) is process:
                        del self._processes[self._seat()]
                process.kill()
                if not isinstance(crash, Lost):
                    return str(crash)
        return "was not started"

    def _process(self, stop: threading.Event) -> Process | None:
        """Return this thread's process, a new one where there is none; None where the run is over."""
        with self._starting:
            if stop.is_set():
                return None
            seat = self._seat()
            if seat not in self._processes:
                self._processes[seat] = Process(self._definition, self._max_pixels, self._total)
            return self._processes[seat]

    def _seat(self) -> int:
        return self._seats.setdefault(threading.current_thread(), len(self._seats) % self._workers)

    def _message(self, batch: SharedBatch, failures: list[Failure]) -> Batch:
        """Take the next images; read what only this process can read: functions, and views of its memory."""
        messages = round(len(batch) / self._at_once) or 1
        samples = batch.take(math.ceil(len(batch) / messages))
        message = Batch([], [], [])
        held = done = 0
        until = time.monotonic() + _SECONDS
        for done, (key, group, item) in enumerate(samples, 1):  # noqa: B007 - used behind the loop
            try:
                found = item if travels(item) else load(item, self.max_bytes)
            except ImageError as error:
                failures.append(Failure(key, error.reason, str(error)))
            else:
                message.keys.append(key)
                message.groups.append(group)
                message.items.append(found)
                if not isinstance(found, str):
                    held += len(found) if isinstance(found, bytes) else getattr(found, "nbytes", 0)
            if held > _BYTES or time.monotonic() > until:
                break
        batch.samples.extendleft(reversed(samples[done:]))
        return message


def _parts(batch: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(batch), size):
        part = slice(start, start + size)
        yield Batch(batch.keys[part], batch.groups[part], batch.items[part])
