"""Ctrl-C between two steps of a run, not in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["InterruptGuard", "interrupt_on_terminate", "orderly_interrupts", "whole_step"]

_guards: list[InterruptGuard] = []
"""The guards of the runs of the main thread, the innermost last."""


class InterruptGuard:
    """Holds the first Ctrl-C back while a step runs; the second is never held back."""

    def __init__(self) -> None:
        self._signals = 0
        self._holding = False
        self._pending = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT."""
        self._signals += 1
        if self._holding and self._signals == 1:
            self._pending = True
            return
        raise KeyboardInterrupt

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a step whole: a first Ctrl-C that comes meanwhile is raised after it."""
        outer, self._holding = self._holding, True
        try:
            yield
        finally:
            self._holding = outer
        if self._pending and not outer:
            self._pending = False
            raise KeyboardInterrupt


@contextmanager
def orderly_interrupts() -> Iterator[InterruptGuard]:
    """Give a guard that receives Ctrl-C where this package may handle it.

    That is in the main thread, while SIGINT has Python's own handler: scripts, the interactive prompt, notebook cells.
    Elsewhere (another thread, a program or an event loop with a handler of its own) nothing is changed and a
    `KeyboardInterrupt` comes as that program lets it come.
    """
    guard = InterruptGuard()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, guard.on_signal)
        _guards.append(guard)
    try:
        yield guard
    finally:
        if ours:
            _guards.remove(guard)
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def whole_step() -> Iterator[None]:
    """Run a step of the current run whole, where its interrupts are ours to handle; see `orderly_interrupts`."""
    if _guards and threading.current_thread() is threading.main_thread():
        with _guards[-1].step():
            yield
    else:
        yield


def interrupt_on_terminate() -> None:
    """Let SIGTERM, which schedulers and containers send first, end a run as Ctrl-C does. For programs, not libraries:
    what a signal does belongs to the program."""

    def on_terminate(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)  # a guard while a run lasts; shells start background jobs without one
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_terminate)
