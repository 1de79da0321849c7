"""MDS and LitData folders from their files: folders that the real packages wrote, and damaged ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

import gpustats
from tests.sources.packing import contents
from tests.sources.real_chunks import COUNT, HERE, IMAGES, LITDATA, MDS

COLUMN = {
    "mds_png_zstd": "picture", "mds_bytes_gz": "data", "mds_array": "x", "mds_fixed": "x", "mds_lists": "frames",
    "litdata_array": "0", "litdata_tensor": "x",
}  # fmt: skip


def check(stats: gpustats.Stats) -> None:
    """Compare with NumPy's numbers."""
    pixels = IMAGES.reshape(-1, 3)
    assert (stats.n_images, stats.exact, len(stats.failures)) == (COUNT, True, 0)
    assert stats.totals["moments"]["sum"] == pixels.sum(0).tolist()
    assert stats.std == pytest.approx(pixels.std(0) / 255, rel=1e-12)


@pytest.mark.parametrize("name", [*MDS, *LITDATA])
def test_what_the_real_writers_wrote(name: str) -> None:
    stats = gpustats.compute(HERE / name, device="cpu", progress=False)
    check(stats)
    assert stats.runs[0]["images_from"] == {f"column '{COLUMN.get(name, 'image')}'": COUNT}
    found = contents(HERE / name, **({"group": "1.label"} if name == "litdata_array" else {}))
    lists = name == "mds_lists"
    assert found.keys == [f"{name}/{i // 2}/{i % 2}" if lists else f"{name}/{i}" for i in range(COUNT)]
    assert [group for _, group, _ in found.images] == [str(i // 2 if lists else i % 3) for i in range(COUNT)]
    seen = gpustats.inspect(HERE / name)
    assert (seen.images, seen.kinds) == (COUNT, {"chunks": 1})


def copied(name: str, folder: Path) -> Path:
    shutil.copytree(HERE / name, folder / name)
    return folder / name


def changed(path: Path, change: Callable[[Any], None]) -> None:
    index = json.loads((path / "index.json").read_text())
    change(index)
    (path / "index.json").write_text(json.dumps(index))


def poke(path: Path, offset: int, data: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(whole)


def test_a_cache_holds_some_shards_and_their_unpacked_form(tmp_path: Path) -> None:
    raw = copied("mds_pil", tmp_path)

    def packed(index: Any) -> None:
        for shard in index["shards"]:
            shard |= {"compression": "zstd", "zip_data": {"basename": "not.there", "bytes": 1, "hashes": {}}}

    changed(raw, packed)
    check(gpustats.compute(raw, progress=False))
    (raw / "shard.00001.mds").unlink()
    found = contents(raw)
    assert found.failures == [("mds_pil/not.there", "missing")]
    assert found.keys == [f"mds_pil/{i}" for i in range(COUNT) if not 5 <= i < 10]


def test_the_column_and_the_layout(tmp_path: Path) -> None:
    folder = HERE / "mds_bytes_gz"
    check(gpustats.compute(folder, column="data", progress=False))
    for column, message in [
        ("x", "there is no column 'x'; there are: data, label, more, note"),
        (
            "more",
            r"no column holds images that are read; the columns are: data \(bytes\), label \(uint8\), more \(pkl",
        ),
        ("label", "no column holds images that are read"),
    ]:
        with pytest.raises(gpustats.AllImagesFailed, match=message):
            gpustats.compute(folder, column=column, progress=False)
    with pytest.raises(gpustats.AllImagesFailed, match=r"none of 12 .*has no.*format|first bytes"):
        gpustats.compute(folder, column="note", progress=False)
    with pytest.raises(gpustats.AllImagesFailed, match="holds several images"):
        gpustats.compute(HERE / "litdata_array", column="0", layout="HW", progress=False)
    check(gpustats.compute(HERE / "litdata_array", layout="CHW", progress=False))
    two = copied("mds_fixed", tmp_path)
    changed(two, lambda index: [shard.update(column_encodings=["png", "str_int", "jpeg"]) for shard in index["shards"]])
    with pytest.raises(
        gpustats.AllImagesFailed, match=r"several columns may hold images: embedding \(png\), x \(jpeg\)"
    ):
        gpustats.compute(two, progress=False)


def test_a_damaged_sample_costs_one_image(tmp_path: Path) -> None:
    for name, offset, data, reason in [
        ("mds_pil", 4 + 4, struct.pack("<I", 1 << 31), "truncated"),  # where the second sample begins
        ("litdata_pil", 4 + 4, struct.pack("<I", 40), "corrupt"),
    ]:
        folder = copied(name, tmp_path)
        chunk = folder / ("shard.00000.mds" if name == "mds_pil" else "chunk-0-0.bin")
        poke(chunk, offset, data)
        found = contents(folder)
        assert [key for key, _ in found.failures] == [f"{name}/0", f"{name}/1"]
        assert reason in {word for _, word in found.failures}
        assert len(found.keys) == COUNT - 2
    folder = copied("litdata_array", tmp_path)
    (first,) = struct.unpack("<I", (folder / "chunk-0-1.bin").read_bytes()[4:8])
    for offset, data in [(first + 8, b"\xff"), (first + 8 + 4, b"\x02"), (first + 8 + 8, b"\x09")]:  # type, axes, size
        shutil.copy(HERE / "litdata_array" / "chunk-0-1.bin", folder)
        poke(folder / "chunk-0-1.bin", offset, data)
        with pytest.warns(gpustats.ImagesFailedWarning, match="litdata_array/5: corrupt: not an array"):
            assert gpustats.compute(folder, progress=False).n_images == COUNT - 1
    folder = tmp_path / "mds_pil"
    shutil.copy(HERE / "mds_pil" / "shard.00000.mds", folder)
    (first,) = struct.unpack("<I", (folder / "shard.00000.mds").read_bytes()[4:8])
    for offset, data in [(first + 4, b"\xff\xff\xff\x7f"), (first + 16, b"?")]:  # width, mode
        shutil.copy(HERE / "mds_pil" / "shard.00000.mds", folder)
        poke(folder / "shard.00000.mds", offset, data)
        with pytest.warns(gpustats.ImagesFailedWarning, match="mds_pil/0: corrupt: not the pixels of a PIL image"):
            assert gpustats.compute(folder, progress=False).n_images == COUNT - 1


@pytest.mark.parametrize("where", ["count", "size", "offset"])
def test_a_damaged_list_costs_its_images(where: str, tmp_path: Path) -> None:
    folder = copied("mds_pil", tmp_path)
    value = struct.pack("<4I", 0, 2, 10, 10) + bytes(20)
    damage = {"count": (4, b"\xff\xff\xff\xff"), "size": (8, b"\x0b"), "offset": (4, b"\0")}[where]
    value = value[: damage[0]] + damage[1] + value[damage[0] + len(damage[1]) :]
    sample = struct.pack("<I", len(value)) + value + bytes(8)
    (folder / "shard.00000.mds").write_bytes(struct.pack("<3I", 1, 12, 12 + len(sample)) + sample)

    def only(index: Any) -> None:
        index["shards"] = [{**index["shards"][0], "samples": 1, "column_encodings": ["list[png]", "int"]}]

    changed(folder, only)
    found = contents(folder)
    assert found.failures == [("mds_pil/0", "corrupt")]
    assert "list" in found.messages[0]


def shard(**values: Any) -> Callable[[Any], None]:
    return lambda index: index["shards"][0].update(values)


def without_hashes(index: Any) -> None:
    for entry in index["shards"]:
        entry["zip_data"]["hashes"] = {}


def config(**values: Any) -> Callable[[Any], None]:
    return lambda index: index["config"].update(values)


OTHERS: list[tuple[str, Callable[[Any], None], str]] = [
    ("mds_pil", lambda index: index.pop("shards"), "corrupt: index.json is damaged: KeyError"),
    ("mds_pil", lambda index: index.update(shards=3), "corrupt: index.json is damaged: TypeError"),
    ("mds_pil", shard(version=3), "unsupported: a shard of format 'mds', version 3 is not read"),
    ("mds_pil", shard(format="csv"), "unsupported: a shard of format 'csv', version 2 is not read"),
    ("mds_pil", shard(column_names=["a"]), "corrupt: index.json is damaged: ValueError"),
    ("mds_pil", shard(raw_data={"basename": "../a.mds", "bytes": 3}), "names a file outside its folder: '../a.mds'"),
    ("mds_pil", shard(raw_data={"basename": "a\\b.mds", "bytes": 3}), "names a file outside its folder"),
    ("litdata_pil", config(encryption={}), ""),
    ("litdata_pil", config(encryption={"a": 1}), "unsupported: LitData's encrypted chunks are not read"),
    ("litdata_pil", config(item_loader="TokensLoader"), "unsupported: LitData's TokensLoader chunks are not read"),
    ("litdata_pil", config(compression_level="batch"), "unsupported: LitData's batch-compressed chunks are not read"),
    ("litdata_pil", config(data_format=["pil"]), "corrupt: index.json is damaged: ValueError"),
    ("litdata_pil", config(data_spec="[1, {]"), "corrupt: index.json is damaged: JSONDecodeError"),
]


@pytest.mark.parametrize("place", range(len(OTHERS)))
def test_other_indexes(place: int, tmp_path: Path) -> None:
    name, change, message = OTHERS[place]
    folder = copied(name, tmp_path)
    changed(folder, change)
    if not message:
        check(gpustats.compute(folder, progress=False))
        return
    with pytest.raises(gpustats.AllImagesFailed) as error:
        gpustats.compute(folder, progress=False)
    assert message in str(error.value)


SHARDS: list[tuple[str, Callable[[Path], Any], tuple[str, str]]] = [
    ("mds_png_zstd", lambda path: poke(path, 0, b"damage"), ("corrupt", "cannot be unpacked by zstd")),
    ("mds_bytes_gz", lambda path: poke(path, 20, b"damage"), ("corrupt", "does not have the sha1 that the index says")),
    (
        "mds_bytes_gz",
        lambda path: (changed(path.parent, without_hashes), poke(path, 20, b"damage")),
        ("corrupt", "cannot be unpacked by gz"),
    ),
    ("mds_array", lambda path: path.write_bytes(b""), ("corrupt", "cannot be unpacked by br")),
    ("mds_pil", lambda path: path.write_bytes(b""), ("corrupt", "the index says 5 samples, and the file 0")),
    ("mds_pil", lambda path: path.write_bytes(path.read_bytes()[:20]), ("corrupt", "the index says 5 samples")),
    ("mds_pil", lambda path: poke(path, 0, b"\x04"), ("corrupt", "the index says 5 samples, and the file 4")),
    (
        "litdata_pil",
        lambda path: path.write_bytes(b"LDFZ01\0\0"),
        ("unsupported", "LitData's framed chunks are not read"),
    ),
    ("litdata_arrow", lambda path: poke(path, 60, b"\0" * 400), ("corrupt", "the Arrow file in the chunk is damaged")),
]


@pytest.mark.parametrize("place", range(len(SHARDS)))
def test_a_damaged_chunk_is_one_failure(place: int, tmp_path: Path) -> None:
    name, damage, (reason, message) = SHARDS[place]
    folder = copied(name, tmp_path)
    first = min(path for path in folder.iterdir() if path.name != "index.json")
    damage(first)
    found = contents(folder)
    assert found.failures == [(f"{name}/{first.name}", reason)]
    assert message in found.messages[0]
    assert 0 < len(found.keys) < COUNT


def test_a_chunk_that_is_larger_than_the_index_says_or_than_allowed(tmp_path: Path) -> None:
    for name in ("mds_png_zstd", "mds_bytes_gz", "mds_array", "mds_fixed", "mds_lists"):
        folder = copied(name, tmp_path)
        changed(folder, lambda index: index["shards"][0]["raw_data"].update(bytes=200))
        (failure,) = contents(folder).failures
        assert failure[1] == "corrupt"
    shards = json.loads((HERE / "mds_png_zstd" / "index.json").read_text())["shards"]
    found = contents(HERE / "mds_png_zstd", max_bytes=max(shard["zip_data"]["bytes"] for shard in shards))
    assert "too_large" in {reason for _, reason in found.failures}
    changed(tmp_path / "mds_fixed", lambda index: index["shards"][0].update(compression="lzo"))
    assert "compressed by 'lzo' are not read" in contents(tmp_path / "mds_fixed").messages[0]


def in_memory(folder: Path) -> str:
    """Copy a folder to the file system of fsspec in memory, and return its URL."""
    system = pytest.importorskip("fsspec", reason="fsspec is not installed").filesystem("memory")
    for path in folder.iterdir():
        system.pipe(f"/chunks{folder.as_posix()}/{path.name}", path.read_bytes())
    return f"memory://chunks{folder.as_posix()}"


@pytest.mark.parametrize("name", [*MDS, *LITDATA])
def test_chunks_behind_urls(name: str, tmp_path: Path) -> None:
    url = in_memory(copied(name, tmp_path))
    stats = gpustats.compute(url, device="cpu", progress=False)
    check(stats)
    assert stats.runs[0]["images_from"] == {f"column '{COLUMN.get(name, 'image')}'": COUNT}
    found, local = contents(url + "/"), contents(tmp_path / name)
    assert (found.keys, found.images) == (local.keys, local.images)
    seen = gpustats.inspect(url)
    assert (seen.images, seen.kinds) == (COUNT, {"chunks": 1})


def test_damaged_chunks_behind_urls(tmp_path: Path) -> None:
    folder = copied("mds_png_zstd", tmp_path)
    first, second = sorted(folder.glob("*.zstd"))[:2]
    poke(first, 0, b"damage")
    second.unlink()
    found = contents(in_memory(folder))
    assert found.failures == [(f"mds_png_zstd/{first.name}", "corrupt"), (f"mds_png_zstd/{second.name}", "missing")]
    whole = HERE / "mds_png_zstd"
    shards = json.loads((whole / "index.json").read_text())["shards"]
    found = contents(in_memory(whole), max_bytes=max(shard["zip_data"]["bytes"] for shard in shards))
    assert "too_large" in {reason for _, reason in found.failures}
    assert len(contents(in_memory(folder), max_bytes=100).failures) == len(list(folder.glob("*.zstd"))) + 1
    (folder / "index.json").write_text("{")
    assert contents(in_memory(folder)).failures == [("mds_png_zstd", "corrupt")]


@pytest.mark.parametrize("name", ["mds_pil", "mds_png_zstd"])
@pytest.mark.parametrize("hashes", [("sha1",), ("xxh64",), ("md5", "xxh3_128"), ("blake2b", "unknown"), ("unknown",)])
@pytest.mark.parametrize("remote", [False, True])
def test_hashes_of_the_index(remote: bool, hashes: tuple[str, ...], name: str, tmp_path: Path) -> None:
    folder = copied(name, tmp_path)
    files = sorted(path for path in folder.iterdir() if path.name != "index.json")

    def digest(path: Path, algorithm: str) -> str:
        if algorithm == "unknown":
            return "5"
        make: Any = getattr(xxhash, algorithm, None) or getattr(hashlib, algorithm)
        found: str = make(path.read_bytes()).hexdigest()
        return found

    def write(index: Any) -> None:
        for shard, path in zip(index["shards"], files, strict=True):
            stored = shard["zip_data"] or shard["raw_data"]
            stored["hashes"] = {algorithm: digest(path, algorithm) for algorithm in hashes}

    changed(folder, write)
    place = in_memory(folder) if remote else str(folder)
    check(gpustats.compute(place, device="cpu", progress=False))
    changed(folder, lambda index: index["shards"][0].update(index["shards"][1], samples=index["shards"][0]["samples"]))
    changed(folder, lambda index: [index["shards"][0][part].update(basename=files[0].name) for part in _PARTS[name]])
    found = contents(in_memory(folder) if remote else folder)
    if hashes == ("unknown",):
        assert not found.messages
        return
    chosen = next((algorithm for algorithm in hashes if algorithm.startswith("xxh")), hashes[0])
    assert found.failures[0] == (f"{name}/{files[0].name}", "corrupt")
    assert f"does not have the {chosen} that the index says" in found.messages[0]


_PARTS = {"mds_pil": ("raw_data",), "mds_png_zstd": ("zip_data",)}


def test_a_checkpoint_reads_new_chunks_alone(tmp_path: Path) -> None:
    folder = copied("mds_pil", tmp_path)
    first = gpustats.compute(folder, progress=False, checkpoint=tmp_path / "c")
    assert gpustats.compute(folder, progress=False, checkpoint=tmp_path / "c") == first
    check(first)


def test_samples_are_drawn(tmp_path: Path) -> None:
    stats = gpustats.compute(HERE / "mds_pil", progress=False, sample=4)
    assert stats.n_images == 4
    assert stats.is_estimate


def test_what_is_no_folder_of_chunks(tmp_path: Path) -> None:
    lone = copied("mds_pil", tmp_path) / "shard.00000.mds"
    with pytest.raises(
        gpustats.DataError, match=r"a shard of MDS is read with the index.json beside it: give the folder"
    ):
        gpustats.compute(lone)
