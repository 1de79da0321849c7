"""What a checkpoint takes out of a run and what it stores, decision by decision."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DataError
from gpustats.checkpoint.journal import Block, Journal
from gpustats.checkpoint.resume import Resumed, describe
from gpustats.definition import Definition
from gpustats.engines.base import Outcome
from gpustats.failures import Failure
from gpustats.sources import Batch
from gpustats.statistics.builder import RowBuilder
from tests.images import encoded, photo

pytestmark = pytest.mark.filterwarnings("ignore::gpustats.ImagesFailedWarning")


def sums(outcome: Outcome) -> list[int]:
    """The sum of the first channel of every row."""
    return [int(total[0]) for total in outcome.rows.columns.get("moments.sum", ())]


class Stop(Exception):
    """The engine is stopped."""


class FakeEngine:
    """Measures batches one by one with `measured`; raises `Stop` where that many are done."""

    max_bytes = 1 << 30

    def __init__(self, stop_after: int = 10**9) -> None:
        self.read: list[str] = []
        self._stop_after = stop_after

    def report(self) -> dict[str, Any]:
        return {"engine": "fake", "decoders": {}}

    def outcomes(self, batches: Iterator[Batch]) -> Generator[Outcome, None, None]:
        for number, batch in enumerate(batches):
            if number == self._stop_after:
                raise Stop
            self.read += batch.keys
            yield measured(batch)


def resumed(path: Path, changed: Any = "mtime", engine: FakeEngine | None = None) -> Resumed:
    return Resumed(engine or FakeEngine(), path, "data", Definition(), {}, changed)


class Run:
    """One run over batches: what was read, what was found stored, in the order in which it came."""

    def __init__(self, path: Path, batches: Sequence[Batch], changed: Any = "mtime", stop_after: int = 10**9) -> None:
        self.outcomes: list[Outcome] = []
        engine = FakeEngine(stop_after)
        with resumed(path, changed, engine) as around, suppress(Stop):
            self.outcomes.extend(around.outcomes(iter(batches)))
        self.read = engine.read
        found = around.report()["checkpoint"]
        self.reused, self.removed = found["images_reused"], found["images_removed"]

    @property
    def failures(self) -> list[Failure]:
        return sorted(failure for outcome in self.outcomes for failure in outcome.failures)

    @property
    def rows(self) -> dict[str, tuple[str, int]]:
        """Group and sum of each image."""
        return {
            key: (group, total)
            for outcome in self.outcomes
            for key, group, total in zip(outcome.rows.keys, outcome.rows.groups, sums(outcome), strict=True)
        }


def measured(batch: Batch) -> Outcome:
    """An engine for one batch: the sum of an image is the length of its file, a file of "bad REASON" is a failure."""
    rows, failures = RowBuilder(max(len(batch), 1), ("moments",)), list(batch.failures)
    for key, group, item in zip(batch.keys, batch.groups, batch.items, strict=True):
        data: Any = item
        if isinstance(item, str):
            data = Path(item).read_bytes() if os.path.exists(item) else b"bad missing"
        elif callable(item):
            data = item(10**6)
        if not isinstance(data, np.ndarray) and bytes(data).startswith(b"bad "):
            failures.append(Failure(key, bytes(data)[4:].decode(), f"{key} is bad"))
        else:
            pixels = data if isinstance(data, np.ndarray) else np.full((len(data), 1, 1), 1, np.uint8)
            rows.add(key, group, pixels)
    return Outcome(rows.rows(), failures)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder for the files of a test."""
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.gpustats"


def batch_of(folder: Path, names: Sequence[str], **more: Any) -> Batch:
    return Batch(list(names), [f"group of {name}" for name in names], [str(folder / name) for name in names], **more)


def write(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).write_text(text)
        os.utime(folder / name, ns=(10**18, 10**18 + 1))


def count(entries: Sequence[Any], blocks: Sequence[Block]) -> int:
    return len(entries) + sum(len(block.keys) for block in blocks)


def stored(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [key.decode("utf-8", "surrogatepass") for (key,) in database.execute("SELECT key FROM images")]


@pytest.mark.parametrize("count", [1, 6, 7, 8, 9, 15, 16, 17, 40])
def test_what_is_gone_is_forgotten_and_nothing_else(files: Path, path: Path, count: int) -> None:
    """A bit for each entry: numbers below, at and above whole bytes, each gone in one run and kept in another."""
    names = [f"{i:02d}" for i in range(count)]
    write(files, {name: "x" * (i + 1) for i, name in enumerate(names)})
    first = Run(path, [batch_of(files, names)])
    assert (first.read, first.reused, first.removed) == (names, 0, 0)
    for step, keep in enumerate([names[::2], names[1::2], names[:-1], names[:1]]):
        (path.parent / f"{step}").write_bytes(path.read_bytes())
        run = Run(path.parent / f"{step}", [batch_of(files, keep)])
        assert (run.read, run.reused, run.removed) == ([], len(keep), count - len(keep))
        assert run.rows == {name: (f"group of {name}", int(name) + 1) for name in keep}
        assert stored(path.parent / f"{step}") == keep
    again = Run(path, [batch_of(files, names)])
    assert (again.read, again.reused, again.removed) == ([], count, 0)


def test_a_run_that_was_stopped_forgets_nothing(files: Path, path: Path) -> None:
    names = ["a", "b", "c", "d"]
    write(files, dict.fromkeys(names, "x"))
    Run(path, [batch_of(files, names)])
    stopped = Run(path, [batch_of(files, names[:1]), batch_of(files, names[1:])], stop_after=1)
    assert stopped.removed == 0
    assert stored(path) == names


def test_what_was_read_before_a_stop_is_not_read_again(files: Path, path: Path) -> None:
    names = ["a", "b", "c", "d"]
    write(files, dict.fromkeys(names, "xy") | {"b": "bad corrupt"})
    batches = [batch_of(files, names[:2]), batch_of(files, names[2:])]
    assert Run(path, batches, stop_after=1).read == ["a", "b"]
    run = Run(path, batches)
    assert (run.read, run.reused) == (["c", "d"], 2)
    assert run.failures == [Failure("b", "corrupt", "b is bad")]
    assert set(run.rows) == {"a", "c", "d"}


@pytest.mark.parametrize("changed", ["mtime", "hash"])
@pytest.mark.parametrize("what", ["nothing", "size", "time", "content", "gone"])
def test_how_a_changed_file_is_told(files: Path, path: Path, changed: str, what: str) -> None:
    write(files, {"a": "12345", "b": "12345"})
    Run(path, [batch_of(files, ["a", "b"])], changed)
    status = os.stat(files / "a")
    if what == "size":
        (files / "a").write_text("123456")
        os.utime(files / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    elif what == "time":
        os.utime(files / "a", ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    elif what == "content":
        (files / "a").write_text("54321")
        os.utime(files / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    elif what == "gone":
        (files / "a").unlink()
    expected = {"nothing": "", "size": "both", "time": "mtime", "content": "hash", "gone": "both"}[what]
    run = Run(path, [batch_of(files, ["a", "b"])], changed)
    assert run.read == (["a"] if expected in (changed, "both") else [])
    assert run.reused == 2 - len(run.read)


def test_a_change_far_into_a_large_file_is_seen(files: Path, path: Path) -> None:
    data = bytearray(b"x" * (3 << 20))
    (files / "a").write_bytes(data)
    batch = batch_of(files, ["a"])

    def ran() -> list[str]:
        with resumed(path, "hash") as checkpoint:
            (left,) = checkpoint._pending(iter([batch]))
            rows = RowBuilder(1, ("moments",))
            if left.keys:
                rows.add("a", "", np.zeros((1, 1, 1), np.uint8))
            checkpoint._record(Outcome(rows.rows()))
            checkpoint._finish()
            return left.keys

    assert (ran(), ran()) == (["a"], [])
    for place in (-1, 0, (1 << 20) - 1, 1 << 20):
        data[place] ^= 1
        (files / "a").write_bytes(data)
        assert (ran(), ran()) == (["a"], []), place


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        ("missing", True),
        ("unreadable", True),
        ("too_large", True),
        ("not_an_image", False),
        ("truncated", False),
        ("corrupt", False),
        ("unsupported", False),
    ],
)
def test_which_failures_are_tried_again(files: Path, path: Path, reason: str, again: bool) -> None:
    write(files, {"a": f"bad {reason}"})
    for expected in (True, again):
        run = Run(path, [batch_of(files, ["a"])])
        assert run.read == (["a"] if expected else [])
        assert run.failures == [Failure("a", reason, "a is bad")]
        assert run.reused == (not expected)


def test_a_missing_file_has_no_stamp_and_is_always_read(files: Path, path: Path) -> None:
    for _ in range(2):
        run = Run(path, [batch_of(files, ["gone", "null\0"])])
        assert run.read == ["gone", "null\0"]
    assert stored(path) == []


def test_failures_of_the_source_are_not_stored_and_keep_what_is_gone(files: Path, path: Path) -> None:
    write(files, {"a": "x", "b": "x"})
    Run(path, [batch_of(files, ["a", "b"])])
    broken = (Failure("folder", "unreadable", "cannot be listed"),)
    for batches in (
        [batch_of(files, ["a"], failures=broken)],
        [batch_of(files, []), batch_of(files, [], failures=broken), batch_of(files, ["a"])],
        [batch_of(files, ["a"]), batch_of(files, [], failures=broken)],
    ):
        run = Run(path, batches)
        assert run.failures == list(broken)
        assert (run.read, run.reused, run.removed) == ([], 1, 0)
        assert stored(path) == ["a", "b"]
    assert Run(path, [batch_of(files, ["a"])]).removed == 1
    assert stored(path) == ["a"]


@pytest.mark.parametrize("together", [True, False])
def test_two_images_of_one_name_in_one_run(files: Path, path: Path, together: bool) -> None:
    """Both count in every run, and neither is taken for the other."""
    write(files, {"a": "x", "b": "xx", "c": "xxx"})
    items = [str(files / "a"), str(files / "b"), str(files / "c")]
    batches = (
        [Batch(["twice", "twice", "once"], [""] * 3, items)]
        if together
        else [Batch([key], [""], [item]) for key, item in zip(["twice", "twice", "once"], items, strict=True)]
    )
    for number in range(3):
        run = Run(path, batches)
        totals = [total for outcome in run.outcomes for total in sums(outcome)]
        assert sorted(totals) == [1, 2, 3]
        assert run.read.count("once") == (number == 0)
        assert run.read.count("twice") >= 1, "one place at most"
        assert run.removed == 0


def test_a_name_that_becomes_two_is_read_again(files: Path, path: Path) -> None:
    """The entry serves the first that asks for it; the other is read and stored, and then loses its place."""
    write(files, {"a": "x", "b": "xx"})
    a, b = str(files / "a"), str(files / "b")
    Run(path, [Batch(["k"], [""], [a])])
    for items in ([a, b], [b, a], [a, b]):
        run = Run(path, [Batch(["k"], [""], [item]) for item in items])
        totals = [total for outcome in run.outcomes for total in sums(outcome)]
        assert sorted(totals) == [1, 2]


def test_two_members_of_one_name_in_one_container(files: Path, path: Path) -> None:
    """They have the same stamp: that of the file. One was stored before there were two."""
    write(files, {"c.tar": "container"})
    members = [Batch(["k"], [""], [data], container=str(files / "c.tar")) for data in (b"x", b"xx")]
    Run(path, members[:1])
    for _ in range(3):
        run = Run(path, members)
        assert sorted(total for outcome in run.outcomes for total in sums(outcome)) == [1, 2]


def test_two_images_of_one_name_that_are_done_in_another_order(files: Path, path: Path) -> None:
    write(files, {"c.tar": "container"})
    both = Batch(["k", "k"], ["", ""], [b"x", b"xx"], container=str(files / "c.tar"))
    with resumed(path) as checkpoint:
        (left,) = checkpoint._pending(iter([both]))
        checkpoint._record(measured(Batch(left.keys, left.groups, left.items[::-1])))
    run = Run(path, [both])
    assert sorted(total for outcome in run.outcomes for total in sums(outcome)) == [1, 2]


NAMES = ["plain", "ü 日本", "caf\udce9", "\ud800"]


def test_every_name_is_found_again(path: Path) -> None:
    batch = Batch(NAMES, ["g"] * 4, [bytes(i + 1) for i in range(4)])
    assert Run(path, [batch]).read == NAMES
    run = Run(path, [batch])
    assert (run.read, run.reused) == ([], 4)
    assert run.rows == {name: ("g", i + 1) for i, name in enumerate(NAMES)}
    assert sorted(stored(path)) == sorted(NAMES)


def test_what_an_image_in_memory_is_told_by(path: Path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    items: dict[str, Any] = {"bytes": b"abc", "view": memoryview(b"abcd"), "array": array}
    for _ in range(2):
        run = Run(path, [Batch(list(items), [""] * 3, list(items.values()))])
    assert run.read == []
    for key, item in [
        ("bytes", b"abd"),
        ("bytes", b"abdd"),
        ("view", memoryview(b"abce")),
        ("array", array + np.uint8(1)),
        ("array", array.reshape(4, 3, 1)),
        ("array", array.astype(np.uint16)),
        ("array", np.ascontiguousarray(array[::-1])),
    ]:
        copy = path.with_name("copy")
        copy.write_bytes(path.read_bytes())
        if key == "array" and item.dtype != np.uint8:
            batches = [Batch([key], [""], [item])]
        else:
            batches = [Batch([k], [""], [item if k == key else v]) for k, v in items.items()]
        assert Run(copy, batches).read == [key], (key, item)
    same = {"bytes": memoryview(b"abc"), "view": b"abcd", "array": np.asfortranarray(array)}
    assert Run(path, [Batch(list(same), [""] * 3, list(same.values()))]).read == []


def test_what_cannot_be_told_is_read_in_every_run(path: Path) -> None:
    batch = Batch(["a", "b"], ["", ""], [lambda limit: b"xyz", b"xyz"])
    assert Run(path, [batch]).read == ["a", "b"]
    assert stored(path) == ["b"]
    assert Run(path, [batch]).read == ["a"]


@pytest.mark.parametrize(("changed", "read"), [("mtime", ["bytes", "call"]), ("hash", ["call"])])
def test_members_of_a_container_are_told_by_its_file(files: Path, path: Path, changed: str, read: list[str]) -> None:
    """By mtime the file stands for all that is in it; by hash, bytes at hand stand for themselves."""
    write(files, {"c.tar": "container"})
    container = str(files / "c.tar")
    batch = Batch(["bytes", "call"], ["", ""], [b"abc", lambda limit: b"abcd"], container=container)
    assert Run(path, [batch], changed).read == ["bytes", "call"]
    assert Run(path, [batch, batch], changed).reused == 2
    (files / "c.tar").write_text("changed container")
    run = Run(path, [batch], changed)
    assert run.read == read
    assert Run(path, [batch], changed).read == []


def test_the_file_of_a_container_is_looked_at_once(files: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(files, {"c.tar": "container"})
    seen: list[str] = []
    real = Resumed._file_stamps
    monkeypatch.setattr(Resumed, "_file_stamps", lambda self, names: (seen.extend(names), real(self, names))[1])
    batches = [Batch([f"{i}"], [""], [b"abc"], container=str(files / "c.tar")) for i in range(5)]
    Run(path, batches)
    assert seen == [str(files / "c.tar")]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 18, 40])
@pytest.mark.parametrize("mixed", [False, True])
def test_batches_keep_their_order_and_none_is_lost(files: Path, path: Path, count: int, mixed: bool) -> None:
    write(files, {f"{i}": "x" for i in range(count)})
    batches: list[Batch] = [batch_of(files, [f"{i}"]) for i in range(count)]
    if mixed:
        batches[3::5] = [Batch([f"m{i}"], [""], [b"abc"]) for i in range(len(batches[3::5]))]
    expected = [batch.keys for batch in batches]
    for changed in ("mtime", "hash"):
        given: list[int] = []

        def source(given: list[int] = given) -> Iterator[Batch]:
            for number, batch in enumerate(batches):
                given.append(number)
                yield batch

        with resumed(path.with_name(changed), changed) as checkpoint:
            found = []
            for batch in checkpoint._pending(source()):
                found.append(batch.keys)
                assert len(given) - len(found) <= 16, "no more is taken ahead of what is worked on"
        assert found == expected


@pytest.mark.parametrize(("seconds", "at_once"), [(2e-6, 30), (5e-5, 30), (2e-4, 6), (1.0, 1)])
def test_files_are_looked_at_ahead_of_time_once_they_prove_slow(
    files: Path, path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, at_once: int
) -> None:
    """Seconds a file, with a clock that only looking moves: an eighth of each batch counts, more than 1e-4 is slow."""
    now, lookers = [0.0], []
    main = threading.current_thread()

    def look(self: Resumed, names: list[str]) -> list[tuple[int, int]]:
        now[0] += seconds * len(names)
        lookers.extend([threading.current_thread() is main] * len(names))
        return [(1, 1)] * len(names)

    monkeypatch.setattr("gpustats.checkpoint.resume.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(Resumed, "_file_stamps", look)
    with resumed(path) as checkpoint:
        list(checkpoint._pending(iter([batch_of(files, [f"{i}.{j}" for j in range(10)]) for i in range(30)])))
    assert lookers.count(True) == 10 * at_once
    assert all(lookers[: 10 * at_once])


def test_rows_are_stored_every_half_second(files: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves by a fifth of a second an image: after three it is more than half a second."""
    names = [f"{i}" for i in range(12)]
    write(files, dict.fromkeys(names, "x"))
    now, together = [100.0], []
    real = Journal.store

    def store(self: Journal, entries: list[Any], blocks: list[Block]) -> None:
        together.append(count(entries, blocks))
        real(self, entries, blocks)

    def tick() -> float:
        return now[0]

    monkeypatch.setattr("gpustats.checkpoint.resume.time.monotonic", tick)
    monkeypatch.setattr(Journal, "store", store)
    with resumed(path) as checkpoint:
        for _ in checkpoint.outcomes(iter([batch_of(files, [name]) for name in names])):
            now[0] += 0.2
    assert together == [3, 3, 3, 3]


def test_files_are_hashed_by_a_few_threads_that_end_with_the_run(
    files: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"{i}": "x" for i in range(60)}
    write(files, names)
    threads: set[threading.Thread] = set()
    real = Resumed._file_stamps

    def look(self: Resumed, names: list[str]) -> Any:
        threads.add(threading.current_thread())
        return real(self, names)

    monkeypatch.setattr(Resumed, "_file_stamps", look)
    with resumed(path, "hash") as checkpoint:
        list(checkpoint._pending(iter([batch_of(files, [name]) for name in names])))
        pool = checkpoint._pool
    assert len(threads) <= 8
    assert {thread.name.partition("_")[0] for thread in threads} == {"gpustats-stamp"}
    assert pool is not None
    pool.shutdown(wait=True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpustats-stamp")]


def test_groups_items_and_failures_stay_with_their_keys(files: Path, path: Path) -> None:
    write(files, {"a": "x", "b": "xx", "c": "xxx"})
    Run(path, [batch_of(files, ["b"])])
    broken = (Failure("f", "unreadable", ""),)
    with resumed(path) as checkpoint:
        (left,) = checkpoint._pending(iter([batch_of(files, ["a", "b", "c"], failures=broken)]))
    assert left == Batch(["a", "c"], ["group of a", "group of c"], [str(files / "a"), str(files / "c")], broken)


def test_rows_of_several_kinds_and_failures_come_back_from_one_batch(path: Path) -> None:
    """Stored by runs over other data of the same names: each kind is an outcome, failures come with the first."""
    arrays: list[Any] = [np.full((2, 2, 1), 3, np.uint8), np.full((2, 2, 3), 4, np.uint16), b"bad corrupt"]
    keys = ["grey", "deep", "bad"]
    Run(path, [Batch([key], ["g"], [item]) for key, item in zip(keys, arrays, strict=True)])
    run = Run(path, [Batch(keys, ["g"] * 3, arrays)])
    assert (run.read, run.reused) == ([], 3)
    assert run.rows == {"grey": ("g", 12), "deep": ("g", 16)}
    assert run.failures == [Failure("bad", "corrupt", "bad is bad")]
    only = Run(path, [Batch(["bad"], [""], arrays[2:])])
    assert (only.rows, len(only.failures), only.removed) == ({}, 1, 2)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_two_images_of_one_name_in_flight_are_not_stored(files: Path, path: Path, together: bool, order: int) -> None:
    """In one batch or in two, whichever is done first: the numbers of one could get the stamp of the other."""
    write(files, {"one": "x", "other": "xxx", "third": "xx"})
    paths = [str(files / name) for name in ("one", "third", "other")]
    keys = ["twice", "third", "twice"]
    batches = [Batch(keys, [""] * 3, paths)] if together else [
        Batch([key], [""], [item]) for key, item in zip(keys, paths, strict=True)
    ]  # fmt: skip
    with resumed(path) as checkpoint:
        for batch in list(checkpoint._pending(iter(batches)))[::order]:
            checkpoint._record(measured(batch))
    assert stored(path) == ["third"]


def test_images_without_a_stamp_among_others(files: Path, path: Path) -> None:
    """A function says nothing about what it reads, so its image is read by every run, and is no other's."""
    write(files, {"a": "x", "c": "xxx"})
    keys = ["call", "a", "b", "c"]
    items: list[Any] = [lambda limit: b"xxxxx", str(files / "a"), str(files / "b"), str(files / "c")]
    write(files, {"b": "xx"})
    batch = Batch(keys, [""] * 4, items)
    first = Run(path, [batch])
    again = Run(path, [batch])
    assert again.read == ["call"]
    assert again.rows == first.rows
    assert sorted(stored(path)) == ["a", "b", "c"]


def test_what_was_found_stored_comes_with_the_next_outcome_and_at_the_end(files: Path, path: Path) -> None:
    write(files, {"a": "x", "b": "xx"})
    Run(path, [batch_of(files, ["a", "b"])])
    engine = FakeEngine()
    with resumed(path, engine=engine) as around:
        outcomes = list(around.outcomes(iter([batch_of(files, ["a"]), batch_of(files, ["b"])])))
    assert engine.read == []
    assert sorted(key for outcome in outcomes for key in outcome.rows.keys) == ["a", "b"]


@pytest.mark.parametrize(
    ("together", "every", "expected"),
    [(2, 1e9, [0, 2, 2, 4]), (10**9, 1e9, [0, 0, 0, 0]), (10**9, -1.0, [1, 2, 3, 4]), (1, 1e9, [1, 2, 3, 4])],
)
def test_results_are_stored_on_the_way(
    files: Path, path: Path, monkeypatch: pytest.MonkeyPatch, together: int, every: float, expected: list[int]
) -> None:
    """When enough wait, or when it is time; the rest on the way out, an error or not."""
    monkeypatch.setattr("gpustats.checkpoint.resume._STORED_TOGETHER", together)
    monkeypatch.setattr("gpustats.checkpoint.resume._STORED_EVERY", every)
    sizes: list[int] = []
    real = Journal.store

    def store(self: Journal, entries: list[Any], blocks: list[Block]) -> None:
        sizes.append(count(entries, blocks))
        real(self, entries, blocks)

    monkeypatch.setattr(Journal, "store", store)
    names = ["a", "b", "c", "d", "e"]
    write(files, dict.fromkeys(names, "x") | {"b": "bad corrupt"})
    found = []

    def stopped() -> None:
        with resumed(path) as checkpoint:
            for batch in checkpoint._pending(iter([batch_of(files, [name]) for name in names])):
                if batch.keys == ["e"]:
                    raise KeyboardInterrupt
                checkpoint._record(measured(batch))
                found.append(sum(sizes))

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert found == expected
    assert stored(path) == names[:4]
    assert 0 not in sizes


_KILLED = """
import os, signal, sys
import numpy as np
import gpustats

done = 0
def progress(images):
    global done
    done += images
    if done >= 700:
        os.kill(os.getpid(), signal.SIGKILL)

images = [np.full((2, 3, 3), i % 256, np.uint8) for i in range(2000)]
gpustats.compute(images, checkpoint=sys.argv[1], workers=2, progress=progress, device="cpu")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_run_that_is_killed_keeps_what_it_had_read(path: Path) -> None:
    """Killed by itself once 700 images of 2,000 counted: no more than one transaction of them is missing."""
    done = subprocess.run([sys.executable, "-c", _KILLED, path], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    images = [np.full((2, 3, 3), i % 256, np.uint8) for i in range(2000)]
    resumed = gpustats.compute(images, checkpoint=path, progress=False, device="cpu")
    assert 700 - 256 <= resumed.runs[0]["checkpoint"]["images_reused"] < 2000
    assert resumed.totals == gpustats.compute(images, progress=False, device="cpu").totals


def test_what_a_checkpoint_remembers_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert describe("photos") == describe(tmp_path / "photos") == str(tmp_path / "photos")
    assert describe(b"photos") == "a bytes"
    assert describe([1]) == "a list"
    secret = describe("https://user:secret@host/photos/a.tar")
    assert secret.startswith("https://")
    assert "secret" not in secret
    assert describe("s3://bucket/a/../b") == "s3://bucket/a/../b"


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(encoded(photo(), "PNG"))
    (folder / os.fsdecode(b"\xfe.png")).write_bytes(b"no image")
    checkpoint = folder / os.fsdecode(b"run\xe9")
    first = gpustats.compute(folder, checkpoint=checkpoint, progress=False)
    again = gpustats.compute(folder, checkpoint=checkpoint, progress=False)
    assert again.totals == first.totals
    assert again.failures == first.failures
    assert again.runs[0]["checkpoint"] == {"images_reused": 2, "images_removed": 0}


def test_the_file_is_closed_and_free_after_an_error(files: Path, path: Path) -> None:
    write(files, {"a": "x"})

    def broken() -> Iterator[Batch]:
        yield batch_of(files, ["a"])
        raise RuntimeError("the source broke")

    def run() -> None:
        with resumed(path) as checkpoint:
            for batch in checkpoint._pending(broken()):
                checkpoint._record(measured(batch))

    for _ in range(2):
        with pytest.raises(RuntimeError, match="the source broke"):
            run()
    assert Run(path, [batch_of(files, ["a"])]).reused in (0, 1)
    with pytest.raises(DataError, match="belongs to another run"):
        Resumed(FakeEngine(), path, "other data", Definition(), {})
    assert Run(path, [batch_of(files, ["a"])]).reused == 1
