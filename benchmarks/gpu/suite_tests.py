"""The part `tests`: the GPU tests, with the device required, where pytest's plugins may be absent."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from typing import Any

from benchmarks.gpu.guarded import guarded
from benchmarks.gpu.plan import ROOT, Context, Skipped, last_lines
from gpustats.engines.device import gpu_problem

__all__ = ["gpu_tests"]

_LINE = re.compile(r"^(tests/\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
_NOT_COLLECTED = re.compile(r"^ERROR (tests/[^\s:]+)(?: |$)", re.MULTILINE)
_PLAIN = ("-o", "addopts=", "-o", "filterwarnings=default", "-p", "no:cacheprovider", "-p", "no:randomly")
"""Options of pytest.ini that need a plugin or make a warning an error, such as one about a mark of an absent plugin."""


def gpu_tests(context: Context) -> dict[str, Any]:
    """Run every test that needs a GPU; count what became of them, also where time runs out. The log is kept."""
    if importless := _missing():
        raise Skipped(importless)
    problem = gpu_problem()
    environment = dict(os.environ)
    if problem is None or not context.tiny:
        environment["GPUSTATS_REQUIRE_GPU"] = "1"
    files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.gpu" in path.read_text(encoding="utf-8")
    )
    options = ["-v", "-rfE", "--tb=short", "--continue-on-collection-errors", "-m", "gpu", *_PLAIN]
    log = context.out / "gpu-tests.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            guarded("pytest", *options, *files),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
        )
        try:
            exit_code: int | None = process.wait(max(1.0, context.left() - 3))
        except subprocess.TimeoutExpired:
            exit_code = None
            process.kill()
            process.wait()
    text = log.read_text(encoding="utf-8", errors="replace")
    found = [*_LINE.findall(text), *((name, "ERROR") for name in _NOT_COLLECTED.findall(text))]
    result: dict[str, Any] = {
        "required": "GPUSTATS_REQUIRE_GPU" in environment,
        "files": files,
        "exit_code": exit_code,
        "outcomes": dict(Counter(outcome.lower() for _, outcome in found)),
        "failed": [name for name, outcome in found if outcome in ("FAILED", "ERROR")],
        "summary": (last_lines(log, context, 1) or ["no output"])[0],
    }
    if exit_code is None:
        result["stopped"] = "no time was left"
        result["last_lines"] = last_lines(log, context)
    elif exit_code not in (0, 5):
        result["last_lines"] = last_lines(log, context, 30)
    return result


def _missing() -> str | None:
    import importlib.util

    return None if importlib.util.find_spec("pytest") else "pytest is not installed"
