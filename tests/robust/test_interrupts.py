"""Ctrl-C and SIGTERM: soon, with the partial result, and with a checkpoint that a later run continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import gpustats
from gpustats.limits.interrupts import orderly_interrupts
from tests.images import write_photos

pytestmark = pytest.mark.usefixtures("ctrl_c")
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

_SLOW = """
import sys, time
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.isolated import IsolatedEngine

def slow(kind):
    real = kind.measure
    def measure(self, batch, *others):
        time.sleep(0.3)
        return real(self, batch, *others)
    kind.measure = measure

slow(IsolatedEngine)
slow(CpuEngine)
"""
_CLI = _SLOW + "from gpustats.cli import main\nmain()\n"
_PYTHON = (
    _SLOW
    + """
import asyncio, gpustats
def run():
    try:
        gpustats.compute(sys.argv[1], progress=lambda n: print("on", flush=True))
    except gpustats.Interrupted as interrupt:
        print("partial", interrupt.partial.complete, 0 < interrupt.partial.n_images < 600)
        raise SystemExit(0)
"""
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 photographs: 20 at a time take 0.3 s each in the slowed engine."""
    folder = tmp_path_factory.mktemp("many")
    paths = write_photos(folder, 30)
    for i in range(570):
        os.link(paths[i % 30], folder / f"link{i:03d}.jpg")
    return folder


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("isolate", [False, True])
def test_the_command_line_keeps_what_it_has(many: Path, tmp_path: Path, number: int, isolate: bool) -> None:
    checkpoint = tmp_path / "run.gpustats"
    options = ["--checkpoint", checkpoint, *(["--isolate"] if isolate else [])]
    process = start(_CLI, "compute", many, "--json", "-", *options)
    while not checkpoint.exists():
        time.sleep(0.01)
    time.sleep(2.0)
    process.send_signal(number)
    sent = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - sent < 2
    assert process.returncode == 130, err
    assert "interrupted: the numbers are those of the images read so far" in err
    result = json.loads(out)
    assert result["complete"] is False
    assert 0 < result["images"] < 600
    resumed = gpustats.compute(many, checkpoint=checkpoint, progress=False)
    assert resumed.runs[0]["checkpoint"]["images_reused"] == result["images"], "what counts is stored, no more, no less"
    assert resumed.totals == gpustats.compute(many, progress=False).totals
    assert resumed.complete


@posix
@pytest.mark.parametrize("how", ["run()", "asyncio.run(asyncio.sleep(0)); run()"])
def test_a_script_is_given_the_partial_result(many: Path, how: str) -> None:
    process = start(_PYTHON + how, many)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - sent < 2
    assert out.splitlines()[-1] == "partial False True", err


@posix
def test_a_second_ctrl_c_stops_at_once(many: Path) -> None:
    slow_end = _SLOW + (
        "import gpustats, gpustats.api\n"
        "gpustats.api.Interrupted = lambda partial: time.sleep(60)\n"
        "gpustats.compute(sys.argv[1], progress=lambda n: print('on', flush=True))\n"
    )
    process = start(slow_end, many)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    process.communicate(timeout=20)
    assert time.monotonic() - sent < 1
    assert process.returncode != 0


@posix
def test_sigterm_is_left_to_the_program(many: Path) -> None:
    process = start(_PYTHON + "run()", many)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_another_thread_and_a_running_event_loop(photos: Path) -> None:
    import asyncio

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(gpustats.compute(photos, progress=False).n_images))
    thread.start()
    thread.join(30)

    async def cell() -> int:
        return gpustats.compute(photos, progress=False).n_images

    assert [*found, asyncio.run(cell())] == [45, 45]


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler
    with orderly_interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_step_is_whole_and_the_second_signal_is_not_held_back() -> None:
    done: list[str] = []

    def step(signals: int) -> None:
        with orderly_interrupts() as guard, guard.step():
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        step(signals=1)
    assert done == ["whole"]
    with pytest.raises(KeyboardInterrupt):
        step(signals=2)
    assert done == ["whole"]


def test_a_handler_of_the_program_is_left_alone() -> None:
    calls: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        with orderly_interrupts():
            signal.raise_signal(signal.SIGINT)
        assert calls == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
