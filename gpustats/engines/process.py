"""A decoder process of `gpustats.engines.isolated`, as the process of the run sees it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from gpustats.definition import Definition
from gpustats.engines.worker import Answer, receive, send
from gpustats.errors import DataError, DeviceError
from gpustats.sources import Batch
from gpustats.wording import option, options_of

__all__ = ["Crashed", "Lost", "Process"]

_PATIENCE = 600.0  # seconds for a message: 16 images of the largest size take less
_PROGRAM = "import sys; sys.path[:] = {path!r}; from gpustats.engines.worker import main; main()"


class Crashed(Exception):
    """A process ended in the middle of a message."""


class Lost(Crashed):
    """A process ended before it came to the message."""


class Process:
    """A decoder process and the pipes to it, for several threads.

    It answers messages in the order in which they were sent: while it works on the message of one thread, the next
    one is in the pipe already.

    Parameters
    ----------
    definition : Definition
        What is measured.
    max_pixels : int
        Images with more fail.
    memory : int
        The most bytes that a message will ever allow.
    """

    def __init__(self, definition: Definition, max_pixels: int, memory: int) -> None:
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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._order = threading.Lock()  # who has it sends
        self._turn = threading.Lock()  # who has it receives; taken in the order in which messages were sent
        self._sent = self._received = 0
        self._moved = time.monotonic()
        self._ready = self._crashed = self._timed_out = False
        self._send((definition, max_pixels, memory, options_of()))

    def measure(self, memory: int, batch: Batch) -> Answer:
        """Have a batch measured, with that many bytes of memory.

        Raises
        ------
        Crashed
            Where the process ended in the middle; `Lost` where it ended before, so that this batch is not the cause.
        DataError
            Where its images cannot be pooled.
        DeviceError
            Where the process could not be started.
        """
        answer: Answer | DataError = self._ask((memory, batch.keys, batch.groups, batch.items))
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
        """End the process while others talk to it, who then see it crash."""
        self._process.kill()

    def end_if_stuck(self) -> None:
        """End the process where it has not answered for too long."""
        if self._sent != self._received and time.monotonic() - self._moved > _PATIENCE:
            self._timed_out = True
            self._process.kill()

    def _ask(self, message: Any) -> Any:
        with self._order:
            sent = self._send(message)
            self._turn.acquire()
        try:
            if not self._ready:
                self._hear_that_it_runs()
            if not sent or self._crashed:
                raise EOFError
            return self._receive()
        except (EOFError, OSError):
            first, self._crashed = not self._crashed, True
            raise (Crashed if first else Lost)(self._fate()) from None
        finally:
            self._turn.release()

    def _hear_that_it_runs(self) -> None:
        try:
            self._receive()
        except (EOFError, OSError):
            raise DeviceError(
                f"{option('isolate', True)}: a decoder process could not be started: it {self._fate()}"
            ) from None
        self._ready = True

    def _send(self, message: Any) -> bool:
        """Send a message; return whether the process still takes some."""
        self._moved = time.monotonic()
        self._sent += 1
        try:
            send(self._requests, message)  # type: ignore[arg-type]  # a binary pipe
        except (OSError, ValueError):  # ended, or closed by the thread that saw it end
            return False
        return True

    def _receive(self) -> Any:
        reply = receive(self._replies)  # type: ignore[arg-type]
        self._moved = time.monotonic()
        self._received += 1
        return reply

    def _fate(self) -> str:
        code = self._process.wait()
        if self._timed_out:
            return f"did not answer in {_PATIENCE:.0f} s"
        if code < 0:
            with suppress(ValueError):
                name = signal.Signals(-code).name
                return f"was ended by {name}" + (", perhaps because memory ran out" if name == "SIGKILL" else "")
        return f"ended with exit code {code}"
