"""Parts of a GPU suite that go wrong, for the tests of the plan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from benchmarks.gpu.guarded import guarded
from benchmarks.gpu.plan import Context, Skipped


def works(context: Context) -> dict[str, Any]:
    return {"seen": sorted(context.earlier), "value": float("nan")}


def fails(context: Context) -> None:
    context.keep({"so_far": 1})
    raise ValueError(f"planted, in {context.out}")


def skips(context: Context) -> None:
    raise Skipped("planted: nothing to do here")


def is_killed(context: Context) -> None:
    context.keep({"so_far": 2})
    print("the last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def aborts(context: Context) -> None:
    os.abort()


def aborts_after_its_work(context: Context) -> dict[str, Any]:
    import atexit

    atexit.register(os.abort)
    return {"done": True}


def hangs(context: Context) -> None:
    """Also leaves the number of its process and of one that it has started."""
    child = subprocess.Popen(guarded("tests.benchmarks.planted_parts"))
    (context.out / "pids").write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    context.keep({"so_far": 3})
    time.sleep(60)


if __name__ == "__main__":
    time.sleep(60)
