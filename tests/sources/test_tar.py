"""Tar archives: every kind of header, names of any bytes, samples of several members, what is passed over."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sources.packing import contents

END = bytes(1024)
MIB = 1 << 20


def header(
    name: bytes,
    size: int = 0,
    flag: bytes = b"0",
    *,
    size_field: bytes | None = None,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    signed: bool = False,
) -> bytes:
    """The header block of one member, with its checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size_field if size_field is not None else b"%011o\0" % size
    block[136:148] = b"017000000007"  # the time, without an end mark
    block[148:156] = b" " * 8
    block[156:157] = flag
    block[257:265] = magic
    block[345 : 345 + len(prefix)] = prefix
    total = sum(block) - (256 * sum(byte > 127 for byte in block) if signed else 0)
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes, flag: bytes = b"0", **options: Any) -> bytes:
    return header(name, len(data), flag, **options) + padded(data)


def pax(**records: bytes | str) -> bytes:
    """An extended header; `_` stands for a dot."""
    body = b""
    for name, value in records.items():
        text = value.encode() if isinstance(value, str) else value
        rest = b" " + name.replace("_", ".").encode() + b"=" + text + b"\n"
        length = next(n for n in range(len(rest), len(rest) + 9) if len(b"%d" % n) + len(rest) == n)
        body += b"%d" % length + rest
    return member(b"PaxHeaders/x", body, b"x")


def gnu_long(name: bytes, flag: bytes = b"L") -> bytes:
    return member(b"././@LongLink", name + b"\0", flag)


@pytest.fixture
def tar(tmp_path: Path) -> Callable[..., Path]:
    def write(*parts: bytes, end: bytes = END) -> Path:
        path = tmp_path / "a.tar"
        path.write_bytes(b"".join(parts) + end)
        return path

    return write


Tar = Callable[..., Path]
A, B = b"first image", b"the second image, which is longer"


def pairs(found: Any) -> list[tuple[str, bytes]]:
    return [(key.removeprefix("a.tar/"), data) for key, _, data in found.images]


@pytest.mark.parametrize("long", [pax(path="d/" + "x" * 150 + ".jpg"), gnu_long(b"d/" + b"x" * 150 + b".jpg")])
def test_a_long_name_is_that_of_one_member(long: bytes, tar: Tar) -> None:
    found = contents(tar(long, member(b"short.jpg", A), member(b"next.jpg", B), member(b"third.jpg", A)))
    assert pairs(found) == [("d/" + "x" * 150 + ".jpg", A), ("next.jpg", B), ("third.jpg", A)]
    assert found.groups == ["d", "", ""]
    assert (found.failures, found.skipped) == ([], {})


def test_a_pax_name_comes_before_a_long_name_of_gnu(tar: Tar) -> None:
    found = contents(tar(gnu_long(b"gnu.jpg"), pax(path="pax.jpg"), member(b"x.jpg", A), member(b"y.jpg", B)))
    assert pairs(found) == [("pax.jpg", A), ("y.jpg", B)]


def test_a_pax_header_without_a_name_leaves_the_long_name(tar: Tar) -> None:
    found = contents(tar(gnu_long(b"gnu.jpg"), pax(mtime="1.5"), member(b"x.jpg", A)))
    assert pairs(found) == [("gnu.jpg", A)]


def test_a_pax_size_is_that_of_one_member(tar: Tar) -> None:
    big = bytes(range(256)) * 5
    found = contents(tar(pax(size="1280"), header(b"a.jpg", 0) + padded(big), member(b"b.jpg", A)))
    assert pairs(found) == [("a.jpg", big), ("b.jpg", A)]
    assert found.failures == []


@pytest.mark.parametrize("size", ["x", "-1", "1e3", str(1 << 62)])
def test_a_pax_size_that_is_none(size: str, tar: Tar) -> None:
    found = contents(tar(member(b"a.jpg", A), pax(size=size), member(b"b.jpg", B)))
    assert pairs(found) == [("a.jpg", A)]
    assert found.failures == [("a.tar", "corrupt")]
    assert "the header at byte 2,048" in found.messages[0]


def test_global_headers_and_long_links_name_nothing(tar: Tar) -> None:
    everywhere = pax(path="global.jpg", comment="x" * 700).replace(b"x" + b"ustar", b"gustar")
    body = everywhere[512:]
    everywhere = member(b"pax_global_header", body, b"g")
    found = contents(tar(everywhere, gnu_long(b"target.jpg" * 90, b"K"), member(b"a.jpg", A), member(b"b.jpg", B)))
    assert pairs(found) == [("a.jpg", A), ("b.jpg", B)]


def test_sparse_members_are_failures_and_the_next_one_is_read(tar: Tar) -> None:
    found = contents(
        tar(
            member(b"old.jpg", A, b"S", magic=b"ustar  \0"),
            member(b"b.jpg", B),
            pax(GNU_sparse_major="1", GNU_sparse_minor="0"),
            member(b"new.jpg", A),
            member(b"c.jpg", A),
            member(b"notes.txt", A, b"S"),
        )
    )
    assert pairs(found) == [("b.jpg", B), ("c.jpg", A)]
    assert found.failures == [("a.tar/old.jpg", "unsupported"), ("a.tar/new.jpg", "unsupported")]
    assert set(found.messages) == {"sparse members of tar archives are not read"}
    assert found.skipped == {"non_image": 1}


def base256(number: int, first: int = 0x80) -> bytes:
    return bytes([first]) + (number % 256**11).to_bytes(11, "big")


def test_sizes_in_base_256(tar: Tar) -> None:
    data = bytes(range(256)) * 3
    found = contents(tar(header(b"a.jpg", size_field=base256(768)) + padded(data), member(b"b.jpg", B)))
    assert pairs(found) == [("a.jpg", data), ("b.jpg", B)]
    for number in (-5, -(1 << 86)):
        found = contents(tar(member(b"a.jpg", A), header(b"b.jpg", size_field=base256(number, 0xFF))))
        assert pairs(found) == [("a.jpg", A)]
        assert found.failures == [("a.tar", "corrupt")]
        assert found.messages == [f"the header at byte 1,024 claims {number:,} bytes"]


def test_the_largest_size_that_a_header_may_claim(tar: Tar) -> None:
    for size, failure in [((1 << 62) - 1, ("a.tar/b.jpg", "too_large")), (1 << 62, ("a.tar", "corrupt"))]:
        found = contents(tar(member(b"a.jpg", A), header(b"b.jpg", size_field=base256(size))))
        assert pairs(found) == [("a.jpg", A)]
        assert found.failures[0] == failure
        assert [key for key, _ in found.failures[1:]] == ["a.tar"] * (size < 1 << 62)


@pytest.mark.parametrize("field", [b"0000000013\0 ", b"         13\0", b"13\0garbage\0\0", b"00000000013 "])
def test_sizes_as_old_writers_put_them(field: bytes, tar: Tar) -> None:
    assert pairs(contents(tar(header(b"a.jpg", size_field=field) + padded(A), member(b"b.jpg", B)))) == [
        ("a.jpg", A),
        ("b.jpg", B),
    ]


def test_an_empty_size_is_none(tar: Tar) -> None:
    found = contents(tar(header(b"a.jpg", size_field=bytes(12)), member(b"b.jpg", B)))
    assert pairs(found) == [("a.jpg", b""), ("b.jpg", B)]


@pytest.mark.parametrize("place", [124, 148])
def test_numbers_that_are_no_octal_digits(place: int, tar: Tar) -> None:
    block = bytearray(header(b"b.jpg", 5))
    block[place : place + 3] = b"9x9"
    found = contents(tar(member(b"a.jpg", A), bytes(block)))
    assert pairs(found) == [("a.jpg", A)]
    assert found.failures == [("a.tar", "corrupt")]
    assert found.messages == ["the header at byte 1,024 is damaged: what follows was not read"]


def test_a_first_header_that_is_none(tar: Tar) -> None:
    found = contents(tar(b"x" * 512))
    assert found.failures == [("a.tar", "corrupt")]
    assert found.messages == ["this is no tar archive: the first header is not one"]


def test_checksums_of_signed_bytes(tar: Tar) -> None:
    name = "ä\x7f" * 20 + ".jpg"
    found = contents(tar(member(name.encode(), A, signed=True), member(b"b.jpg", B)))
    assert pairs(found) == [(name, A), ("b.jpg", B)]


def test_the_prefix_of_ustar(tar: Tar) -> None:
    found = contents(
        tar(
            member(b"name.jpg", A, prefix=b"long/" + b"p" * 150),  # fills the field: no null ends it
            member(b"n" * 96 + b".jpg", B, prefix=b"q"),
            member(b"gnu.jpg", B, magic=b"ustar  \0", prefix=b"00000000001"),  # GNU keeps times there
            member(b"v7.jpg", A, magic=bytes(8), prefix=b"junk"),
        )
    )
    assert pairs(found) == [
        ("long/" + "p" * 150 + "/name.jpg", A),
        ("q/" + "n" * 96 + ".jpg", B),
        ("gnu.jpg", B),
        ("v7.jpg", A),
    ]
    assert found.groups == ["long", "q", "", ""]


def test_kinds_of_members(tar: Tar) -> None:
    found = contents(
        tar(
            member(b"0.jpg", A, b"0"),
            member(b"old.jpg", A, b"\0"),
            member(b"contiguous.jpg", A, b"7"),
            header(b"hard.jpg", 5000, b"1"),  # links and folders may give a size, but no data follows
            header(b"soft.jpg", 5000, b"2"),
            header(b"folder.jpg", 5000, b"5"),
            header(b"old_folder.jpg/", 5000, b"0"),
            header(b"device.jpg", 0, b"3"),
            header(b"block.jpg", 0, b"4"),
            header(b"pipe.jpg", 0, b"6"),
            member(b"vendor.jpg", B, b"V"),
            member(b"last.jpg", B),
        )
    )
    assert pairs(found) == [("0.jpg", A), ("old.jpg", A), ("contiguous.jpg", A), ("last.jpg", B)]
    assert (found.failures, found.skipped) == ([], {"link": 2, "special": 4})


@pytest.mark.parametrize("flag", [b"x", b"L", b"g", b"K"])
def test_the_longest_name(flag: bytes, tar: Tar) -> None:
    found = contents(tar(member(b"a.jpg", A), header(b"long", MIB + 1, flag), bytes(MIB + 512), member(b"b.jpg", B)))
    assert pairs(found) == [("a.jpg", A)]
    assert found.messages == [f"the header at byte 1,024 claims a name of {MIB + 1:,} bytes"]
    assert found.failures == [("a.tar", "corrupt")]
    found = contents(tar(header(b"long", MIB, flag), bytes(MIB), header(b"b.jpg", len(B)), padded(B)))
    assert [data for _, _, data in found.images] == ([B] if flag != b"L" else [])
    assert found.failures == []


@pytest.mark.parametrize(
    "body",
    [
        b"x path=b.jpg\n",
        b"99 path=b.jpg\n",  # longer than the header
        b"3 path=b.jpg\n",  # ends before its value begins
        b"0 path=b.jpg\n",
        b"-14 path=b.jpg\n",
        b"path=b.jpg\n",
        b"14path=b.jpg\n",
        b"000000000000000000000000014 path=b.jpg\n",  # no number is that long
    ],
)
def test_damaged_extended_headers(body: bytes, tar: Tar) -> None:
    found = contents(tar(member(b"a.jpg", A), member(b"p", body, b"x"), member(b"c.jpg", B)))
    assert pairs(found) == [("a.jpg", A)]
    assert found.failures == [("a.tar", "corrupt")]
    assert found.messages == ["the extended header at byte 1,024 is damaged"]


def test_extended_headers_of_several_records(tar: Tar) -> None:
    found = contents(
        tar(
            pax(comment="size=9\n12 path=no.jpg", path="a=b\nc.jpg", mtime="1"),
            member(b"x.jpg", A),
            member(b"p", b"15 path=pad.jpg" + b"\n" + bytes(30), b"x").replace(b"15 path", b"16 path"),
            member(b"y.jpg", B),
        )
    )
    assert pairs(found) == [("a=b\nc.jpg", A), ("pad.jpg", B)]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("日本/é.jpg".encode(), "日本/é.jpg"),
        (b"caf\xe9/\xff.jpg", "caf\udce9/\udcff.jpg"),
        (b"tab\t\x1b.jpg", "tab\t\x1b.jpg"),
    ],
)
@pytest.mark.parametrize("form", ["plain", "gnu", "pax", "prefix"])
def test_names_of_any_bytes(name: bytes, key: str, form: str, tar: Tar) -> None:
    parts = {
        "plain": [member(name, A)],
        "gnu": [gnu_long(name), member(b"x.jpg", A)],
        "pax": [pax(path=name), member(b"x.jpg", A)],
        "prefix": [member(name, A, prefix=b"d\xe9")],
    }[form]
    found = contents(tar(*parts, member(b"next.jpg", B)))
    assert pairs(found) == [("d\udce9/" * (form == "prefix") + key, A), ("next.jpg", B)]
    assert found.groups[0] == ("d\udce9" if form == "prefix" else key.rpartition("/")[0])


def test_where_an_archive_may_end(tar: Tar) -> None:
    whole = member(b"a.jpg", A) + member(b"b.jpg", b"x" * 512)
    for end in (bytes(512), bytes(1024), bytes(10240), bytes(200_000)):
        found = contents(tar(whole, end=end))
        assert (pairs(found), found.failures) == ([("a.jpg", A), ("b.jpg", b"x" * 512)], [])
    for end in (b"", bytes(511)):
        found = contents(tar(whole, end=end))
        assert pairs(found) == [("a.jpg", A), ("b.jpg", b"x" * 512)], "the last member ends with the file"
        assert (found.failures, found.messages) == (
            [("a.tar", "truncated")],
            ["the archive is cut off: it has no end mark (at byte 2,048)"],
        )
    found = contents(tar(whole[:-1], end=b""))
    assert found.failures == [("a.tar/b.jpg", "truncated"), ("a.tar", "truncated")]
    assert found.messages[0] == "the archive ends within this member"
    found = contents(tar(whole, end=bytes(150_000) + b"\1"))
    assert found.failures == [("a.tar", "unsupported")]
    assert "more data follows the end of the archive (at byte 2,048)" in found.messages[0]
    assert len(found.images) == 2
    assert contents(tar(end=b"")).messages == ["the archive is empty (at byte 0)"]
    found = contents(tar(end=bytes(1024)))
    assert (found.images, found.failures) == ([], [])


def test_a_compressed_archive_that_ends_within_a_member(tar: Tar) -> None:
    whole = member(b"0.jpg", A) + member(b"1.0.jpg", A) + member(b"1.jpg", B)
    found = contents(tar(gzip.compress(whole[: -512 + len(B) - 1]), end=b""))
    assert pairs(found) == [("0.jpg", A), ("1.0.jpg", A)], "what came before the damage is whole"
    assert found.failures == [("a.tar/1.jpg", "truncated"), ("a.tar", "truncated")]
    found = contents(tar(gzip.compress(whole[: -512 + len(B)]), end=b""))
    assert pairs(found) == [("0.jpg", A), ("1.0.jpg", A), ("1.jpg", B)]
    assert found.failures == [("a.tar", "truncated")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_compression_is_known_by_the_first_bytes(pack: Callable[[bytes], bytes], tar: Tar) -> None:
    whole = member(b"0.jpg", A) + member(b"0.cls", b"cat") + member(b"1.jpg", B) + END
    packed = pack(whole)
    found = contents(tar(packed, end=b""))
    assert found.images == [("a.tar/0.jpg", "cat", A), ("a.tar/1.jpg", "", B)]
    assert (found.failures, found.skipped) == ([], {"non_image": 1})
    found = contents(tar(packed[:-9], end=b""))
    assert found.failures == [("a.tar", "truncated")]
    assert found.messages[0].startswith("the compressed archive is damaged: ")
    damaged = bytearray(packed)
    damaged[40] ^= 0xFF
    found = contents(tar(bytes(damaged), end=b""))
    assert found.failures == [("a.tar", "corrupt")]
    assert found.messages[0].startswith("the compressed archive is damaged: ")


class Failing(io.FileIO):
    """A disk that fails after the first member."""

    def read(self, size: int | None = -1, /) -> Any:
        if self.tell() >= 1024:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("packed", [False, True])
def test_an_error_of_the_disk_is_not_damage(packed: bool, tar: Tar, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(member(b"a.jpg", A), member(b"b.jpg", B))
    if packed:
        stored = gzip.compress(b"".join(member(b"%04d.jpg" % i, A) for i in range(40)), 0)
        path.write_bytes(stored)
    monkeypatch.setattr("gpustats.sources.files.LocalFile.open", lambda self: Failing(str(path)))
    found = contents(path)
    assert found.failures == [("a.tar", "unreadable")]
    assert found.messages == ["Input/output error"]
    assert packed or found.keys == ["a.tar/a.jpg"]


def test_members_of_one_sample(tar: Tar) -> None:
    found = contents(
        tar(
            member(b"./cats/1.jpg", A),
            member(b"./cats/1.CLS", b" tabby\n"),
            member(b"cats/1.2.JPG", B),  # another member, still of the sample: its name goes to the first dot
            member(b"cats/2.jpg", A),
            member(b"dogs/1.jpg", A),
            member(b"dogs/2.cls", b"husky"),
            member(b"dogs/2.jpg", B),
            member(b"cls", b"no field"),
            member(b"3.jpg", B),
            member(b"a.b/4.jpg", A),
        )
    )
    assert found.images == [
        ("a.tar/cats/1.jpg", "tabby", A),
        ("a.tar/cats/1.2.JPG", "tabby", B),
        ("a.tar/cats/2.jpg", "cats", A),
        ("a.tar/dogs/1.jpg", "dogs", A),
        ("a.tar/dogs/2.jpg", "husky", B),
        ("a.tar/3.jpg", "", B),
        ("a.tar/a.b/4.jpg", "a.b", A),
    ]
    assert (found.failures, found.skipped) == ([], {"non_image": 3})


def test_the_image_of_a_sample(tar: Tar) -> None:
    path = tar(
        member(b"1.jpg", A),
        member(b"1.seg.png", B),
        member(b"1.depth", B),
        member(b".hidden.jpg", A),
        member(b"../out.jpg", A),
        member(b"1.png", A),
        member(b"1.json", b"{}"),
    )
    found = contents(path, column="JPG;seg.png")
    assert found.keys == ["a.tar/1.jpg", "a.tar/1.seg.png"]
    assert found.skipped == {"non_image": 2, "hidden": 1, "image": 1}
    assert found.failures == [("a.tar/../out.jpg", "unsupported")]
    assert contents(path, column="depth").keys == ["a.tar/1.depth"], "what the user asks for needs no image ending"
    found = contents(path, column="*")
    assert found.keys == ["a.tar/1.jpg", "a.tar/1.seg.png", "a.tar/1.png"]
    assert found.skipped == {"non_image": 2, "hidden": 1}


def test_the_label_of_a_sample(tar: Tar) -> None:
    def groups(*labels: bytes, group: str | None, field: bytes = b"json") -> list[str]:
        parts = [member(b"%d.%s" % (i, field), text) + member(b"%d.jpg" % i, A) for i, text in enumerate(labels)]
        found = contents(tar(*parts), group=group)
        assert found.skipped == {"non_image": len(labels)}
        return found.groups

    texts = [b'{"label": "cat"}', b'{"label": 3}', b'{"other": 1}', b"[1]", b"{", b"[" * 9000, b'{"label": null}']
    assert groups(*texts, group="json.label") == ["cat", "3", "", "", "", "", "None"]
    assert groups(b'{"a": 1}', group="json") == ['{"a": 1}']
    assert groups(b"x", group="text", field=b"txt") == [""]
    assert groups(b"caf\xe9", "日本".encode(), group=None, field=b"cls") == ["caf\udce9", "日本"]
    assert groups(b" " * (MIB - 1) + b"x", b" " * MIB + b"x", group=None, field=b"cls") == ["x", ""]


def test_a_member_as_large_as_allowed(tar: Tar) -> None:
    path = tar(member(b"a.jpg", b"x" * 600), member(b"b.jpg", b"x" * 601), member(b"c.jpg", A))
    found = contents(path, max_bytes=600)
    assert found.keys == ["a.tar/a.jpg", "a.tar/c.jpg"]
    assert (found.failures, found.messages) == (
        [("a.tar/b.jpg", "too_large")],
        ["the archive claims 601 bytes for this member"],
    )


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_as_python_writes_them(form: int, tmp_path: Path) -> None:
    names = ["plain.jpg", "é" * 40 + ".jpg", "d" * 60 + "/" + "e" * 60 + ".jpg", "last.jpg"]
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = i + 1
            archive.addfile(info, io.BytesIO(b"x" * (i + 1)))
    assert contents(tmp_path / "a.tar").images == [
        (f"a.tar/{name}", "d" * 60 if name.startswith("d") else "", b"x" * (i + 1)) for i, name in enumerate(names)
    ]
