"""The messages to decoder processes: how many images they have, and what is done again when a process dies."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gpustats
from gpustats.definition import Definition
from gpustats.engines import isolated
from gpustats.engines.base import Outcome
from gpustats.engines.isolated import IsolatedEngine
from gpustats.engines.process import Crashed, Lost, Process
from gpustats.engines.worker import Answer
from gpustats.sources import Batch
from gpustats.statistics.builder import RowBuilder
from tests.images import encoded, photo, write_photos

pytestmark = pytest.mark.usefixtures("patient")

_PIXELS = np.full((2, 2, 3), 7, np.uint8)
_OPTIONS: dict[str, Any] = {"max_pixels": 10**8, "memory": 1 << 28}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy, too, messages are not cut short."""
    monkeypatch.setattr(isolated, "_SECONDS", 10.0)


def batch_of(count: int, item: Any = _PIXELS, first: int = 0) -> Batch:
    return Batch([str(i) for i in range(first, first + count)], [""] * count, [item] * count)


def answered(batch: Batch, seconds: float = 0.0, refused: int = 0) -> Answer:
    """What a process says."""
    rows = RowBuilder(len(batch), Definition().statistics)
    for key, group in zip(batch.keys, batch.groups, strict=True):
        rows.add(key, group, _PIXELS)
    return Answer(Outcome(rows.rows()), refused, Counter(none=len(batch)), seconds)


class Recorded:
    """Stands for the processes of an engine; keeps what each message was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Batch, int], Answer | str]) -> None:
        self.sizes: list[int] = []
        self.memory: list[int] = []

        def attempt(engine: IsolatedEngine, memory: int, batch: Batch, stop: threading.Event) -> Answer | str:
            self.sizes.append(len(batch))
            self.memory.append(memory)
            return answer(batch, memory)

        monkeypatch.setattr(IsolatedEngine, "_try", attempt)
        monkeypatch.setattr(isolated, "_THREADS", 1)


def run(engine: IsolatedEngine, *batches: Batch) -> tuple[list[str], list[str]]:
    """Return the keys that were measured and those that failed."""
    outcomes = list(engine.outcomes(iter(batches)))
    measured = [key for outcome in outcomes for key in outcome.rows.keys]
    failed = [failure.key for outcome in outcomes for failure in outcome.failures]
    return sorted(measured, key=int), sorted(failed, key=int)


def keys(*numbers: int) -> list[str]:
    return [str(number) for number in numbers]


# -- how many images a message has
# ---------------------------------------------------------------------------------------------------------


def test_messages_grow_where_images_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch, lambda batch, _: answered(batch, 0.005 * len(batch)))
    engine = IsolatedEngine(workers=1, **_OPTIONS)
    measured, failed = run(engine, *(batch_of(64, first=64 * i) for i in range(40)))
    assert (measured, failed) == (keys(*range(2560)), [])
    assert recorded.sizes[0] == 4
    assert all(after <= 3 * max(recorded.sizes[: i + 1]) for i, after in enumerate(recorded.sizes[1:])), "step by step"
    assert max(recorded.sizes) == 256
    assert recorded.sizes[-5:] == [256] * 5, "several batches of the source a message"


def test_messages_have_one_image_where_images_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch, lambda batch, _: answered(batch, 11.0 * len(batch)))
    engine = IsolatedEngine(workers=1, **_OPTIONS)
    assert run(engine, batch_of(20))[0] == keys(*range(20))
    assert recorded.sizes == [4] + [1] * 16


def test_a_batch_is_divided_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(monkeypatch, lambda batch, _: answered(batch, isolated._SECONDS / 13.5 * len(batch)))
    engine = IsolatedEngine(workers=1, **_OPTIONS)
    engine._at_once = 13
    run(engine, batch_of(64))
    assert recorded.sizes == [13, 13, 13, 13, 12]


def test_what_is_in_memory_is_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, too, are not all called before the first of what they return is sent."""
    recorded = Recorded(monkeypatch, lambda batch, _: answered(batch))
    arrays = np.zeros((1000, 1000, 3), np.uint8)
    called: list[int] = []

    def item(max_bytes: int) -> NDArray[np.uint8]:
        called.append(len(recorded.sizes))
        return arrays

    for found in (arrays, arrays.tobytes(), item):
        recorded.sizes.clear()
        engine = IsolatedEngine(workers=1, **_OPTIONS)
        engine._at_once = 64
        assert run(engine, batch_of(9, found))[0] == keys(*range(9))
        assert recorded.sizes == [2, 2, 2, 2, 1]
    assert called == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_what_takes_long_to_load_is_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_SECONDS", 0.02)
    recorded = Recorded(monkeypatch, lambda batch, _: answered(batch))
    engine = IsolatedEngine(workers=1, **_OPTIONS)
    engine._at_once = 64

    def item(max_bytes: int) -> NDArray[np.uint8]:
        time.sleep(isolated._SECONDS)
        return _PIXELS

    assert run(engine, batch_of(5, item))[0] == keys(*range(5))
    assert recorded.sizes == [1] * 5


# -- what is done again
# ---------------------------------------------------------------------------------------------------------


def _with(bad: set[str], batch: Batch, otherwise: Answer | str) -> Answer | str:
    return otherwise if bad & {*batch.keys} else answered(batch)


def test_a_crash_in_a_large_message_leaves_sixteen_images_to_be_done_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = "was ended by SIGTEST"
    recorded = Recorded(monkeypatch, lambda batch, _: _with({"100", "101"}, batch, crash))
    engine = IsolatedEngine(workers=4, **_OPTIONS)
    engine._at_once = 256
    stop = threading.Event()
    answers = list(engine._answers(batch_of(200), stop))
    failures = [answer.key for answer in answers if not isinstance(answer, Answer)]
    measured = [key for answer in answers if isinstance(answer, Answer) for key in answer.outcome.rows.keys]
    assert failures == ["100", "101"]
    assert measured == [key for key in keys(*range(200)) if key not in failures]
    assert recorded.sizes == [200] + [16] * 7 + [1] * 16 + [16] * 5 + [8]
    alone = [memory for memory, size in zip(recorded.memory, recorded.sizes, strict=True) if size == 1]
    together = {memory for memory, size in zip(recorded.memory, recorded.sizes, strict=True) if size > 1}
    assert ({*alone}, together) == ({1 << 28}, {1 << 26})


def test_an_image_that_needs_more_memory_has_all_of_it_without_the_others_of_a_large_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = Recorded(
        monkeypatch,
        lambda batch, memory: answered(batch, refused=int("70" in batch.keys and memory < 1 << 28)),
    )
    engine = IsolatedEngine(workers=4, **_OPTIONS)
    answers = list(engine._answers(batch_of(100), threading.Event()))
    measured = [key for answer in answers if isinstance(answer, Answer) for key in answer.outcome.rows.keys]
    assert measured == keys(*range(100))
    assert recorded.sizes == [100] + [16] * 5 + [1] * 16 + [16, 4]


def test_nothing_is_done_again_when_the_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, done in ((100, 1), (16, 1)):
        stop = threading.Event()

        def crash(batch: Batch, memory: int, stop: threading.Event = stop) -> str:
            stop.set()
            return "was ended"

        recorded = Recorded(monkeypatch, crash)
        assert not list(IsolatedEngine(workers=1, **_OPTIONS)._answers(batch_of(count), stop))
        assert len(recorded.sizes) == done


# -- a process and the threads that share it
# ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process(Definition(), 10**8, 1 << 28)
    yield process
    process.kill()


def _in_turn(process: Process, batches: list[Batch]) -> list[Answer | Exception]:
    """Send messages from threads, in this order; return what becomes of each."""
    found: dict[int, Answer | Exception] = {}

    def ask(place: int) -> None:
        try:
            found[place] = process.measure(1 << 28, batches[place])
        except Crashed as crash:
            found[place] = crash

    threads = [threading.Thread(target=ask, args=(place,), daemon=True) for place in range(len(batches))]
    for thread in threads:
        sent = process._sent
        thread.start()
        while process._sent == sent:
            time.sleep(0.001)
    for thread in threads:
        thread.join(60)
    return [found[place] for place in range(len(batches))]


def test_two_messages_are_under_way_and_each_gets_its_own_answer(process: Process) -> None:
    large = Batch(["large"], [""], [np.zeros((3000, 3000, 3), np.uint8)])
    answers = _in_turn(process, [large, batch_of(3)])
    assert [list(answer.outcome.rows.keys) for answer in answers if isinstance(answer, Answer)] == [
        ["large"],
        ["0", "1", "2"],
    ]


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize("size", [0, 1 << 20], ids=["in the pipe", "being sent"])
def test_the_message_behind_one_that_kills_the_process_is_lost_and_not_the_cause(process: Process, size: int) -> None:
    process.measure(1 << 28, batch_of(1))  # it runs
    process._process.send_signal(19)  # SIGSTOP: both messages come before it does anything
    threading.Timer(0.5, process.end).start()
    first, second = _in_turn(process, [batch_of(1), batch_of(1, bytes(size))])
    assert type(first) is Crashed
    assert type(second) is Lost
    third = _in_turn(process, [batch_of(1)])
    assert isinstance(third[0], Lost), "nothing is sent to a process that has ended"


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_lost_message_is_sent_to_a_new_process_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Process.measure
    asked: list[tuple[Process, int]] = []

    def lost_once(self: Process, memory: int, batch: Batch) -> Answer:
        asked.append((self, len(batch)))
        if len(asked) == 1:
            raise Lost("ended")
        return measure(self, memory, batch)

    monkeypatch.setattr(Process, "measure", lost_once)
    engine = IsolatedEngine(workers=1, **_OPTIONS)
    engine._at_once = 30
    assert run(engine, batch_of(20))[0] == keys(*range(20))
    (first, _), (second, _) = asked
    assert [size for _, size in asked] == [20, 20]
    assert first is not second
    assert first._process.poll() is not None


def test_an_idle_process_is_not_taken_for_stuck(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    process.measure(1 << 28, batch_of(1))
    monkeypatch.setattr("gpustats.engines.process._PATIENCE", -1.0)
    process.end_if_stuck()
    assert isinstance(process.measure(1 << 28, batch_of(1)), Answer)


def test_a_process_that_cannot_start_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.engines.process._PROGRAM", "raise SystemExit(3)  # {path}")
    engine = IsolatedEngine(workers=2, **_OPTIONS)
    with pytest.raises(gpustats.DeviceError, match="could not be started: it ended with exit code 3"):
        list(engine.outcomes(iter([batch_of(2)] * 10)))


def test_two_rounds_of_one_engine_start_processes_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As samples do that are drawn until the result is precise enough."""
    measure = Process.measure
    sizes: list[int] = []

    def counted(self: Process, memory: int, batch: Batch) -> Answer:
        sizes.append(len(batch))
        return measure(self, memory, batch)

    monkeypatch.setattr(Process, "measure", counted)
    engine = IsolatedEngine(workers=1, **_OPTIONS)
    for _ in range(2):
        assert run(engine, batch_of(30)) == (keys(*range(30)), [])
    assert sum(sizes) == 60, "nothing was done twice"


def test_no_process_is_started_when_the_run_is_over() -> None:
    engine = IsolatedEngine(workers=1, **_OPTIONS)
    stop = threading.Event()
    stop.set()
    assert engine._try(1 << 28, batch_of(1), stop) == "was not started"
    assert not engine._processes


# -- the result
# ---------------------------------------------------------------------------------------------------------


_CRASHES = """
import os, sys
if "gpustats.engines.worker" in " ".join(sys.orig_argv):
    import simplejpeg
    real = simplejpeg.decode_jpeg
    def decode_jpeg(data, *args, **options):
        if b"SEGFAULT" in bytes(data):
            os.kill(os.getpid(), 11)
        return real(data, *args, **options)
    simplejpeg.decode_jpeg = decode_jpeg
"""


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_numbers_do_not_depend_on_processes_messages_and_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_CRASHES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    folder = tmp_path / "images"
    write_photos(folder, 700)
    expected = gpustats.compute(
        folder, workers=1, group_by="folder", statistics=("moments", "histogram"), progress=False
    )
    bad = folder / "a" / "bad.jpg"
    for workers, seconds in ((1, 10.0), (2, 10.0), (3, 1e-9)):
        monkeypatch.setattr(isolated, "_SECONDS", seconds)
        stats = gpustats.compute(
            folder,
            workers=workers,
            isolate=True,
            group_by="folder",
            statistics=("moments", "histogram"),
            progress=False,
        )
        assert stats.totals == expected.totals
        assert stats.groups == expected.groups
    bad.write_bytes(encoded(photo()) + b"SEGFAULT")
    monkeypatch.setattr(isolated, "_SECONDS", 10.0)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(
            folder, workers=2, isolate=True, statistics=("moments", "histogram"), group_by="folder", progress=False
        )
    assert stats.totals == expected.totals
    assert [failure.key for failure in stats.failures] == ["a/bad.jpg"]
