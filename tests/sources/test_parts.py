"""A source of several parts: one that is damaged is one failure, whichever way the parts are named."""

from __future__ import annotations

import itertools
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats.sources import Batch, Source, open_source
from gpustats.sources.base import Entry, Part
from gpustats.sources.reader import Reader
from tests.images import encoded, photo
from tests.sources.packing import need

pytestmark = pytest.mark.filterwarnings("ignore::gpustats.ImagesFailedWarning")

IMAGES = [encoded(photo(8 + i, 9, seed=i)) for i in range(5)]


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for i, image in enumerate(IMAGES):
            loose = path.parent / f"{i}"
            loose.write_bytes(image)
            archive.add(loose, f"{i}.jpg")
            loose.unlink()


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for i, image in enumerate(IMAGES):
            archive.writestr(f"{i}.jpg", image)


def parquet(path: Path) -> None:
    pyarrow = need("pyarrow")
    need("pyarrow.parquet").write_table(pyarrow.table({"image": IMAGES}), path)


def npy(path: Path) -> None:
    np.save(path, np.zeros((5, 6, 7, 3), np.uint8))


def h5(path: Path) -> None:
    with need("h5py").File(path, "w") as file:
        file["images"] = np.zeros((5, 6, 7, 3), np.uint8)


WRITERS: dict[str, Callable[[Path], None]] = {"tar": tar, "zip": zipped, "parquet": parquet, "npy": npy, "h5": h5}
WAYS: dict[str, Callable[[Path, str], Any]] = {
    "folder": lambda folder, kind: folder,
    "glob": lambda folder, kind: f"{folder}/*.{kind}",
    "braces": lambda folder, kind: f"{folder}/{{a,b,c}}.{kind}",
    "list": lambda folder, kind: [folder / f"{name}.{kind}" for name in "abc"],
    "glob in a list": lambda folder, kind: [f"{folder}/*.{kind}"],
    "remote folder": lambda folder, kind: remote(folder, "memory://mixed"),
    "remote braces": lambda folder, kind: f"{remote(folder, 'memory://mixed')}/{{a,b,c}}.{kind}",
}


def remote(folder: Path, url: str) -> str:
    system = need("fsspec").filesystem("memory")
    if system.exists("/mixed"):
        system.rm("/mixed", recursive=True)
    system.put(str(folder) + "/", "/mixed/", recursive=True)
    return url


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, device="cpu", progress=False, **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("damaged", ["a", "b"])
def test_a_damaged_part_is_one_failure(kind: str, way: str, damaged: str, tmp_path: Path) -> None:
    for name in "abc":
        if name == damaged:
            (tmp_path / f"{name}.{kind}").write_bytes(b"damaged" * 99)
        else:
            WRITERS[kind](tmp_path / f"{name}.{kind}")
    stats = compute(WAYS[way](tmp_path, kind), workers=2)
    assert (stats.n_images, len(stats.failures)) == (10, 1)
    assert next(iter(stats.failures)).key.endswith(f"{damaged}.{kind}")


def test_options_are_checked_where_the_first_part_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"damaged" * 99)
    h5(tmp_path / "b.h5")
    for data in (f"{tmp_path}/*.h5", f"{tmp_path}/{{a,b}}.h5", tmp_path, [f"{tmp_path}/{name}.h5" for name in "ab"]):
        stats = compute(data, layout="NHWC")
        assert (stats.n_images, len(stats.failures)) == (5, 1)


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("no"), RuntimeError("no")], ids=repr)
def test_an_error_in_the_middle_of_a_part(error: Exception, tmp_path: Path) -> None:
    def images() -> Iterator[Any]:
        yield np.zeros((6, 5, 3), np.uint8)
        yield np.zeros((6, 5, 3), np.uint8)
        raise error

    tar(tmp_path / "a.tar")
    stats = compute([images(), tmp_path / "a.tar"])
    assert (stats.n_images, [failure.key for failure in stats.failures]) == (7, ["0"])
    assert f"raised {type(error).__name__} after 2 images" in next(iter(stats.failures)).message


@pytest.mark.parametrize("way", WAYS)
def test_parts_travel(way: str, tmp_path: Path) -> None:
    for name in "abc":
        tar(tmp_path / f"{name}.tar")
    source = open_source(WAYS[way](tmp_path, "tar"))
    parts = [part for part in source.parts() if isinstance(part, Part)]
    copies = pickle.loads(pickle.dumps(parts))  # noqa: S301 - our own
    found = [sample[0] for part in copies for sample in part.open(*part.args).samples() if isinstance(sample, tuple)]
    assert found == [sample[0] for sample in source.samples() if isinstance(sample, tuple)]
    assert len(found) == 15


def test_one_thread_reads_parts_in_order_and_several_read_the_same(tmp_path: Path) -> None:
    for name in "abcdefgh":
        tar(tmp_path / f"{name}.tar")
    (tmp_path / "e.tar").write_bytes(b"damaged" * 99)
    data = [str(tmp_path / "a.tar"), str(tmp_path), f"{tmp_path}/*.tar", str(tmp_path / "gone.tar")]
    expected = [(batch.keys, batch.failures) for batch in open_source(data).batches()]
    source = open_source(data)
    assert [(batch.keys, batch.failures) for batch in Reader(source)] == expected
    found: list[Batch] = []
    reader = Reader(open_source(data))
    threads = [threading.Thread(target=lambda: found.extend(reader)) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((batch.keys, batch.failures) for batch in found) == sorted(expected)


class Meeting(Source):
    """Eight parts, each of which can be read only while three others are."""

    def __init__(self, counts: list[int], meeting: threading.Barrier, number: int | None = None) -> None:
        super().__init__("meeting")
        self.counts, self.meeting, self.number = counts, meeting, number

    def parts(self) -> Iterator[Entry]:
        if self.number is None:
            for number in range(8):
                yield Part(str(number), Meeting, (self.counts, self.meeting, number))
            return
        self.counts.append(1)
        self.meeting.wait()
        yield str(self.number), "", b""
        self.meeting.wait()
        self.counts.append(-1)


def test_four_parts_are_read_side_by_side() -> None:
    meeting = threading.Barrier(4, timeout=30)
    counts: list[int] = []
    found: list[Batch] = []
    reader = Reader(Meeting(counts, meeting))
    threads = [threading.Thread(target=lambda: found.extend(reader)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(batch.keys[0] for batch in found) == list("01234567")
    assert max(itertools.accumulate(counts)) == 4


def test_what_parts_pass_over_is_counted_once(tmp_path: Path) -> None:
    for name in "abc":
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("x.jpg", IMAGES[0])
            archive.writestr("x.txt", b"")
            archive.writestr(".h.jpg", b"")
    (tmp_path / "labels.csv").write_text("")
    for data, others in ((tmp_path, 4), ([tmp_path], 4), (f"{tmp_path}/*.zip", 3)):
        stats = compute(data, workers=3)
        assert (stats.n_images, stats.skipped) == (3, {"non_image": others, "hidden": 3})


def test_the_users_objects_are_no_parts(tmp_path: Path) -> None:
    """What is a part may be read while another is: objects of the user's may not be made for that."""
    tar(tmp_path / "a.tar")
    images = [np.zeros((6, 5, 3), np.uint8)]
    data = [iter(images), str(tmp_path / "a.tar"), images, images[0]]
    entries = list(open_source(data).parts())
    assert [entry.key for entry in entries if isinstance(entry, Part)] == [f"{tmp_path.as_posix()}/a.tar"]
    assert [entry[0] for entry in entries if isinstance(entry, tuple)] == ["0/0", "2/0", "3/0"]


@pytest.mark.parametrize("close_first", [True, False])
def test_a_reader_that_is_closed(close_first: bool, tmp_path: Path) -> None:
    for name in "abc":
        tar(tmp_path / f"{name}.tar")
    reader = Reader(open_source(tmp_path))
    if not close_first:
        assert len(next(reader)) == 5
    reader.close()
    assert list(reader) == []


def test_an_error_of_the_whole_is_raised_in_the_thread_that_meets_it() -> None:
    def images() -> Iterator[Any]:
        yield np.zeros((6, 5, 3), np.uint8)
        raise RuntimeError("no")

    with pytest.raises(gpustats.DataError, match="raised RuntimeError after 1 images"):
        compute(images(), workers=3)
