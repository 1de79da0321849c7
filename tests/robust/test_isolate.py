"""A decoder that dies costs one image."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.isolated import IsolatedEngine, _Gate
from gpustats.sources import Batch
from tests.images import encoded, photo, write_photos

# Read by every Python that starts with this folder on its path: decoders that do what bad luck does.
_SABOTAGE = """
import os, signal, sys
if "gpustats.engines.worker" in " ".join(sys.orig_argv):
    import simplejpeg
    real = simplejpeg.decode_jpeg
    def decode_jpeg(data, *args, **options):
        if b"SEGFAULT" in data:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"KILLED" in data:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"QUITS" in data:
            os._exit(7)
        if b"HANGS" in data:
            import time
            time.sleep(60)
        return real(data, *args, **options)
    simplejpeg.decode_jpeg = decode_jpeg
"""


@pytest.fixture
def sabotage(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(_SABOTAGE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def poisoned(what: bytes) -> bytes:
    return encoded(photo()) + what


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.usefixtures("sabotage")
def test_crashes_cost_one_image_each(tmp_path: Path) -> None:
    write_photos(tmp_path, 40)
    expected = gpustats.compute(tmp_path, progress=False)
    for name, what in (("a/x.jpg", b"SEGFAULT"), ("a/y.jpg", b"KILLED"), ("b/z.jpg", b"QUITS")):
        (tmp_path / name).write_bytes(poisoned(what))
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(tmp_path, workers=2, isolate=True, progress=False)
    assert stats.totals == expected.totals
    told = {failure.key: (failure.reason, failure.message) for failure in stats.failures}
    crashed = "the decoder crashed: its process "
    assert told == {
        "a/x.jpg": ("corrupt", crashed + "was ended by SIGSEGV"),
        "a/y.jpg": ("corrupt", crashed + "was ended by SIGKILL, perhaps because memory ran out"),
        "b/z.jpg": ("corrupt", crashed + "ended with exit code 7"),
    }


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.usefixtures("sabotage")
def test_a_decoder_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.engines.process._PATIENCE", 2.0)
    engine = IsolatedEngine(workers=1, max_pixels=10**8, memory=1 << 28)
    batch = Batch(["hangs", "good"], ["", ""], [poisoned(b"HANGS"), encoded(photo())])
    (outcome,) = engine.outcomes(iter([batch]))
    assert list(outcome.rows.keys) == ["good"]
    assert [failure.key for failure in outcome.failures] == ["hangs"]
    assert "did not answer in 2 s" in outcome.failures[0].message


def test_items_of_every_kind_and_large_images() -> None:
    large = encoded(photo(700, 900), "PNG")  # more than a process's part of the memory: alone, with all of it
    items = [encoded(photo()), lambda *_: encoded(photo(seed=1)), lambda *_: b"no image", large]
    batch = Batch(list("abcd"), [""] * 4, items)

    def measured(engine: CpuEngine) -> tuple[object, ...]:
        outcomes = list(engine.outcomes(iter([batch])))
        rows = {
            key: sums
            for outcome in outcomes
            if len(outcome.rows)  # an outcome may hold failures alone
            for key, sums in zip(outcome.rows.keys, outcome.rows.columns["moments.sum"].tolist(), strict=True)
        }
        return dict(sorted(rows.items())), sorted(failure for outcome in outcomes for failure in outcome.failures)

    options = {"workers": 4, "max_pixels": 10**8, "memory": 16 << 20}
    assert measured(IsolatedEngine(**options)) == measured(CpuEngine(**options))  # type: ignore[arg-type]


def test_an_interrupted_run_leaves_no_process(photos: Path) -> None:
    engine = IsolatedEngine(workers=2, max_pixels=10**8, memory=1 << 28)
    from gpustats.sources import open_source

    outcomes = engine.outcomes(open_source([str(photos)] * 20).batches())
    next(outcomes)
    processes = [process._process for process in engine._processes.values()]
    assert all(process.poll() is None for process in processes), "they live while the run lasts"
    outcomes.close()
    assert processes
    assert all(process.poll() is not None for process in processes)


def test_a_process_that_is_just_starting_ends_with_the_run(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two processes is started, and says that it is there only when the run is over."""
    from gpustats.engines import cpu
    from gpustats.engines.process import Process
    from gpustats.sources import open_source

    monkeypatch.setattr(cpu, "_PATIENCE", 0.0)
    started: list[Any] = []
    second, over = threading.Event(), threading.Event()
    ask = Process._ask

    def slow(self: Any, message: Any) -> Any:
        if self not in started:
            started.append(self)
            if len(started) == 2:
                second.set()
                assert over.wait(60)
        return ask(self, message)

    monkeypatch.setattr(Process, "_ask", slow)
    engine = IsolatedEngine(workers=2, max_pixels=10**8, memory=1 << 28)
    outcomes = engine.outcomes(open_source([str(photos)] * 20).batches())
    next(outcomes)
    assert second.wait(60)
    outcomes.close()
    alive = [process._process.poll() is None for process in started]
    over.set()
    assert alive == [False, False]


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_processes_end_with_a_parent_that_is_killed(photos: Path) -> None:
    script = (
        "import gpustats, os, sys, threading\n"
        "from gpustats.engines.isolated import IsolatedEngine\n"
        "from gpustats.sources import open_source\n"
        "engine = IsolatedEngine(workers=1, max_pixels=10**8, memory=1 << 28)\n"
        "outcomes = engine.outcomes(open_source([sys.argv[1]] * 50).batches())\n"
        "next(outcomes)\n"
        "print([p._process.pid for p in engine._processes.values()][0], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(photos)], capture_output=True, timeout=60)
    child = int(done.stdout)
    for _ in range(600):
        try:
            with open(f"/proc/{child}/stat", encoding="ascii") as file:
                if file.read().split()[2] == "Z":
                    break
            time.sleep(0.1)
        except OSError:
            break
    else:
        pytest.fail("the decoder process outlived its parent")


def test_isolate_works_from_a_script_without_a_main_guard(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import gpustats\nprint(gpustats.compute({str(photos)!r}, isolate=True, progress=False).n_images)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "45\n"


def test_images_that_cannot_be_pooled_end_the_run_and_no_process_dies_of_them(
    capfd: pytest.CaptureFixture[str],
) -> None:
    batch = Batch(["grey", "rgb"], ["", ""], [np.zeros((4, 5, 1), np.uint8), np.zeros((4, 5, 3), np.uint8)])
    engine = IsolatedEngine(workers=1, max_pixels=10**8, memory=1 << 28)
    with pytest.raises(gpustats.DataError, match="channel"):
        list(engine.outcomes(iter([batch])))
    assert not capfd.readouterr().err


# -- one at a time
# -------------------------------------------------------------------------------------------------------


def test_a_process_has_its_part_of_the_memory_and_one_alone_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def attempt(self: IsolatedEngine, memory: int, batch: Batch, stop: threading.Event) -> str:
        asked.append((memory, len(batch)))
        return "was ended by SIGTEST"

    monkeypatch.setattr(IsolatedEngine, "_try", attempt)
    engine = IsolatedEngine(workers=4, max_pixels=10**8, memory=1 << 28)
    outcomes = list(engine.outcomes(iter([Batch(["a", "b", "c"], [""] * 3, [b"1", b"2", b"3"])])))
    assert (1 << 28) // 4 in {memory for memory, _ in asked}
    assert {memory for memory, count in asked if count > 1} == {(1 << 28) // 4}
    assert sum(memory == 1 << 28 for memory, _ in asked) == 3, "each alone with all of it"
    failures = sorted(failure for outcome in outcomes for failure in outcome.failures)
    assert [(f.key, f.reason) for f in failures] == [(key, "corrupt") for key in "abc"]
    assert {f.message for f in failures} == {"the decoder crashed: its process was ended by SIGTEST"}


def test_alone_is_alone() -> None:
    gate = _Gate()
    inside, go = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with gate.together():
            inside.set()
            assert go.wait(30)
            order.append("together leaves")

    def second() -> None:
        with gate.alone():
            order.append("alone")

    threads = [threading.Thread(target=work, daemon=True) for work in (first, second)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    while not gate._waiting:
        threads[1].join(0.001)
        assert threads[1].is_alive(), "it did not wait"
    go.set()
    for thread in threads:
        thread.join(30)
    assert order == ["together leaves", "alone"]
    with gate.together(), gate.together():
        pass


def test_who_waits_to_be_alone_comes_before_those_who_come_later() -> None:
    gate = _Gate()
    inside, go = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with gate.together():
            inside.set()
            assert go.wait(30)

    def alone() -> None:
        with gate.alone():
            order.append("alone")

    def later() -> None:
        with gate.together():
            order.append("later")
            go.set()  # where it comes too early, nobody is kept waiting

    threads = [threading.Thread(target=work, daemon=True) for work in (first, alone, later)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    while not gate._waiting:
        threads[1].join(0.001)
    waits = threading.Event()
    real = gate._changed.wait_for

    def wait_for(condition: Callable[[], Any], timeout: float | None = None) -> Any:
        waits.set()
        return real(condition, timeout)

    gate._changed.wait_for = wait_for  # type: ignore[method-assign]
    threads[2].start()
    assert waits.wait(30)
    go.set()
    for thread in threads:
        thread.join(30)
    assert order == ["alone", "later"]
