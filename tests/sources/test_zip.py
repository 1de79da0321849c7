"""Zip archives: what the directory says of a member, members named twice, damage of every kind."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpustats.failures import ImageError
from gpustats.sources import load, open_source
from tests.sources.packing import contents

A, B = b"first image", b"the second image, " * 30
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]


def write(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def directory(data: bytes, name: bytes) -> int:
    """Where the entry of a member in the central directory begins."""
    return data.rfind(b"PK\1\2", 0, data.rfind(name))


def patched(path: Path, name: bytes, place: int, value: bytes) -> Path:
    data = bytearray(path.read_bytes())
    at = directory(data, name) + place
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("method", METHODS)
def test_members_in_their_order_with_groups(method: int, tmp_path: Path) -> None:
    names = [
        "z.jpg",
        "a/b/c.PNG",
        "a/.hidden.jpg",
        "__MACOSX/a.jpg",
        "notes.txt",
        "é/日.webp",
        "./dot.jpg",
        "empty.gif",
    ]
    members = {"folder.jpg/": b""} | {name: name.encode() * 9 * (name != "empty.gif") for name in names}
    path = write(tmp_path / "a.zip", members, method)
    found = contents(path)
    kept = [("z.jpg", ""), ("a/b/c.PNG", "a"), ("é/日.webp", "é"), ("./dot.jpg", "."), ("empty.gif", "")]
    assert found.images == [(f"a.zip/{name}", group, name.encode() * 9 * (name != "empty.gif")) for name, group in kept]
    assert (found.failures, found.skipped) == ([], {"hidden": 2, "non_image": 1})


def test_a_member_that_comes_twice_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A, "b.jpg": A})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.jpg", B)
    found = contents(path)
    assert found.images == [("a.zip/b.jpg", "", A), ("a.zip/a.jpg", "", B)], "the later one, as unzip has it"
    assert (found.failures, found.skipped) == ([], {"replaced": 1})


def test_a_name_in_the_code_page_of_dos(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"cafX.jpg": A})
    path.write_bytes(path.read_bytes().replace(b"cafX", b"caf\x82"))
    assert contents(path).keys == ["a.zip/café.jpg"]


class Unseekable(io.RawIOBase):
    """Makes zipfile write sizes behind the data."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return int(self.file.write(data))


@pytest.mark.parametrize("method", METHODS)
def test_sizes_that_come_after_the_data(method: int, tmp_path: Path) -> None:
    with (tmp_path / "a.zip").open("wb") as file, zipfile.ZipFile(Unseekable(file), "w", method) as archive:  # type: ignore[arg-type]
        archive.writestr("a.jpg", A)
        archive.writestr("b.jpg", B)
    data = (tmp_path / "a.zip").read_bytes()
    assert data[6] & 8, "the local header gives no sizes"
    assert [(key, image) for key, _, image in contents(tmp_path / "a.zip").images] == [
        ("a.zip/a.jpg", A),
        ("a.zip/b.jpg", B),
    ]


def test_sizes_of_64_bits(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in [("a.jpg", A), ("b.jpg", B)]:
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = directory(data, b"b.jpg")
    (extra_length,) = struct.unpack_from("<H", data, at + 30)
    assert extra_length == 0
    sizes = struct.unpack_from("<LL", data, at + 20)
    extra = struct.pack("<HHQQ", 1, 16, sizes[1], sizes[0])
    data[at + 20 : at + 28] = b"\xff" * 8
    data[at + 30 : at + 32] = struct.pack("<H", len(extra))
    data[at + 51 : at + 51] = extra
    end = data.rfind(b"PK\5\6")
    data[end + 12 : end + 16] = struct.pack("<L", struct.unpack_from("<L", data, end + 12)[0] + len(extra))
    (tmp_path / "a.zip").write_bytes(data)
    assert [image for _, _, image in contents(tmp_path / "a.zip").images] == [A, B]


def test_an_archive_behind_a_program(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A, "b.jpg": B}, zipfile.ZIP_DEFLATED)
    path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
    assert [image for _, _, image in contents(path).images] == [A, B]


def test_encrypted_members_and_unknown_methods(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A, "b.jpg": B, "c.jpg": A, "d.jpg": A, "e.txt": A})
    patched(path, b"a.jpg", 8, b"\x01\x00")
    patched(path, b"b.jpg", 10, struct.pack("<H", 99))
    patched(path, b"c.jpg", 10, struct.pack("<H", 12345))
    patched(path, b"d.jpg", 8, b"\x06\x00")  # flags that are only hints
    found = contents(path)
    assert found.keys == ["a.zip/d.jpg"]
    assert found.failures == [(f"a.zip/{name}.jpg", "unsupported") for name in "abc"]
    assert found.messages == [
        "the member is encrypted",
        "the member is compressed by 99; deflate and bzip2 are read",
        "the member is compressed by 12345; deflate and bzip2 are read",
    ]
    assert found.skipped == {"non_image": 1}


def test_a_member_as_large_as_allowed(tmp_path: Path) -> None:
    members = {"a.jpg": b"x" * 600, "b.jpg": b"x" * 601}
    for method in METHODS:
        found = contents(write(tmp_path / "a.zip", members, method), max_bytes=600)
        assert found.keys == ["a.zip/a.jpg"]
        assert found.failures == [("a.zip/b.jpg", "too_large")]
        assert found.messages == ["the archive claims 601 bytes for this member"]
    # A member that is larger compressed than whole.
    path = write(tmp_path / "a.zip", {"a.jpg": zlib.compress(bytes(range(256)))}, zipfile.ZIP_DEFLATED)
    size = zipfile.ZipFile(path).getinfo("a.jpg").compress_size
    assert contents(path, max_bytes=size).failures == []
    assert contents(path, max_bytes=size - 1).messages == [f"the archive claims {size} bytes for this member"]


def test_an_item_may_be_held_to_less_than_the_source(tmp_path: Path) -> None:
    [_, sample, _] = open_source(write(tmp_path / "a.zip", {"a.jpg": A})).samples()
    assert load(sample[2], len(A)) == A  # type: ignore[index]
    with pytest.raises(ImageError, match="more than the limit of 10"):
        load(sample[2], len(A) - 1)  # type: ignore[index]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_size_that_is_wrong(method: int, difference: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": B, "b.jpg": A}, method)
    wrong = len(B) + difference
    patched(path, b"a.jpg", 24, struct.pack("<L", wrong))
    found = contents(path)
    assert found.images == [("a.zip/b.jpg", "", A)]
    assert (found.failures, found.messages) == (
        [("a.zip/a.jpg", "corrupt")],
        [f"the member does not have the {wrong} bytes that the directory says"],
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_checksum_that_is_wrong(method: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": B, "b.jpg": A}, method)
    patched(path, b"a.jpg", 16, struct.pack("<L", zlib.crc32(B) ^ 1))
    found = contents(path)
    assert found.keys == ["a.zip/b.jpg"]
    assert found.failures == [("a.zip/a.jpg", "corrupt")]
    assert found.messages == ["the checksum of the member (CRC-32) is wrong"]


@pytest.mark.parametrize("method", METHODS[1:])
def test_damaged_data(method: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": B, "b.jpg": A}, method)
    data = bytearray(path.read_bytes())
    data[35:45] = b"\xff" * 10
    path.write_bytes(data)
    found = contents(path)
    assert found.keys == ["a.zip/b.jpg"]
    assert found.failures == [("a.zip/a.jpg", "corrupt")]
    assert found.messages[0].startswith("the member is damaged: ")


def test_a_member_that_is_not_where_the_directory_says(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A, "b.jpg": B})
    data = bytearray(path.read_bytes())
    data[2] ^= 1
    path.write_bytes(data)
    found = contents(path)
    assert found.keys == ["a.zip/b.jpg"]
    assert found.failures == [("a.zip/a.jpg", "corrupt")]
    assert found.messages == ["the member is damaged: no member header where the directory says"]


def test_members_that_go_beyond_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A, "b.jpg": B})
    size = path.stat().st_size
    start = 35 + len(A)  # of the second member
    for claimed, message in [
        (size - start + 1, "the archive ends within this member"),  # by the directory alone
        (size - start, "the archive ends within this member"),  # only the length of the local header tells
    ]:
        patched(path, b"b.jpg", 20, struct.pack("<LL", claimed, claimed))
        found = contents(path)
        assert found.keys == ["a.zip/a.jpg"]
        assert (found.failures, found.messages) == ([("a.zip/b.jpg", "truncated")], [message])
    items = [sample[2] for sample in open_source(path).samples() if isinstance(sample, tuple)]
    assert len(items) == 2, "the second one is only seen when it is read"
    patched(path, b"b.jpg", 20, struct.pack("<LL", size - start + 1, len(B)))
    assert len([s for s in open_source(path).samples() if isinstance(s, tuple)]) == 1
    patched(path, b"b.jpg", 42, struct.pack("<L", size - 10))  # where it begins
    patched(path, b"b.jpg", 20, struct.pack("<LL", 1, 1))
    found = contents(path)
    assert found.failures == [("a.zip/b.jpg", "corrupt")]


@pytest.mark.parametrize(
    "cut", [lambda data: data[:-30], lambda data: b"", lambda data: b"PK\3\4"], ids=["end", "all", "start"]
)
def test_what_is_no_whole_archive(cut: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A, "b.jpg": B})
    path.write_bytes(cut(path.read_bytes()))
    found = contents(path)
    assert found.failures == [("a.zip", "corrupt")]
    assert found.messages[0].startswith("not a whole zip archive: ")


def test_an_archive_that_lost_a_piece(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A, "b.jpg": B})
    data = path.read_bytes()
    path.write_bytes(data[:60] + data[70:])  # its members seem to begin ten bytes before the file
    found = contents(path)
    assert found.failures[:1] in ([("a.zip/a.jpg", "corrupt")], [("a.zip", "corrupt")]), "by the version of Python"
    assert A not in [image for _, _, image in found.images]


def test_names_that_lead_outside(tmp_path: Path) -> None:
    names = ["../a.jpg", "/a.jpg", "C:a.jpg", "a/../b.jpg", "..\\a.jpg", "\\a.jpg", "a..b.jpg", "../notes.txt"]
    found = contents(write(tmp_path / "a.zip", dict.fromkeys(names, A)))
    assert found.keys == ["a.zip/a..b.jpg"]
    outside = [f"a.zip/{name}" for name in names if name != "a..b.jpg"]
    assert found.failures == [(key, "unsupported") for key in outside]


class Failing(io.BytesIO):
    """A file that fails when members are read."""

    fails = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.fails:
            raise self.fails
        return super().read(size)


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (OSError(5, "Input/output error"), "unreadable", "Input/output error"),
        (ValueError("I/O operation on closed file"), "unreadable", "I/O operation on closed file"),
        (MemoryError(), "too_large", "not enough memory to read this member"),
    ],
)
def test_errors_while_a_member_is_read(
    error: Exception, reason: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A})
    file = Failing(path.read_bytes())
    monkeypatch.setattr("gpustats.sources.files.LocalFile.open", lambda self: file)
    [_, sample, _] = open_source(path).samples()
    file.fails = error  # type: ignore[assignment]
    with pytest.raises(ImageError) as caught:
        load(sample[2], 100)  # type: ignore[index]
    assert (caught.value.reason, str(caught.value)) == (reason, message)


def test_a_directory_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A})
    file = Failing(path.read_bytes())
    file.fails = MemoryError()  # type: ignore[assignment]
    monkeypatch.setattr("gpustats.sources.files.LocalFile.open", lambda self: file)
    found = contents(path)
    assert (found.failures, found.messages) == (
        [("a.zip", "too_large")],
        ["not enough memory to read on in this file"],
    )
    assert file.closed


def test_the_file_is_closed_with_its_last_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.zip", {"a.jpg": A, "b.jpg": B})
    files: list[Any] = []

    def opened(self: Any) -> Any:
        files.append(path.open("rb"))
        return files[-1]

    monkeypatch.setattr("gpustats.sources.files.LocalFile.open", opened)
    samples: list[Any] = list(open_source(path).samples())
    [item] = [sample[2] for sample in samples if isinstance(sample, tuple) and sample[0] == "a.zip/a.jpg"]
    samples.clear()
    assert load(item, 100) == A
    assert not files[0].closed
    del item
    assert files[0].closed
    path.write_bytes(b"no archive")
    assert contents(path).failures == [("a.zip", "corrupt")]
    assert files[1].closed
