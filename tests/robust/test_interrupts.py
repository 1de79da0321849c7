"""Ctrl-C and SIGTERM: soon, with the partial result, and with a checkpoint that a later run continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gpustats
from gpustats.limits.interrupts import orderly_interrupts
from tests.images import write_photos

pytestmark = pytest.mark.usefixtures("ctrl_c")
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

# The engine measures what it likes until FEW images are done and is slow from then on; a line on stderr tells how many
# images are counted, so that a signal comes neither before the first nor after the last.
_SLOW = """
import sys, time
import gpustats.api
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.isolated import IsolatedEngine

FEW = 40
given = 0

def slow(kind):
    real = kind.measure
    def measure(self, batch, decoder, stop, files=None):
        global given
        given += len(batch)
        if given > FEW:
            stop.wait(0.3)
        return real(self, batch, decoder, stop, files)
    kind.measure = measure

slow(IsolatedEngine)
slow(CpuEngine)

real_reported = gpustats.api.reported
def reported(progress, source):
    def tell(images):
        print("counted", images, file=sys.stderr, flush=True)
    return real_reported(tell, source)
gpustats.api.reported = reported
"""
_CLI = _SLOW + "from gpustats.cli import main\nmain()\n"
_PYTHON = (
    _SLOW
    + """
import asyncio, gpustats
def run():
    try:
        gpustats.compute(sys.argv[1])
    except gpustats.Interrupted as interrupt:
        print("partial", interrupt.partial.complete, 0 < interrupt.partial.n_images < 600)
        raise SystemExit(0)
"""
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 photographs: the slowed engine takes seconds for them."""
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


def wait_for_images(process: subprocess.Popen[str]) -> None:
    """Return when a first image was counted."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("counted") and int(line.split()[1]) > 0:
            return
    pytest.fail(f"the process ended with {process.wait()} before it counted an image")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("isolate", [False, True])
def test_the_command_line_keeps_what_it_has(many: Path, tmp_path: Path, number: int, isolate: bool) -> None:
    checkpoint = tmp_path / "run.gpustats"
    options = ["--checkpoint", checkpoint, *(["--isolate"] if isolate else [])]
    process = start(_CLI, "compute", many, "--json", "-", *options)
    wait_for_images(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted: the numbers are those of the images read so far" in err
    result = json.loads(out)
    assert result["complete"] is False
    assert 0 < result["images"] < 600, "it ends long before the rest is measured"
    resumed = gpustats.compute(many, checkpoint=checkpoint, progress=False)
    assert resumed.runs[0]["checkpoint"]["images_reused"] == result["images"], "what counts is stored, no more, no less"
    assert resumed.totals == gpustats.compute(many, progress=False).totals
    assert resumed.complete


@posix
@pytest.mark.parametrize("how", ["run()", "asyncio.run(asyncio.sleep(0)); run()"])
def test_a_script_is_given_the_partial_result(many: Path, how: str) -> None:
    process = start(_PYTHON + how, many)
    wait_for_images(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "partial False True", err


@posix
def test_a_second_ctrl_c_stops_at_once(many: Path) -> None:
    slow_end = _SLOW + (
        "import gpustats.run\n"
        "def made(partial):\n"
        "    print('stopping', flush=True)\n"
        "    time.sleep(60)\n"
        "gpustats.run.Interrupted = made\n"
        "gpustats.compute(sys.argv[1])\n"
    )
    process = start(slow_end, many)
    wait_for_images(process)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n", "the first one is heard"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)  # half of what the end would take by itself
    assert process.returncode != 0


@posix
def test_sigterm_is_left_to_the_program(many: Path) -> None:
    process = start(_PYTHON + "run()", many)
    wait_for_images(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
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


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Fail where one comes, which would else end all tests."""
    try:
        yield
    except KeyboardInterrupt:
        pytest.fail("interrupted")


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
        with no_interrupt(), orderly_interrupts():
            signal.raise_signal(signal.SIGINT)
        assert calls == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_of_the_program_is_not_replaced_by_ours_afterwards() -> None:
    def own(number: int, frame: object) -> None: ...

    signal.signal(signal.SIGINT, own)
    try:
        with orderly_interrupts():
            assert signal.getsignal(signal.SIGINT) is own
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_in_another_thread_nothing_is_changed() -> None:
    found: list[object] = []

    def run() -> None:
        with orderly_interrupts() as guard, guard.step():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert found == [signal.default_int_handler]


def test_outside_a_step_the_first_signal_is_raised_at_once() -> None:
    with orderly_interrupts() as guard:
        with guard.step():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_that_was_held_back_is_raised_once() -> None:
    with orderly_interrupts() as guard:
        with pytest.raises(KeyboardInterrupt), guard.step():
            signal.raise_signal(signal.SIGINT)
        with no_interrupt(), guard.step():
            pass


def fail_after_signal() -> None:
    signal.raise_signal(signal.SIGINT)
    raise ZeroDivisionError


def test_an_error_of_a_step_comes_before_a_signal() -> None:
    with orderly_interrupts() as guard:
        with pytest.raises(ZeroDivisionError), guard.step():
            fail_after_signal()
        with pytest.raises(KeyboardInterrupt):  # no step is under way any more
            signal.raise_signal(signal.SIGINT)
