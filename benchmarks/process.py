"""A peer in a process of its own, which stays alive between runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Process"]


class Process:
    """One peer.

    Parameters
    ----------
    name : str
        Module in `benchmarks.peers`.
    python : str
        Interpreter to run it, for a peer whose packages cannot be installed beside the others'.
    """

    def __init__(self, name: str, python: str = sys.executable) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.peers", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # the process is gone already
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def run(self, paths: Sequence[str], workers: int) -> dict[str, Any]:
        """Send one request; the answer has ``seconds``, or ``error`` where the peer broke."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"paths": list(paths), "workers": workers}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        reply: dict[str, Any] = json.loads(line) if line else {"error": "the process died"}
        return reply

    def seconds(self, paths: Sequence[str], workers: int) -> float:
        """Seconds of one run that must not break: it did not before."""
        reply = self.run(paths, workers)
        if "error" in reply:
            raise SystemExit(f"benchmarks: {self.name}: {reply['error']}")
        return float(reply["seconds"])
