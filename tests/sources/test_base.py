"""What all sources share: batches, names of members, how an item becomes bytes, which file is what."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpustats import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources import load, open_source
from gpustats.sources.base import Within, batched
from gpustats.sources.items import check_bytes
from gpustats.sources.kinds import kind_of, member_kind, suffix
from tests.sources.packing import contents

MIB = 1 << 20


def sizes(samples: list[Any], **options: Any) -> list[tuple[int, int]]:
    return [(len(batch), len(batch.failures)) for batch in batched(samples, **options)]


def test_batches_are_full() -> None:
    one = ("k", "", b"")
    assert sizes([one] * 63) == [(63, 0)]
    assert sizes([one] * 64) == [(64, 0)]
    assert sizes([one] * 65) == [(64, 0), (1, 0)]
    assert sizes([Failure("f", "missing", "")] * 65) == [(0, 64), (0, 1)]
    assert sizes([one, Failure("f", "missing", "")] * 3, size=4) == [(2, 2), (1, 1)]


def test_a_batch_holds_bytes_up_to_a_limit() -> None:
    def of(size: int) -> tuple[str, str, Any]:
        return ("k", "", bytes(size))

    assert sizes([of(2 * MIB)] * 2 + [of(0)]) == [(3, 0)], "exactly 4 MiB"
    assert sizes([of(2 * MIB), of(2 * MIB + 1), of(0)]) == [(2, 0), (1, 0)]
    assert sizes([("k", "", memoryview(bytes(5 * MIB)))] * 2) == [(1, 0), (1, 0)]
    assert sizes([("k", "", np.zeros(5 * MIB, np.uint8))] * 2) == [(2, 0)], "pixels are views"
    # What a batch held does not count for the next.
    assert sizes([of(3 * MIB), of(3 * MIB), of(3 * MIB), of(1)]) == [(2, 0), (2, 0)]
    assert sizes([of(3 * MIB), Within("a"), of(3 * MIB), of(1)]) == [(1, 0), (2, 0)]


def test_a_batch_ends_with_its_container() -> None:
    failure, one = Failure("f", "missing", ""), ("k", "g", b"")
    said = [Within("a"), failure, Within("b"), Within("c"), one, Within(None), Within(None), failure]
    found = [(b.container, b.keys, b.groups, b.items, b.failures) for b in batched(said)]
    assert found == [("a", [], [], [], (failure,)), ("c", ["k"], ["g"], [b""], ()), (None, [], [], [], (failure,))]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image"),
        ("./a.jpg", "image"),
        ("a/b/c.JPEG", "image"),
        ("a..b/..c..d.jpg", "hidden"),
        ("a..b/c..d.jpg", "image"),
        ("a.jpg/notes", "non_image"),
        ("jpg", "non_image"),
        ("a.cls", "non_image"),
        (".jpg", "hidden"),
        ("a/.b/c.jpg", "hidden"),
        ("./.a.jpg", "hidden"),
        ("__MACOSX/a.jpg", "hidden"),
        ("a/__MACOSX/b.jpg", "image"),
        ("a\\.b.jpg", "hidden"),
        ("/a.jpg", "outside"),
        ("\\a.jpg", "outside"),
        ("../a.jpg", "outside"),
        ("a/../b.jpg", "outside"),
        ("a\\..\\b.jpg", "outside"),
        ("..", "outside"),
        ("C:/a.jpg", "outside"),
        ("c:a.jpg", "outside"),
        ("ab:c.jpg", "image"),
        ("日本.jpg", "image"),
    ],
)
def test_kinds_of_members(name: str, kind: str) -> None:
    assert member_kind(name) == kind


def test_endings() -> None:
    assert [suffix(name) for name in ("a.JPG", "a.tar.gz", "a", ".jpg", "a.", "")] == [".jpg", ".gz", "", "", ".", ""]


def test_how_an_item_becomes_bytes(tmp_path: Path) -> None:
    asked: list[int] = []
    path = tmp_path / "é.jpg"
    path.write_bytes(b"12345")
    pixels = np.zeros((2, 2), np.uint8)
    items: list[Any] = [str(path), b"123", memoryview(b"1234"), lambda limit: b"%d" % limit, lambda limit: pixels]
    found = [load(item, 100, asked.append) for item in [*items, pixels]]
    assert found[:4] == [b"12345", b"123", b"1234", b"100"]
    assert found[4] is pixels
    assert found[5] is pixels
    assert asked == [5, 4, 3, 0], "bytes that are held already ask for nothing"
    assert isinstance(found[2], bytes)
    assert load(str(path), 5) == b"12345"
    with pytest.raises(ImageError, match="the file has 5 bytes, more than the limit of 4"):
        load(str(path), 4)
    check_bytes(5, 5)
    with pytest.raises(ImageError, match="the image has 5 bytes, more than the limit of 4"):
        check_bytes(5, 4)


@pytest.mark.parametrize("reads", [[b"12", b"345", b""], [b"12345"], [b"1", b""], [b"123456", b"7", b""], [b""]])
def test_a_file_whose_size_changes(reads: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    rest = [*reads, b""]
    monkeypatch.setattr(os, "read", lambda descriptor, size: rest.pop(0))
    assert load(str(path), 100) == b"".join(reads)


def test_a_file_that_grows_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    monkeypatch.setattr(os, "read", lambda descriptor, size: bytes(60))
    assert len(load(str(path), 100)) == 120


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (MemoryError(), "too_large", "not enough memory to read the file"),
        (PermissionError(errno.EACCES, "Permission denied"), "unreadable", "Permission denied"),
        (OSError("odd"), "unreadable", "odd"),
        (FileNotFoundError(2, "x"), "missing", "no such file"),
    ],
)
def test_errors_of_reading(
    error: Exception, reason: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")

    def fails(*_: Any) -> bytes:
        raise error

    closed: list[int] = []
    close = os.close
    monkeypatch.setattr(os, "read", fails)
    monkeypatch.setattr(os, "close", lambda descriptor: (closed.append(descriptor), close(descriptor)))
    with pytest.raises(ImageError) as caught:
        load(str(path), 100)
    assert (caught.value.reason, str(caught.value)) == (reason, message)
    assert len(closed) == 1


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (ImageError("truncated", "cut"), "truncated", "cut"),
        (FileNotFoundError(2, "x"), "missing", "no such file"),
        (MemoryError(), "too_large", "not enough memory to read on in this file"),
        (OSError(5, "Input/output error"), "unreadable", "Input/output error"),
        (OSError("odd"), "unreadable", "odd"),
        (DataError("no axes"), "unsupported", "no axes"),
        (ValueError("x"), "corrupt", "the file cannot be read: ValueError: x"),
        (ZeroDivisionError("x"), "corrupt", "the file cannot be read: ZeroDivisionError: x"),
        (IndexError("x"), "corrupt", "the file cannot be read: IndexError: x"),
        (struct.error("x"), "corrupt", "the file cannot be read: error: x"),
    ],
)
def test_an_error_in_a_container_costs_the_rest_of_it(
    error: Exception, reason: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def members(self: Any) -> Any:
        yield "k", "g", b"before"
        raise error

    monkeypatch.setattr("gpustats.sources.arrays.idx.IdxSource.members", members)
    (tmp_path / "a.idx").write_bytes(b"")
    found = contents(tmp_path / "a.idx")
    assert found == ([("k", "g", b"before")], [("a.idx", reason)], [message], {})
    samples = list(open_source(tmp_path / "a.idx").samples())
    assert (samples[0], samples[-1]) == (Within(str(tmp_path / "a.idx")), Within(None))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("tar", ["a.tar", "A.TAR", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tbz2", "a.tar.xz", "a.txz"]),
        ("zip", ["a.zip"]),
        ("parquet", ["a.parquet", "a.pq"]),
        ("tfrecord", ["a.tfrecord", "a.tfrecords", "a.tfrec", "a.record", "a.tfrecord.gz", "a.tfrecords.gz"]),
        ("tfrecord", ["train-00000-of-01024", "a.tfrecord-00000-of-00004", "a.record-00000-of-00004"]),
        ("numpy", ["a.npy", "a.npz"]),
        ("hdf5", ["a.h5", "a.hdf5", "a.he5"]),
        ("lmdb", ["a.mdb", "a.lmdb"]),
        ("manifest", ["a.csv", "a.tsv", "a.jsonl", "a.ndjson", "a.json"]),
        ("list", ["a.txt", "a.lst", "a.list"]),
        ("idx", ["a-ubyte", "a-ubyte.gz", "a.idx", "a.idx.gz", "a.idx3-ubyte"]),
        (None, ["a.jpg", "a", "tar", "train-0-of-3", "train-00000-of-01024.x", "a.gz", "train"]),
    ],
)
def test_which_file_is_what(kind: str | None, names: list[str]) -> None:
    for name in names:
        assert kind_of(name) == kind, name


def test_files_whose_names_say_nothing(tmp_path: Path) -> None:
    image = b"\0\0\x08\x02" + struct.pack(">2I", 2, 2) + b"1234"
    for name in ("digits", "digits.bin", "a.b.gz"):
        (tmp_path / name).write_bytes(image)
        assert contents(tmp_path / name).images == [(f"{name}/0", "", [[49, 50], [51, 52]])]
    for head in (b"\0\0\x08\0", b"\0\0\x08\5", b"\0\0\x09\2", b"\0\1\x08\2", b"\0\0\x08", b"", b"\x80\x02"):
        (tmp_path / "digits").write_bytes(head)
        assert contents(tmp_path / "digits").images == [("digits", "", head)], "taken for an image"
    for name, cifar in [("data_batch_1", True), ("test_batch", True), ("train", True), ("test", True), ("x", False)]:
        (tmp_path / name).write_bytes(b"\x80\x02N.")
        found = contents(tmp_path / name)
        assert bool(found.failures) is cifar, name


def test_published_folders(tmp_path: Path) -> None:
    image = b"\0\0\x08\x02" + struct.pack(">2I", 1, 1)
    mnist = tmp_path / "mnist"
    mnist.mkdir()
    for name in ("t10k-images-idx3-ubyte", "train-images-idx3-ubyte.gz"):
        (mnist / name).write_bytes(image + b"1")
    assert contents(mnist).keys == ["train-images-idx3-ubyte.gz/0"]
    (mnist / "train-images.idx3-ubyte").write_bytes(image + b"2")
    assert contents(mnist).keys == ["train-images.idx3-ubyte/0"]
    (mnist / "train-images-idx3-ubyte").write_bytes(image + b"3")
    assert contents(mnist).keys == ["train-images-idx3-ubyte/0"], "one of them, the plain one first"
    for root in ("one/MNIST/raw", "two/raw"):
        shutil.copytree(mnist, tmp_path / root)
        top = tmp_path / root.partition("/")[0]
        assert contents(top).keys == ["train-images-idx3-ubyte/0"], "the root that torchvision was given"
        (top / "processed").mkdir()
        (top / ".hidden").mkdir()
        assert contents(top).keys == ["train-images-idx3-ubyte/0"]
        (top / "more.jpg").write_bytes(b"x")
        assert contents(top).keys == ["more.jpg"], "a folder of images that has others beside them"
    cifar = tmp_path / "cifar"
    cifar.mkdir()
    for name in ("data_batch_2", "data_batch_1", "test_batch", "data_batch_x", "batches.meta"):
        (cifar / name).write_bytes(b"\x80\x02N.")
    assert contents(cifar).failures == [("data_batch_1", "unsupported"), ("data_batch_2", "unsupported")]
    shutil.copytree(cifar, tmp_path / "root" / "cifar-10-batches-py")
    (tmp_path / "root" / "cifar-10-python.tar.gz").write_bytes(b"x")
    assert [key for key, _ in contents(tmp_path / "root").failures] == ["data_batch_1", "data_batch_2"]
    hundred = tmp_path / "hundred"
    hundred.mkdir()
    for name in ("train", "test", "file.txt~"):
        (hundred / name).write_bytes(b"\x80\x02N.")
    assert contents(hundred) == ([], [], [], {"non_image": 3}), "without 'meta' it may be anything"
    (hundred / "meta").write_bytes(b"")
    assert contents([hundred]).failures == [(f"{hundred.as_posix()}/train", "unsupported")]
