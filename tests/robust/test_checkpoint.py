"""Checkpoint and resume: the same bits as an uninterrupted run, whatever happened; clear words where that cannot be."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
import gpustats.checkpoint.resume
from gpustats.checkpoint.journal import Entry, Journal
from gpustats.checkpoint.resume import Resumed
from gpustats.definition import Definition
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.shared_batches import SharedBatch
from gpustats.sources import Batch
from gpustats.statistics.rows import Rows
from tests import badfiles
from tests import rows as row_tools
from tests.images import encoded, photo, write_photos
from tests.rows import raw_rows

pytestmark = pytest.mark.filterwarnings("ignore::gpustats.ImagesFailedWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 photographs and some bad files; may be changed."""
    folder = tmp_path / "photos"
    write_photos(folder, 60)
    for name in ("half.jpg", "text.jpg", "half.png", "empty.jpg"):
        (folder / "a" / name).write_bytes(badfiles.damaged()[name][0])
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all images that the engine is given."""
    keys: list[str] = []
    real = CpuEngine.measure

    def measure(self: CpuEngine, batch: SharedBatch, *others: Any) -> Any:
        told = len(batch.failures)  # by the source
        (outcome,), used = real(self, batch, *others)
        keys.extend([*outcome.rows.keys, *(failure.key for failure in outcome.failures[told:])])
        return [outcome], used

    monkeypatch.setattr(CpuEngine, "measure", measure)
    return keys


def same(a: gpustats.Stats, b: gpustats.Stats) -> bool:
    return a.totals == b.totals and a.failures == b.failures and a.skipped == b.skipped and a.complete == b.complete


def compute(folder: object, checkpoint: Path, **options: Any) -> gpustats.Stats:
    return gpustats.compute(folder, checkpoint=checkpoint, progress=False, **options)


@pytest.mark.parametrize(("quick", "in_threads"), [(10.0, False), (0.0, True)])
def test_files_are_looked_at_in_threads_where_that_is_slow(
    folder: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, quick: float, in_threads: bool
) -> None:
    monkeypatch.setattr("gpustats.checkpoint.resume._QUICK", quick)
    lookers = set()
    real = gpustats.checkpoint.resume.Resumed._file_stamps

    def looked_at(self: Any, paths: list[str]) -> Any:
        lookers.add(threading.current_thread().name.startswith("gpustats-stamp"))
        return real(self, paths)

    monkeypatch.setattr("gpustats.checkpoint.resume.Resumed._file_stamps", looked_at)
    first = compute(folder, tmp_path / "run.gpustats")
    assert lookers == {in_threads}
    decoded.clear()
    assert same(compute(folder, tmp_path / "run.gpustats"), first)
    assert decoded == []


def test_the_second_run_reads_nothing(folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    expected = gpustats.compute(folder, progress=False)
    checkpoint = tmp_path / "run.gpustats"
    assert same(compute(folder, checkpoint), expected)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["run.gpustats"], "one file is left"
    decoded.clear()
    again = compute(folder, checkpoint)
    assert same(again, expected)
    assert decoded == []
    assert again.runs[0]["checkpoint"] == {"images_reused": 64, "images_removed": 0}


@pytest.mark.parametrize("changed", ["mtime", "hash"])
def test_only_what_changed_is_read(folder: Path, tmp_path: Path, decoded: list[str], changed: str) -> None:
    checkpoint = tmp_path / "run.gpustats"
    compute(folder, checkpoint, changed=changed)
    (folder / "a" / "0001.jpg").write_bytes(encoded(photo(33, 44, seed=99)))
    (folder / "a" / "half.jpg").write_bytes(encoded(photo(9, 8, seed=98)))
    (folder / "c").mkdir()
    (folder / "c" / "new.jpg").write_bytes(encoded(photo(12, 13, seed=97)))
    (folder / "b" / "0002.jpg").unlink()
    (folder / "a" / "text.jpg").unlink()
    expected = gpustats.compute(folder, progress=False)
    decoded.clear()
    again = compute(folder, checkpoint, changed=changed)
    assert same(again, expected)
    assert sorted(decoded) == ["a/0001.jpg", "a/half.jpg", "c/new.jpg"]
    assert again.runs[0]["checkpoint"]["images_removed"] == 2
    decoded.clear()
    assert same(compute(folder, checkpoint, changed=changed), expected)
    assert decoded == []


def packed(folder: Path, target: Path) -> None:
    """Pack the images of a folder by the ending of `target`."""
    files = sorted(path for path in folder.iterdir() if path.suffix == ".jpg")
    if target.suffix == ".tar":
        with tarfile.open(target, "w") as archive:
            for path in files:
                archive.add(path, path.name)
    else:
        with zipfile.ZipFile(target, "w") as archive:
            for path in files:
                archive.write(path, path.name)


@pytest.mark.parametrize("ending", ["tar", "zip"])
@pytest.mark.parametrize("changed", ["mtime", "hash"])
def test_shards_are_told_by_their_files_or_their_content(
    folder: Path, tmp_path: Path, decoded: list[str], ending: str, changed: str
) -> None:
    shards, checkpoint = tmp_path / "shards", tmp_path / "run.gpustats"
    shards.mkdir()
    for name in "ab":
        packed(folder / name, shards / f"{name}.{ending}")
    for name in "ab":
        os.utime(shards / f"{name}.{ending}", ns=(10**18, 10**18))
    expected = compute(shards, checkpoint, changed=changed)
    decoded.clear()
    assert same(compute(shards, checkpoint, changed=changed), expected)
    assert decoded == [], "a whole run reads nothing twice"
    os.utime(shards / f"a.{ending}")
    assert same(compute(shards, checkpoint, changed=changed), expected)
    read = {"mtime": {f"a.{ending}"}, "hash": set()}[changed]
    assert {key.partition("/")[0] for key in decoded} == read
    changed_image = folder / "b" / sorted(os.listdir(folder / "b"))[0]
    changed_image.write_bytes(encoded(photo(33, 44, seed=99)))
    packed(folder / "b", shards / f"b.{ending}")
    decoded.clear()
    again = compute(shards, checkpoint, changed=changed)
    assert again.totals == gpustats.compute(shards, progress=False).totals
    assert f"b.{ending}/{changed_image.name}" in decoded


@pytest.mark.parametrize("first", ["whole", "cut"])
@pytest.mark.parametrize("between", [0, 40, 100])
def test_members_of_one_name_are_not_taken_for_each_other(tmp_path: Path, first: str, between: int) -> None:
    """Whether both were stored or the run ended between them, and whether they are in one batch or in two."""
    images = [encoded(photo(seed=i)) for i in range(3)]
    others = [(f"once{i}", images[1]) for i in range(between)]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in [("twice", images[0]), ("bad", b""), *others, ("twice", images[2])]:
            info = tarfile.TarInfo(f"{name}.jpg")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    expected = gpustats.compute(tmp_path / "a.tar", progress=False)
    assert expected.n_images == between + 2
    checkpoint = tmp_path / "run.gpustats"
    if first == "cut":
        with pytest.raises(gpustats.DataError, match="bad"):
            compute(tmp_path / "a.tar", checkpoint, on_error="raise")
        with closing(sqlite3.connect(checkpoint)) as database:
            database.execute("DELETE FROM images WHERE id > 2")
            database.commit()
    for _ in range(3):
        assert compute(tmp_path / "a.tar", checkpoint).totals == expected.totals


def test_by_content_a_touched_file_is_not_read_and_a_forged_one_is(
    folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    checkpoint = tmp_path / "run.gpustats"
    touched, forged = folder / "a" / "0001.jpg", folder / "b" / "0002.jpg"
    padded = forged.read_bytes() + b"1"
    forged.write_bytes(padded)
    os.utime(forged, ns=(10**18, 10**18))
    compute(folder, checkpoint, changed="hash")
    os.utime(touched)
    forged.write_bytes(padded[:-1] + b"2")
    os.utime(forged, ns=(10**18, 10**18))  # the same size and time
    decoded.clear()
    compute(folder, checkpoint, changed="hash")
    assert decoded == ["b/0002.jpg"]


def test_failures_of_the_moment_are_tried_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = gpustats.compute(folder, progress=False)
    real = os.open

    def failing(path: Any, *others: Any, **more: Any) -> int:
        if str(path).endswith("7.jpg"):
            raise OSError(5, "Input/output error")
        return real(path, *others, **more)

    checkpoint = tmp_path / "run.gpustats"
    with monkeypatch.context() as patch:
        patch.setattr("os.open", failing)
        assert compute(folder, checkpoint).failures.counts["unreadable"] == 6
    assert same(compute(folder, checkpoint), expected)


def test_a_folder_that_cannot_be_listed_is_not_forgotten(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    expected = gpustats.compute(folder, progress=False)
    checkpoint = tmp_path / "run.gpustats"
    compute(folder, checkpoint)
    real = os.scandir

    def failing(path: Any) -> Any:
        if str(path).rstrip("/").endswith("b"):
            raise OSError(5, "Input/output error")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", failing)
        assert compute(folder, checkpoint).n_images == 30
    decoded.clear()
    assert same(compute(folder, checkpoint), expected)
    assert decoded == []


def test_images_without_files_are_told_by_their_content_or_read_again(tmp_path: Path) -> None:
    def left(items: list[Any]) -> list[str]:
        engine = CpuEngine(workers=1, max_pixels=10**6, memory=1 << 28)
        keys = [str(i) for i in range(len(items))]
        with Resumed(engine, tmp_path / "run.gpustats", items, Definition(), {}) as around:
            list(around.outcomes(iter([Batch(keys, [""] * len(items), items)])))
            reused = around.report()["checkpoint"]["images_reused"]
        return keys[reused:] if reused < 2 else keys[-1:]

    items: list[Any] = [encoded(photo(seed=0)), encoded(photo(seed=1)), lambda *_: encoded(photo(seed=2))]
    assert left(items) == ["0", "1", "2"]
    items[1] = encoded(photo(seed=3))
    assert left(items) == ["1", "2"]


def test_isolated_and_threaded_runs_share_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    expected = compute(folder, tmp_path / "run.gpustats", isolate=True)
    assert same(compute(folder, tmp_path / "run.gpustats", workers=1), expected)


def test_other_data_options_and_versions_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "run.gpustats"
    expected = compute(folder, checkpoint)
    refused = r"run\.gpustats: this checkpoint belongs to another run: "
    with pytest.raises(gpustats.DataError, match=refused + r"data was .*photos, now .*a\. Give the same data"):
        compute(folder / "a", checkpoint)
    with pytest.raises(gpustats.DataError, match=refused + r"max_pixels was 512000000, now 7"):
        compute(folder, checkpoint, max_pixels=7)
    with pytest.raises(gpustats.DataError, match=refused + r"changed was mtime, now hash"):
        compute(folder, checkpoint, changed="hash")
    with monkeypatch.context() as patch:
        patch.setattr("gpustats.checkpoint.resume.__version__", "9.9")
        with pytest.raises(gpustats.DataError, match=refused + r"gpustats was [0-9.]+, now 9\.9"):
            compute(folder, checkpoint)
    assert same(compute(folder, checkpoint), expected), "a refusal changes nothing"


def test_what_is_no_checkpoint_is_refused_and_left_alone(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("my notes, which took me years\n" * 200)
    before = text.read_bytes()
    with pytest.raises(gpustats.DataError, match=r"notes\.txt: not a gpustats checkpoint; give another file"):
        compute(folder, text)
    assert text.read_bytes() == before
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE images (mine)")
    with pytest.raises(gpustats.DataError, match=r"other\.db: not a gpustats checkpoint"):
        compute(folder, other)


def test_a_damaged_checkpoint_is_named(folder: Path, tmp_path: Path) -> None:
    """Rows that SQLite can read but that are no rows, and a file that it cannot read; neither is changed."""
    checkpoint = tmp_path / "run.gpustats"
    compute(folder, checkpoint)
    whole = checkpoint.read_bytes()
    with closing(sqlite3.connect(checkpoint)) as database:
        database.execute("UPDATE images SET row = substr(row, 2) WHERE key = ?", (b"a/0001.jpg",))
        database.commit()
    with pytest.raises(gpustats.DataError, match=r"stored rows are damaged: "):
        compute(folder, checkpoint)
    checkpoint.write_bytes(whole[:4096] + random.Random(0).randbytes(len(whole) - 4096))
    before = checkpoint.read_bytes()
    with pytest.raises(gpustats.DataError) as caught:
        compute(folder, checkpoint)
    assert str(caught.value) == f"{checkpoint}: the checkpoint is damaged; delete it to start anew"
    assert checkpoint.read_bytes() == before


def test_no_such_folder_for_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(gpustats.DataError, match=r"the checkpoint cannot be opened: unable to .*no such folder"):
        compute(folder, tmp_path / "nowhere" / "run")
    with pytest.raises(gpustats.DataError, match=r"the checkpoint cannot be opened"):
        compute(folder, tmp_path)  # a folder


@pytest.mark.skipif(sys.platform != "linux", reason="a file that root cannot write either: /proc")
def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    with pytest.raises(gpustats.DataError, match=r"the checkpoint cannot be opened: unable to open database file"):
        compute(folder, Path("/proc/run.gpustats"))


def test_two_runs_on_one_checkpoint(folder: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.gpustats"
    compute(folder, checkpoint)
    script = (
        "import sys, gpustats\n"
        "try: gpustats.compute(sys.argv[1], checkpoint=sys.argv[2], progress=False)\n"
        "except gpustats.DataError as error: print(error)\n"
    )
    refused: list[str] = []

    def progress(images: int) -> None:
        if not refused:
            done = subprocess.run(
                [sys.executable, "-c", script, folder, checkpoint], capture_output=True, text=True, check=True
            )
            refused.append(done.stdout)
            with pytest.raises(gpustats.DataError, match=r"in use by another run"):
                compute(folder, checkpoint)

    gpustats.compute(folder, checkpoint=checkpoint, progress=progress)
    assert refused == [f"{checkpoint}: the checkpoint is in use by another run; wait for it or give another file\n"]
    assert compute(folder, checkpoint).n_images == 60


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_a_full_disk(folder: Path, tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys, gpustats, gpustats.checkpoint.resume\n"
        "from gpustats.engines import cpu\n"
        "gpustats.checkpoint.resume._STORED_TOGETHER = 5\n"
        "cpu._TELL = 0.0\n"  # an image a call: many transactions, however fast the machine
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "try: gpustats.compute(sys.argv[1], checkpoint=sys.argv[2], progress=False)\n"
        "except gpustats.DataError as error: print(error)\n"
    )
    checkpoint = tmp_path / "run.gpustats"
    done = subprocess.run([sys.executable, "-c", script, folder, checkpoint], capture_output=True, text=True)
    assert f"{checkpoint}: the checkpoint cannot be written: " in done.stdout, done.stderr
    assert "what was stored before is kept" in done.stdout
    resumed = compute(folder, checkpoint)
    assert same(resumed, gpustats.compute(folder, progress=False))
    assert resumed.runs[0]["checkpoint"]["images_reused"] > 0


_SLOW = """
import sys, time
import gpustats, gpustats.checkpoint.resume
from gpustats.engines import cpu
gpustats.checkpoint.resume._STORED_TOGETHER = 20
cpu._TELL = 0.0  # an image a call
real = cpu.CpuEngine.measure
def measure(self, *others):
    time.sleep(0.01)
    (outcome,), used = real(self, *others)
    with open(sys.argv[3], "a") as log:
        log.writelines(key + "\\n" for key in [*outcome.rows.keys, *(f.key for f in outcome.failures)])
    return [outcome], used
cpu.CpuEngine.measure = measure
gpustats.compute(sys.argv[1], checkpoint=sys.argv[2], workers=2, progress=lambda images: print("done", flush=True))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_again_and_again(tmp_path: Path) -> None:
    folder, checkpoint, log = tmp_path / "photos", tmp_path / "run.gpustats", tmp_path / "log"
    write_photos(folder, 150)
    (folder / "a" / "half.jpg").write_bytes(badfiles.damaged()["half.jpg"][0])
    expected = gpustats.compute(folder, progress=False)
    dice = random.Random(5)
    for _ in range(5):
        command = [sys.executable, "-W", "ignore", "-c", _SLOW, str(folder), str(checkpoint), str(log)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(dice.randrange(20, 30)):  # images that count
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
    with closing(sqlite3.connect(checkpoint)) as database:
        stored = database.execute("SELECT count(*), count(DISTINCT key) FROM images").fetchone()
    assert 20 <= stored[0] == stored[1] <= 151
    resumed = compute(folder, checkpoint)
    assert same(resumed, expected)
    read = log.read_text().splitlines()
    assert len(read) < 2 * 151, "what was stored is not read again"


def test_a_full_store_keeps_forms_apart(tmp_path: Path) -> None:
    """Rows of other kinds (16-bit, one channel) come back as they were."""
    rows = raw_rows(
        "uint16",
        [3, 4],
        [3, 4],
        keys=["x", "y"],
        groups=["", "g"],
        sum=np.array([[1], [2**63]], np.uint64),
        sumsq=np.array([[1], [2**63]], np.uint64),
        min=np.array([[0], [65535]], np.uint16),
        max=np.array([[0], [65535]], np.uint16),
    )
    form, blobs = row_tools.packed(rows)
    with_journal = Journal(tmp_path / "j", {"a": "b"})
    with_journal.store(
        [Entry(key.encode(), 1, 2, form, blob, None, None) for key, blob in zip("xy", blobs, strict=True)]
    )
    with_journal.close()
    again = Journal(tmp_path / "j", {"a": "b"})
    entries = {entry.key: entry for _, entry in again.find([b"y", b"x", b"z"])}
    again.close()
    back = Rows.unpack(form, ["x", "y"], ["", "g"], [entries[b"x"].row or b"", entries[b"y"].row or b""])
    assert back.kind == rows.kind
    assert (back.height == rows.height).all()
    assert (back.width == rows.width).all()
    for name, column in rows.columns.items():
        assert back.columns[name].dtype == column.dtype
        assert (back.columns[name] == column).all()
    with pytest.raises(gpustats.DataError, match=r"stored rows are damaged"):
        Rows.unpack(form, ["x"], [""], [blobs[0][:-1]])


def test_a_key_stored_twice_by_one_run_loses_its_stamp(tmp_path: Path) -> None:
    def stored(stamp: int) -> int | bytes | None:
        journal = Journal(tmp_path / "j", {})
        for _ in range(stamp):
            journal.store([Entry(b"x", 1, stamp, None, None, "corrupt", "")])
        ((_, entry),) = journal.find([b"x"])
        journal.close()
        return entry.stamp

    assert stored(1) == 1
    assert stored(1) == 1, "by the next run: the image has changed"
    (tmp_path / "j").unlink()
    assert stored(2) is None


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
