"""Runs a module as a program that dies with the process that started it.

python -m benchmarks.gpu.guarded PARENT MODULE [ARGUMENT ...]
"""

from __future__ import annotations

import os
import runpy
import sys

from benchmarks.gpu.plan import die_with_parent

__all__ = ["guarded"]


def guarded(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module so; to be started from the main thread of this process."""
    return [sys.executable, "-m", "benchmarks.gpu.guarded", str(os.getpid()), module, *arguments]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
