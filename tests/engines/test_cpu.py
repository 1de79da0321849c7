"""The CPU engine by itself: limits, memory given back, work shared, failures passed on, an end to every thread."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpustats.engines.base import Outcome
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.isolated import IsolatedEngine
from gpustats.errors import DataError
from gpustats.failures import Failure
from gpustats.sources import Batch
from tests.images import encoded, photo

PATIENCE = 30.0


def engine(workers: int = 1, **options: Any) -> CpuEngine:
    return CpuEngine(**{"workers": workers, "max_pixels": 10**8, "memory": 1 << 28, **options})


def batch(items: list[Any], *failures: Failure, first: int = 0) -> Batch:
    keys = [f"k{i + first:03d}" for i in range(len(items))]
    return Batch(keys, [f"g{key}" for key in keys], items, failures)


def measured(engine: CpuEngine, *batches: Batch) -> tuple[list[tuple[str, str, int, int, int]], list[tuple[str, str]]]:
    """Return key, group, height, width and first sum of every row, and key and reason of every failure."""
    outcomes: list[Outcome] = list(engine.outcomes(iter(batches)))
    rows = [
        (key, group, int(height), int(width), int(sums[0]))
        for outcome in outcomes
        for key, group, height, width, sums in zip(
            outcome.rows.keys,
            outcome.rows.groups,
            outcome.rows.height,
            outcome.rows.width,
            outcome.rows.columns.get("moments.sum", ()),
            strict=True,
        )
    ]
    return sorted(rows), sorted((f.key, f.reason) for outcome in outcomes for f in outcome.failures)


@pytest.mark.parametrize("isolated", [False, True])
def test_max_pixels_counts_for_arrays_and_files_alike(isolated: bool) -> None:
    items = [np.ones((10, 10, 3), np.uint8), np.ones((10, 11, 3), np.uint8), np.ones((11, 10, 3), np.uint8)]
    items += [encoded(photo(10, 10)), encoded(photo(10, 11)), lambda most: np.ones((101, 1, 3), np.uint8)]
    options = {"workers": 1, "max_pixels": 100, "memory": 1 << 28}
    rows, failures = measured(IsolatedEngine(**options) if isolated else engine(**options), batch(items))
    assert [row[0] for row in rows] == ["k000", "k003"]
    assert failures == [(key, "too_large") for key in ("k001", "k002", "k004", "k005")]


def test_an_array_without_pixels_is_a_failure() -> None:
    _, failures = measured(engine(), batch([np.ones((0, 4, 3), np.uint8), np.ones((4, 0, 3), np.uint8)]))
    assert failures == [("k000", "corrupt"), ("k001", "corrupt")]


def test_the_limit_of_a_file_follows_from_pixels_and_memory() -> None:
    assert engine(max_pixels=1000).max_bytes == 8 * 1000 + (1 << 20)
    assert engine(max_pixels=10**9, memory=1 << 26).max_bytes == 1 << 26
    told: list[int] = []

    def item(most: int) -> np.ndarray:
        told.append(most)
        return np.ones((2, 2, 3), np.uint8)

    measured(engine(max_pixels=1000), batch([item]))
    assert told == [8 * 1000 + (1 << 20)]


def test_rows_carry_keys_groups_and_sizes() -> None:
    items = [np.full((2 + i, 9 - i, 3), i, np.uint8) for i in range(5)]
    rows, failures = measured(engine(workers=2), batch(items[:2]), batch(items[2:], first=2))
    assert rows == [(f"k00{i}", f"gk00{i}", 2 + i, 9 - i, i * (2 + i) * (9 - i)) for i in range(5)]
    assert failures == []


def test_failures_of_the_source_arrive_once_also_without_an_image() -> None:
    lost, cut = Failure("a.tar", "missing", "no such file"), Failure("b.tar", "truncated", "it ends early")
    good = np.ones((2, 2, 3), np.uint8)
    rows, failures = measured(engine(workers=3), batch([], lost), batch([good, b"text"], cut), batch([], first=2))
    assert [row[0] for row in rows] == ["k000"]
    assert failures == [("a.tar", "missing"), ("b.tar", "truncated"), ("k001", "not_an_image")]


@pytest.mark.parametrize(("whole", "memory"), [(True, 5 << 20), (False, 8 << 20)], ids=["good", "bad"])
def test_memory_is_given_back_after_every_image_good_or_bad(whole: bool, memory: int) -> None:
    """One large image at a time fits. A worker that is through with its own is held until the other is, too."""
    large = encoded(photo(800, 900), quality=30)
    if not whole:
        large = large[: len(large) // 2]
    through = threading.Barrier(2)

    def after(most: int) -> np.ndarray:
        through.wait(PATIENCE)  # not passed while one of the two waits for memory that the other keeps
        return np.ones((2, 2, 3), np.uint8)

    two = [batch([large, after]), batch([large, after], first=2)]
    rows, failures = measured(engine(workers=2, memory=memory, tell_after=1e9), *two)
    assert [row[0] for row in rows] == (["k000", "k001", "k002", "k003"] if whole else ["k001", "k003"])
    assert failures == ([] if whole else [("k000", "truncated"), ("k002", "truncated")])


def test_pixels_of_an_image_are_let_go_before_the_next_is_read() -> None:
    """Arrays that functions made: each must be gone when the next is asked for."""

    class Pixels(np.ndarray):
        pass

    made: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def item(most: int) -> Any:
        alive.append(sum(ref() is not None for ref in made))
        pixels = np.ones((50, 50, 3), np.uint8).view(Pixels)
        made.append(weakref.ref(pixels))
        return pixels

    measured(engine(), batch([item] * 4))
    assert alive == [0, 0, 0, 0]


def test_the_report_counts_images_by_decoder_and_not_failures() -> None:
    cpu = engine(workers=2)
    items: list[Any] = [encoded(photo()), encoded(photo(), "PNG"), b"text", np.ones((3, 3, 3), np.uint8)]
    measured(cpu, batch(items), batch(items, first=4))
    report = cpu.report()
    assert report["images_by_decoder"] == {"imagecodecs": 2, "none": 2, "simplejpeg": 2}
    assert list(report["images_by_decoder"]) == ["imagecodecs", "none", "simplejpeg"]
    assert report["engine"] == "cpu"
    assert report["device"] == "cpu (2 threads)"
    assert engine().report()["device"] == "cpu (1 thread)"
    extras = {"pillow-heif", "pydicom"}
    assert set(report["decoders"]) - extras == {"simplejpeg", "imagecodecs", "numpy", "pillow"}


def test_an_error_that_is_not_an_images_fault_ends_the_run() -> None:
    def item(most: int) -> np.ndarray:
        raise DataError("the dataset is closed")

    with pytest.raises(DataError, match="the dataset is closed"):
        measured(engine(workers=2), batch([item]))
    assert [t.name for t in threading.enumerate() if t.name.startswith("gpustats")] == []


def test_an_idle_worker_takes_half_of_what_is_left() -> None:
    """The first worker is held at its first image; the other does all the rest, and the first nothing twice."""
    go_on = threading.Event()
    done: Counter[str] = Counter()
    last = 11

    def item(number: int) -> Any:
        def read(most: int) -> np.ndarray:
            done[threading.current_thread().name] += 1
            if number == 0:
                assert go_on.wait(PATIENCE)
            elif done.total() == last + 1:
                go_on.set()
            return np.ones((1, 1, 3), np.uint8)

        return read

    rows, _ = measured(engine(workers=2), batch([item(i) for i in range(last + 1)]))
    assert [row[0] for row in rows] == [f"k{i:03d}" for i in range(last + 1)]
    assert sorted(done.values()) == [1, last]


def test_a_worker_tells_at_once_where_it_is_asked_to_and_else_at_the_end() -> None:
    items = [np.ones((1, 1, 3), np.uint8)] * 6
    slow, never = engine(tell_after=0.0), engine(tell_after=1e9)
    assert [len(outcome.rows) for outcome in slow.outcomes(iter([batch(items)]))] == [1] * 6
    assert [len(outcome.rows) for outcome in never.outcomes(iter([batch(items)]))] == [6]


def test_no_more_batches_are_taken_than_workers_can_hold() -> None:
    taken: list[int] = []
    held = threading.Semaphore(0)
    inside = threading.Semaphore(0)

    def read(most: int) -> np.ndarray:
        inside.release()
        assert held.acquire(timeout=PATIENCE)
        return np.ones((1, 1, 3), np.uint8)

    def batches() -> Iterator[Batch]:
        for i in range(20):
            taken.append(i)
            yield batch([read], first=i)

    rows: list[Any] = []

    def run() -> None:
        rows.extend(key for outcome in engine(workers=3).outcomes(batches()) for key in outcome.rows.keys)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    for _ in range(3):
        assert inside.acquire(timeout=PATIENCE)
    assert taken == [0, 1, 2]
    for _ in range(20):
        held.release()
    thread.join(PATIENCE)
    assert len(rows) == 20


def test_a_stopped_engine_reads_no_further_image() -> None:
    """Closed at the first outcome: what a worker has before it is finished, the rest is left."""
    reads: list[int] = []
    closing, closed = threading.Event(), threading.Event()

    def read(most: int) -> np.ndarray:
        reads.append(1)
        if len(reads) == 2:
            closing.set()
            assert closed.wait(PATIENCE)
        return np.ones((1, 1, 3), np.uint8)

    cpu = engine(tell_after=0.0)
    real = threading.Event.set
    outcomes = cpu.outcomes(iter([batch([read] * 50)]))
    next(outcomes)
    assert closing.wait(PATIENCE)

    def stopping(event: threading.Event) -> None:
        real(event)
        real(closed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Event, "set", stopping)  # the image at hand is let go when the engine says stop
        outcomes.close()
    assert len(reads) == 2


def test_files_that_vanished_and_folders_fail_by_name(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(encoded(photo(), "PNG"))
    items = [str(tmp_path / "good.png"), str(tmp_path / "gone.png"), str(tmp_path)]
    rows, failures = measured(engine(), batch(list(items)))
    assert [row[0] for row in rows] == ["k000"]
    assert failures == [("k001", "missing"), ("k002", "unreadable")]
