"""The CPU engine in separate processes, so that a decoder that crashes costs one image and not the run.

Each worker thread of the CPU engine has a process that decodes and reduces for it; rows come back, not pixels. When a
process dies, its batch is done again image by image in a new process, and the image that kills that one, too, alone on
the machine, is the one that failed. So is a batch with an image that needs more than a process's part of the memory.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gpustats.decode import decoder as decode
from gpustats.definition import Definition
from gpustats.engines.base import Outcome
from gpustats.engines.cpu import _DEFAULT, CpuEngine
from gpustats.engines.shared_batches import SharedBatch
from gpustats.engines.small_files import SmallFiles
from gpustats.engines.worker import receive, send
from gpustats.errors import DataError, DeviceError
from gpustats.failures import Failure, ImageError
from gpustats.sources import Batch, load
from gpustats.sources.items import Item, travels
from gpustats.statistics.rows import Rows
from gpustats.wording import option, options_of

__all__ = ["IsolatedEngine"]

_PATIENCE = 600.0  # seconds for a message: 16 images of the largest size take less
_AT_ONCE = 16  # images a message: after a crash they are done again one by one, while everything else waits
_PROGRAM = "import sys; sys.path[:] = {path!r}; from gpustats.engines.worker import main; main()"


_Answer = tuple[Outcome, bool, Counter[str]]


class _Crashed(Exception):
    """A process ended without an answer."""


class _Process:
    """A decoder process and the pipes to it. It answers after `prepare`."""

    def __init__(self) -> None:
        own_group: dict[str, Any] = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined, unused-ignore]
            if sys.platform == "win32"
            else {"start_new_session": True}
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(path=[p for p in sys.path if isinstance(p, str)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **own_group,
        )
        self._timed_out = False
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout

    def prepare(self, definition: Definition, max_pixels: int, limit: int) -> None:
        """Wait until the process runs, and send it what to measure."""
        try:
            self._ask((definition, max_pixels, limit, options_of()))
        except _Crashed as crash:
            raise DeviceError(
                f"{option('isolate', True)}: a decoder process could not be started: it {crash}"
            ) from None

    def measure(self, memory: int, batch: Batch) -> _Answer:
        """Return the outcome, whether an image was refused for its memory, and the decoders used."""
        answer: _Answer | DataError = self._ask((memory, batch.keys, batch.groups, batch.items))
        if isinstance(answer, DataError):
            raise answer
        return answer

    def kill(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._replies):
            with suppress(OSError):
                pipe.close()

    def end(self) -> None:
        """End the process from another thread than the one that talks to it, which then sees it crash."""
        self._process.kill()

    def _ask(self, message: Any) -> Any:
        timer = threading.Timer(_PATIENCE, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            send(self._requests, message)  # type: ignore[arg-type]  # a binary pipe
            return receive(self._replies)  # type: ignore[arg-type]
        except (EOFError, OSError):
            raise _Crashed(self._fate()) from None
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _fate(self) -> str:
        code = self._process.wait()
        if self._timed_out:
            return f"did not answer in {_PATIENCE:.0f} s"
        if code < 0:
            with suppress(ValueError):
                name = signal.Signals(-code).name
                return f"was ended by {name}" + (", perhaps because memory ran out" if name == "SIGKILL" else "")
        return f"ended with exit code {code}"


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
        self._total = memory
        self._gate = _Gate()
        self._processes: dict[threading.Thread, _Process] = {}
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
        try:
            yield from super().outcomes(batches)
        finally:
            with self._starting:  # after this no thread starts one, for the run is over
                left = dict(self._processes)
            for process in left.values():
                process.end()
            for thread, process in left.items():
                thread.join(1.0)
                process.kill()

    def measure(
        self, batch: SharedBatch, decoder: decode.Decoder, stop: threading.Event, files: SmallFiles | None = None
    ) -> tuple[Outcome, Counter[str]]:
        """Have the next samples of a batch measured by this thread's process."""
        failures, batch.failures = batch.failures, []
        whole = self._readable(batch.first(_AT_ONCE), failures)
        outcomes: list[Outcome] = []
        by_decoder: Counter[str] = Counter()
        if len(whole):
            with self._gate.together():
                answer = self._try(self._total // self._workers, whole, stop)
            if not isinstance(answer, str) and not answer[1]:
                outcomes.append(answer[0])
                by_decoder += answer[2]
            else:
                for single in _each(whole):
                    if stop.is_set():
                        break
                    with self._gate.alone():
                        answer = self._try(self._total, single, stop)
                    if not isinstance(answer, str):
                        outcomes.append(answer[0])
                        by_decoder += answer[2]
                    elif not stop.is_set():
                        message = f"the decoder crashed: its process {answer}"
                        failures.append(Failure(single.keys[0], "corrupt", message))
        failures += [failure for outcome in outcomes for failure in outcome.failures]
        return Outcome(Rows.joined([outcome.rows for outcome in outcomes]), failures), by_decoder

    def _try(self, memory: int, batch: Batch, stop: threading.Event) -> _Answer | str:
        """Return the answer of this thread's process; what became of the process where it crashed."""
        thread = threading.current_thread()
        process = self._processes.get(thread)
        if process is None:
            with self._starting:
                if stop.is_set():
                    return "was not started"
                process = self._processes[thread] = _Process()
            process.prepare(self._definition, self._max_pixels, self._total)
        try:
            return process.measure(memory, batch)
        except _Crashed as crash:
            process.kill()
            del self._processes[thread]
            return str(crash)

    def _readable(self, batch: Batch, failures: list[Failure]) -> Batch:
        """Read what only this process can read: functions, and views of its memory."""
        if all(map(travels, batch.items)):
            return Batch(batch.keys, batch.groups, batch.items)
        keys: list[str] = []
        groups: list[str] = []
        items: list[Item] = []
        for key, group, item in zip(batch.keys, batch.groups, batch.items, strict=True):
            try:
                items.append(item if travels(item) else load(item, self.max_bytes))
                keys.append(key)
                groups.append(group)
            except ImageError as error:
                failures.append(Failure(key, error.reason, str(error)))
        return Batch(keys, groups, items)


def _each(batch: Batch) -> Iterator[Batch]:
    for key, group, item in zip(batch.keys, batch.groups, batch.items, strict=True):
        yield Batch([key], [group], [item])
