"""Damaged and hostile containers: a clear error or a listed failure, nothing run, nothing written, the rest counts."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DataError, ImagesFailedWarning, Stats
from tests.images import encoded, photo
from tests.sources.packing import need

JPEG = encoded(photo(seed=1))


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder and look that it stays empty."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert list(here.iterdir()) == []
    assert not (tmp_path / "evil.jpg").exists()


def compute(data: Any, **options: Any) -> tuple[Stats, dict[str, str]]:
    """Compute what has failures; return them as reason by key."""
    with pytest.warns(ImagesFailedWarning):
        stats = gpustats.compute(data, progress=False, device="cpu", **options)
    return stats, {failure.key: failure.reason for failure in stats.failures}


def write_tar(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def images(count: int) -> dict[str, bytes]:
    return {f"{i:03d}.jpg": JPEG for i in range(count)}


def good_and_bad(tmp_path: Path, bad: bytes, ending: str = ".tar") -> list[str]:
    (tmp_path / f"bad{ending}").write_bytes(bad)
    write_tar(tmp_path / "good.tar", images(3))
    return [str(tmp_path / f"bad{ending}"), str(tmp_path / "good.tar")]


def test_a_truncated_tar(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", images(4)).read_bytes()
    member = 512 + (len(JPEG) + 511) // 512 * 512
    data = good_and_bad(tmp_path, whole[: 2 * member + 700])
    stats, failures = compute(data)
    assert stats.n_images == 2 + 3, "two whole members of the bad shard, all of the other"
    shard = data[0].replace(os.sep, "/")
    assert failures == {f"{shard}/002.jpg": "truncated", shard: "truncated"}
    # Between two members, where only the end mark is missing.
    (tmp_path / "bad.tar").write_bytes(whole[: 2 * member])
    assert compute(data)[1] == {shard: "truncated"}


def test_a_truncated_compressed_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for i in range(20):
            data = encoded(photo(seed=i))
            info = tarfile.TarInfo(f"{i:02d}.jpg")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    whole = (tmp_path / "a.tar.gz").read_bytes()
    stats, failures = compute(good_and_bad(tmp_path, whole[: len(whole) // 2], ".tar.gz"))
    assert stats.n_images >= 3 + 5
    assert "truncated" in failures.values()


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_the_checksum_at_the_end_of_a_compressed_tar(tmp_path: Path, mode: str) -> None:
    whole = write_tar(tmp_path / "a.tar", images(2)).read_bytes()
    packed = bytearray({"gz": gzip, "bz2": bz2, "xz": lzma}[mode].compress(whole))  # type: ignore[attr-defined]
    packed[{"gz": -5, "bz2": -1, "xz": -1}[mode]] ^= 0xFF
    stats, failures = compute(good_and_bad(tmp_path, bytes(packed), f".tar.{mode}"))
    assert "corrupt" in failures.values()
    assert "the compressed archive is damaged" in next(iter(stats.failures)).message


def test_what_follows_the_end_of_a_tar(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", images(2)).read_bytes()
    assert len(whole) % 10240 == 0, "filled up, as tar does"
    for ending, joined in [(".tar", whole + whole), (".tar.gz", gzip.compress(whole) + gzip.compress(whole))]:
        data = good_and_bad(tmp_path, joined, ending)
        stats, failures = compute(data)
        assert stats.n_images == 2 + 3
        assert failures == {data[0].replace(os.sep, "/"): "unsupported"}
        assert "more data follows the end of the archive" in next(iter(stats.failures)).message


def test_a_damaged_header_in_the_middle_of_a_tar(tmp_path: Path) -> None:
    whole = bytearray(write_tar(tmp_path / "whole.tar", images(4)).read_bytes())
    member = 512 + (len(JPEG) + 511) // 512 * 512
    whole[2 * member + 3] ^= 0xFF
    stats, failures = compute(good_and_bad(tmp_path, bytes(whole)))
    assert stats.n_images == 5
    assert list(failures.values()) == ["corrupt"]
    assert f"byte {2 * member:,} is damaged" in next(iter(stats.failures)).message


@pytest.mark.parametrize(
    ("size", "failures"),
    [
        (1 << 40, {"bad.tar/huge.jpg": "too_large", "bad.tar": "truncated"}),
        (8**11 - 1, {"bad.tar/huge.jpg": "too_large", "bad.tar": "truncated"}),
        (100_000, {"bad.tar/huge.jpg": "truncated", "bad.tar": "truncated"}),
        ((1 << 62) + 1, {"bad.tar": "corrupt"}),
    ],
)
def test_a_tar_member_that_claims_a_gigantic_size(tmp_path: Path, size: int, failures: dict[str, str]) -> None:
    info = tarfile.TarInfo("huge.jpg")
    info.size = size
    bad = write_tar(tmp_path / "w.tar", images(1)).read_bytes()[: 512 + (len(JPEG) + 511) // 512 * 512]
    data = good_and_bad(tmp_path, bad + info.tobuf(tarfile.GNU_FORMAT) + b"x" * 600)
    stats, found = compute(data, memory="512MiB")
    assert stats.n_images == 4
    folder = tmp_path.as_posix()
    assert found == {f"{folder}/{key}": reason for key, reason in failures.items()}


def test_tar_members_outside(tmp_path: Path) -> None:
    names = ["../evil.jpg", f"{tmp_path}/evil.jpg", "a/../../evil.jpg", "fine.jpg"]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = write_tar(tmp_path / "a.tar", dict.fromkeys(names, JPEG), format=form)
        stats, failures = compute(path)
        assert stats.n_images == 1
        assert failures == {f"a.tar/{name}": "unsupported" for name in names[:3]}


def test_tar_links_and_long_names(tmp_path: Path) -> None:
    long = "d" * 90 + "/" + "é" * 120 + ".jpg"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
            for name in (long, "x" * 99 + ".jpg"):
                info = tarfile.TarInfo(name)
                info.size = len(JPEG)
                archive.addfile(info, io.BytesIO(JPEG))
            link = tarfile.TarInfo("link.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        stats = gpustats.compute(tmp_path / "a.tar", progress=False)
        assert stats.n_images == 2
        assert stats.skipped == {"link": 1}


def test_no_tar_at_all(tmp_path: Path) -> None:
    for content, reason in [(b"", "truncated"), (b"hello" * 500, "corrupt"), (b"\x1f\x8b" + b"x" * 99, "corrupt")]:
        stats, failures = compute(good_and_bad(tmp_path, content))
        assert stats.n_images == 3
        assert list(failures.values()) == [reason]


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_with_a_wrong_checksum(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "a.zip", images(3), method)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        crc = struct.pack("<I", archive.getinfo("001.jpg").CRC)
    position = data.rfind(b"PK\1\2", 0, data.rfind(b"001.jpg"))
    assert data[position + 16 : position + 20] == crc
    data[position + 16] ^= 1
    path.write_bytes(data)
    stats, failures = compute(path)
    assert stats.n_images == 2
    assert failures == {"a.zip/001.jpg": "corrupt"}
    assert "CRC-32" in next(iter(stats.failures)).message


def test_a_zip_member_that_claims_a_gigantic_size(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.jpg": JPEG, "b.jpg": b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED)
    stats, failures = compute(path, max_pixels=1000_000)
    assert stats.n_images == 1
    assert failures == {"a.zip/b.jpg": "too_large"}
    data = bytearray(path.read_bytes())
    position = data.rfind(b"PK\1\2", 0, data.rfind(b"b.jpg"))
    data[position + 24 : position + 28] = struct.pack("<I", 1000)  # a bomb that lies
    path.write_bytes(data)
    assert compute(path)[1] == {"a.zip/b.jpg": "corrupt"}
    data[position + 20 : position + 28] = struct.pack("<II", 2**31, 2**31)  # more than the file has
    path.write_bytes(data)
    assert compute(path)[1] == {"a.zip/b.jpg": "truncated"}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_member_that_lies_about_its_size_costs_what_it_claims(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.jpg": JPEG, "b.jpg": b"\0" * 50_000_000}, method)
    data = bytearray(path.read_bytes())
    position = data.rfind(b"PK\1\2", 0, data.rfind(b"b.jpg"))
    data[position + 24 : position + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    compute(path)  # what is loaded once
    tracemalloc.start()
    try:
        assert compute(path)[1] == {"a.zip/b.jpg": "corrupt"}
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_zip_members_of_other_compressions_are_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", images(2), zipfile.ZIP_LZMA)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("plain.jpg", JPEG)
    stats, failures = compute(path)
    assert stats.n_images == 1
    assert set(failures.values()) == {"unsupported"}
    assert "compressed by lzma" in next(iter(stats.failures)).message


def test_a_damaged_bzip2_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", images(2), zipfile.ZIP_BZIP2)
    data = bytearray(path.read_bytes())
    data[data.find(b"BZh") + 30] ^= 0xFF
    path.write_bytes(data)
    stats, failures = compute(path)
    assert stats.n_images == 1
    assert failures == {"a.zip/000.jpg": "corrupt"}


def test_zip_members_outside_and_encrypted(tmp_path: Path) -> None:
    names = ["../evil.jpg", "/evil.jpg", "C:/evil.jpg", "fine.jpg", "__MACOSX/._fine.jpg"]
    path = write_zip(tmp_path / "a.zip", dict.fromkeys(names, JPEG))
    stats, failures = compute(path)
    assert stats.n_images == 1
    assert failures == {f"a.zip/{name}": "unsupported" for name in names[:3]}
    assert stats.skipped == {"hidden": 1}
    data = path.read_bytes()
    (tmp_path / "cut.zip").write_bytes(data[:-30])
    stats, failures = compute([str(tmp_path / "cut.zip"), str(write_tar(tmp_path / "good.tar", images(2)))])
    assert stats.n_images == 2
    assert list(failures.values()) == ["corrupt"]


def tfrecord(tmp_path: Path, count: int) -> Path:
    writer = need("tfrecord.writer").TFRecordWriter(str(tmp_path / "a.tfrecord"))
    for i in range(count):
        writer.write({"image/encoded": (JPEG, "byte"), "label": (i, "int")})
    writer.close()
    return tmp_path / "a.tfrecord"


def test_corrupt_tfrecords(tmp_path: Path) -> None:
    path = tfrecord(tmp_path, 4)
    whole = path.read_bytes()
    record = len(whole) // 4
    good = str(write_tar(tmp_path / "good.tar", images(3)))

    def damaged(position: int) -> bytes:
        data = bytearray(whole)
        data[position] ^= 0x10
        return bytes(data)

    key = str(path).replace(os.sep, "/")
    for content, expected, count in [
        (damaged(record + 6), {key: "corrupt"}, 1),  # the length: what follows is lost
        (damaged(record + 9), {key: "corrupt"}, 1),  # its checksum
        (damaged(record + 500), {f"{key}/1": "corrupt"}, 3),  # the data: the next record is whole
        (whole[: 2 * record + 500], {key: "truncated"}, 2),
        (whole[: 2 * record + 5], {key: "truncated"}, 2),
        (b"no record at all, but long enough", {key: "corrupt"}, 0),
    ]:
        path.write_bytes(content)
        stats, failures = compute([str(path), good])
        assert (failures, stats.n_images) == (expected, count + 3)
        assert "checksum" in stats.failures.listed[0].message or "ends within" in stats.failures.listed[0].message

    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    google_crc32c: Any = need("google_crc32c")
    length = struct.pack("<Q", (1 << 64) - 1)  # with a checksum that is right
    path.write_bytes(whole[:record] + length + masked(length) + whole[record:])
    stats, failures = compute([str(path), good])
    assert (failures, stats.n_images) == ({key: "corrupt"}, 1 + 3)


def test_a_tfrecord_without_the_feature(tmp_path: Path) -> None:
    stats, failures = compute(tfrecord(tmp_path, 1), feature="jpeg")
    assert failures == {"a.tfrecord/0": "missing"}
    message = next(iter(stats.failures)).message
    assert (
        message == "no bytes feature 'jpeg'; there are: image/encoded (bytes), label (integers); choose with feature="
    )


def test_a_parquet_without_an_image_column(tmp_path: Path) -> None:
    pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"x": [1], "y": ["a"]}), tmp_path / "a.parquet")
    stats, failures = compute(tmp_path / "a.parquet")
    assert failures == {"a.parquet": "unsupported"}
    assert "the columns are: x (int64), y (string)" in next(iter(stats.failures)).message
    parquet.write_table(pyarrow.table({"front": [JPEG], "back": [JPEG]}), tmp_path / "a.parquet")
    assert "choose with column=" in next(iter(compute(tmp_path / "a.parquet")[0].failures)).message
    assert gpustats.compute(tmp_path / "a.parquet", column="back", progress=False).n_images == 1
    assert "no column 'side'" in next(iter(compute(tmp_path / "a.parquet", column="side")[0].failures)).message


def test_a_damaged_parquet(tmp_path: Path) -> None:
    pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    table = pyarrow.table({"image": [JPEG, None, b"", JPEG]})
    parquet.write_table(table, tmp_path / "a.parquet")
    stats, failures = compute(tmp_path / "a.parquet")
    assert stats.n_images == 2
    assert failures == {"a.parquet/1": "missing", "a.parquet/2": "not_an_image"}
    data = (tmp_path / "a.parquet").read_bytes()
    stats, failures = compute(good_and_bad(tmp_path, data[:-20], ".parquet"))
    assert stats.n_images == 3
    assert list(failures.values()) == ["corrupt"]


def test_a_shard_range_with_a_hole(tmp_path: Path) -> None:
    for i in (0, 1, 3):
        write_tar(tmp_path / f"s-{i:02d}.tar", images(2))
    stats, failures = compute(f"{tmp_path}/s-{{00..03}}.tar")
    assert stats.n_images == 6
    assert failures == {"s-02.tar": "missing"}
    with pytest.raises(DataError, match=r"none of the 2 files exists"):
        gpustats.compute(f"{tmp_path}/t-{{0..1}}.tar")
    with pytest.raises(DataError, match=r"the range \{3\.\.1\} is empty or too long"):
        gpustats.compute(f"{tmp_path}/t-{{3..1}}.tar")


class Evil:
    """A pickle of this runs a command."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_that_name_functions(tmp_path: Path, protocol: int) -> None:
    folder = tmp_path / "cifar"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3072), dtype=np.uint8)
    for data in (Evil(), {b"data": Evil()}, {b"data": np.array([Evil()], dtype=object)}):
        (folder / "data_batch_1").write_bytes(pickle.dumps(data, protocol))
        (folder / "data_batch_2").write_bytes(pickle.dumps({b"data": pixels, b"labels": [0, 1, 2, 3, 4]}, protocol))
        stats, failures = compute(folder)
        if protocol < 2:  # older than any CIFAR file: not taken for a pickle at all
            assert set(failures.values()) == {"not_an_image"}
            continue
        assert stats.n_images == 5
        assert failures in ({"data_batch_1": "unsupported"}, {"data_batch_1": "corrupt"})
    expected = pixels.reshape(5, 3, 1024).transpose(1, 0, 2).reshape(3, -1)
    assert protocol < 2 or stats.totals["moments"]["sum"] == expected.sum(axis=1, dtype=np.int64).tolist()


def test_pickles_that_claim_memory(tmp_path: Path) -> None:
    batch = tmp_path / "data_batch_1"
    for content in (
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",  # bytes of an exabyte
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # the two billionth place of the memo
        b"\x80\x02cos\nsystem\n.",
        b"\x80",
    ):
        batch.write_bytes(content)
        stats, failures = compute(batch)
        assert failures.keys() == {"data_batch_1"}
        if b"r\xff" in content:
            assert "claims a position beyond its length" in stats.failures.listed[0].message


def test_object_arrays_are_not_unpickled(tmp_path: Path) -> None:
    array = np.array([[Evil()]], dtype=object)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=array)
    for name in ("a.npy", "a.npz"):
        assert compute(tmp_path / name)[1].keys() == {name}


def test_zarr_codecs_that_run_programs(tmp_path: Path) -> None:
    need("zarr")
    store = tmp_path / "a.zarr"
    store.mkdir()
    meta = {"zarr_format": 2, "shape": [1, 2, 2], "chunks": [1, 2, 2], "dtype": "|u1", "order": "C", "fill_value": 0}
    filters = [{"id": "pickle", "protocol": 5}]
    (store / ".zarray").write_text(json.dumps(meta | {"compressor": None, "filters": filters}))
    (store / "0.0.0").write_bytes(pickle.dumps(Evil()))
    stats, failures = compute(store)
    assert failures == {"a.zarr": "unsupported"}
    assert "codec 'pickle'" in next(iter(stats.failures)).message


def test_lmdb_values_of_other_kinds(tmp_path: Path) -> None:
    environment = need("lmdb").open(str(tmp_path / "db"), map_size=1 << 24)

    def datum(data: bytes, encoded: bool) -> bytes:
        sizes = b"\x08\x03\x10\x02\x18\x02" if not encoded else b"\x38\x01"
        length = bytes([len(data) & 0x7F | 0x80, len(data) >> 7 & 0x7F | 0x80, len(data) >> 14])
        return sizes + b"\x22" + length + data + b"\x28\x07"

    with environment.begin(write=True) as transaction:
        for key, value in {
            b"pickled": pickle.dumps(Evil()),
            b"raw": datum(bytes(12), False),
            b"datum": datum(JPEG, True),
            b"plain": JPEG,
            b"length": b"123",
        }.items():
            transaction.put(key, value)
    environment.close()
    stats, failures = compute(tmp_path / "db")
    assert stats.n_images == 2
    assert failures == {"db/pickled": "unsupported", "db/raw": "unsupported"}
    assert stats.skipped == {"non_image": 1}


def test_truncated_and_wrong_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 6, 3), np.uint8))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-9])
    assert compute(tmp_path / "a.npy")[1] == {"a.npy": "corrupt"}
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    header += b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 900000, 900000, 3)}".ljust(117) + b"\n"
    write_zip(tmp_path / "a.npz", {"a.npy": header + b"0" * 99})
    assert compute(tmp_path / "a.npz")[1] == {"a.npz": "truncated"}
    (tmp_path / "x-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 9, 4, 4) + bytes(16 * 5 + 3))
    stats, failures = compute(tmp_path / "x-idx3-ubyte")
    assert (stats.n_images, failures) == (5, {"x-idx3-ubyte": "truncated"})
    (tmp_path / "x-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 9, 2**31, 2**31))
    assert compute(tmp_path / "x-idx3-ubyte")[1] == {"x-idx3-ubyte": "too_large"}
    (tmp_path / "x-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 2, 4, 4) + bytes(16 * 3))
    stats, failures = compute(tmp_path / "x-idx3-ubyte")
    assert (stats.n_images, failures) == (2, {"x-idx3-ubyte": "corrupt"})
    good = str(write_tar(tmp_path / "good.tar", images(3)))
    (tmp_path / "x-idx3-ubyte").write_bytes(b"\0\0\x08\xff" + struct.pack(">255I", *[1] * 255) + b"1")
    stats, failures = compute([tmp_path / "x-idx3-ubyte", good])
    assert (stats.n_images, list(failures.values())) == (3, ["unsupported"])
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    header += b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4, 4, 3)}".ljust(117) + b"\n"
    (tmp_path / "b.npy").write_bytes(header + bytes(48))
    stats, failures = compute([tmp_path / "b.npy", good])
    assert (stats.n_images, list(failures.values())) == (3, ["corrupt"])


def test_the_checksum_at_the_end_of_a_compressed_idx_file(tmp_path: Path) -> None:
    name = "train-images-idx3-ubyte.gz"
    packed = bytearray(gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 2, 4, 4) + bytes(32)))
    labels = bytearray(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2) + bytes(2)))
    packed[-5] ^= 1
    (tmp_path / name).write_bytes(packed)
    stats, failures = compute(tmp_path / name)
    assert (stats.n_images, failures) == (2, {name: "corrupt"})
    packed[-5] ^= 1
    labels[-5] ^= 1
    (tmp_path / name).write_bytes(packed)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(labels)
    stats, failures = compute(tmp_path / name)
    assert (stats.n_images, failures) == (2, {f"{name}: labels": "corrupt"})
    assert "so the images have no group" in next(iter(stats.failures)).message


@pytest.mark.parametrize("error", [UnicodeError("x"), OverflowError("x"), KeyError("x"), RecursionError("x")], ids=repr)
def test_what_no_reader_expects_costs_one_shard(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any) -> Any:
        raise error

    monkeypatch.setattr("gpustats.sources.arrays.idx.IdxSource.members", fails)
    good = str(write_tar(tmp_path / "good.tar", images(3)))
    (tmp_path / "x-idx3-ubyte").write_bytes(b"")
    stats, failures = compute([tmp_path / "x-idx3-ubyte", good])
    assert (stats.n_images, list(failures.values())) == (3, ["corrupt"])
    assert f"the file cannot be read: {type(error).__name__}: " in next(iter(stats.failures)).message


def test_manifests_with_holes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "m.jsonl").write_text('{"path": "a.jpg"}\n{"path": 3}\nnot json\n{"path": "gone.jpg"}\n')
    stats, failures = compute(tmp_path / "m.jsonl")
    assert stats.n_images == 1
    assert failures == {"m.jsonl:2": "missing", "m.jsonl:3": "corrupt", "gone.jpg": "missing"}
    (tmp_path / "m.csv").write_text("x,y\n1,2\n")
    stats, failures = compute(tmp_path / "m.csv")
    assert "no column with paths among x, y; name it with column=" in next(iter(stats.failures)).message
    (tmp_path / "u.txt").write_text("https://127.0.0.1:1/a.jpg\n")
    stats, failures = compute(tmp_path / "u.txt")
    assert failures == {"https://127.0.0.1:1/a.jpg": "unsupported"}, "no network unless the user gives a URL"


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("pyarrow.parquet", "google_crc32c", "h5py", "zarr", "fsspec"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / ".zarray").write_text("{}")
    for name, extra in {
        "a.parquet": "parquet",
        "a.tfrecord": "tfrecord",
        "a.h5": "hdf5",
        "a.zarr": "zarr",
    }.items():
        if not (tmp_path / name).exists():
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match=rf"pip install '\.\[{extra}\]'"):
            gpustats.compute(tmp_path / name)
    with pytest.raises(DataError, match=r"https://host/a\.tar: .* pip install '\.\[remote\]'"):
        gpustats.compute("https://user:secret@host/a.tar?key=secret")
