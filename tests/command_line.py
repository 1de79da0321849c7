"""Runs the command line inside this process, and lists what it has: the one place that knows how it is built."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpustats.cli

__all__ = ["Done", "commands", "invoke"]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command."""

    code: int
    out: str
    err: str


def invoke(*arguments: object, cwd: Path | None = None) -> Done:
    """Run `gpustats` with these arguments, as the program does that is installed."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: Any = 0
    with _program(["gpustats", *map(str, arguments)], out, err, cwd or Path.cwd()):
        try:
            gpustats.cli.main()
        except SystemExit as ended:
            code = ended.code
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Done(code or 0, *texts)


@contextmanager
def _program(argv: list[str], out: io.TextIOWrapper, err: io.TextIOWrapper, cwd: Path) -> Iterator[None]:
    """Stand in for the program's arguments, streams and folder; put back what `main` changes for its process."""
    folder = Path.cwd()
    before = sys.argv, sys.stdout, sys.stderr
    handler = signal.getsignal(signal.SIGTERM) if threading.current_thread() is threading.main_thread() else None
    environment = {name: os.environ.get(name) for name in ("NO_COLOR", "COLUMNS", "TERM")}
    os.environ.update(NO_COLOR="1", COLUMNS="120", TERM="dumb")
    sys.argv, sys.stdout, sys.stderr = argv, out, err
    os.chdir(cwd)
    try:
        yield
    finally:
        os.chdir(folder)
        sys.argv, sys.stdout, sys.stderr = before
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
        for name, value in environment.items():
            with suppress(KeyError):
                del os.environ[name]
            if value is not None:
                os.environ[name] = value


def commands() -> dict[str, dict[str, Any]]:
    """Return the options and arguments of every command by name; "" is the program itself.

    An option is called by its long name, an argument by its own.
    """
    from gpustats.cli.program import program

    def of(command: Any) -> dict[str, Any]:
        return {max(parameter.opts, key=len): parameter for parameter in command.params}

    return {"": of(program)} | {name: of(command) for name, command in program.commands.items()}
