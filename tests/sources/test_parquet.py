"""Parquet files: what pyarrow wrote is read, whatever the options; damage costs a row group at most."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gpustats
from gpustats.failures import Failure
from gpustats.sources import SourceOptions, load, open_source
from gpustats.sources.base import Part
from tests.images import encoded, photo

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")

CODECS = ("none", "snappy", "gzip", "brotli", "zstd", "lz4")


def mixed(rows: int, seed: int = 0) -> list[bytes | None]:
    """Values of many sizes: some missing, empty, alike, larger than a piece, some that compress well."""
    rng = random.Random(seed)
    values: list[bytes | None] = []
    for i in range(rows):
        size = rng.choice([0, 1, 3, 90, 4_000, 70_000])
        data = rng.randbytes(size) if rng.random() < 0.6 else rng.randbytes(1 + size // 50) * 50
        values.append(rng.choice([data] * 6 + [None, b"same", values[i // 2] if i else b""]))
    if rows > 5:
        values[5] = rng.randbytes(1_500_000)
    return values


def written(column: Any, name: str = "image", **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({name: column}), file, **options)
    return file.getvalue()


def rows_of(path: Path, **options: Any) -> tuple[list[tuple[str, str, bytes]], list[Failure]]:
    """Key, group and content of each row, and the failures."""
    samples: list[Any] = list(open_source(path, SourceOptions(**options)).samples())
    found = [(s[0], s[1], bytes(s[2])) for s in samples if isinstance(s, tuple)]
    return found, [s for s in samples if isinstance(s, Failure)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dictionary": False},
        {"data_page_version": "2.0"},
        {"data_page_version": "2.0", "use_dictionary": False, "data_page_size": 1000, "write_batch_size": 3},
        {"dictionary_pagesize_limit": 100_000, "write_batch_size": 10},
        {"data_page_size": 10, "write_batch_size": 7},
        {"row_group_size": 33},
        {"write_page_checksum": True},
        {"write_statistics": False, "store_schema": False, "version": "1.0"},
    ],
    ids=str,
)
def test_the_values_that_were_written(codec: str, options: dict[str, Any], tmp_path: Path) -> None:
    values = mixed(150)
    (tmp_path / "a.parquet").write_bytes(written(values, compression=codec, **options))
    found, failures = rows_of(tmp_path / "a.parquet")
    assert found == [(f"a.parquet/{i}", "", value) for i, value in enumerate(values) if value is not None]
    missing = [f"a.parquet/{i}" for i, value in enumerate(values) if value is None]
    assert [(failure.key, failure.reason) for failure in failures] == [(key, "missing") for key in missing]


def test_columns_that_need_not_be_there_and_structs(tmp_path: Path) -> None:
    values = mixed(60)
    present = [value or b"x" for value in values]
    schema = pa.schema([pa.field("image", pa.binary(), nullable=False)])
    pq.write_table(pa.table({"image": present}, schema=schema), tmp_path / "a.parquet")
    assert [row[2] for row in rows_of(tmp_path / "a.parquet")[0]] == present
    structs = [None if i % 7 == 3 else {"bytes": value, "path": None} for i, value in enumerate(values)]
    (tmp_path / "a.parquet").write_bytes(written(structs))
    expected = [value for i, value in enumerate(values) if i % 7 != 3 and value is not None]
    found, failures = rows_of(tmp_path / "a.parquet")
    assert [row[2] for row in found] == expected
    assert len(failures) == 60 - len(expected)


def test_row_groups_are_parts(tmp_path: Path) -> None:
    values = [b"%d" % i for i in range(1000)]
    (tmp_path / "a.parquet").write_bytes(written(values, row_group_size=7))
    parts: list[Any] = list(open_source(tmp_path / "a.parquet").parts())
    assert all(isinstance(part, Part) for part in parts)
    assert 40 < len(parts) <= 64
    assert [part.count for part in parts] == [len(list(part.open(*part.args).members())) for part in parts]
    assert rows_of(tmp_path / "a.parquet")[0] == [(f"a.parquet/{i}", "", value) for i, value in enumerate(values)]
    (tmp_path / "b.parquet").write_bytes(written(values))
    assert not any(isinstance(part, Part) for part in open_source(tmp_path / "b.parquet").parts())


def test_keys_and_groups_of_many_rows(tmp_path: Path) -> None:
    rows = [{"bytes": str(i).encode(), "path": f"{i}.jpg"} for i in range(3000)]
    table = pa.table({"image": rows, "label": [f"g{i % 7}" for i in range(3000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2500)
    samples = [sample for sample in open_source(tmp_path / "a.parquet").samples() if isinstance(sample, tuple)]
    assert [(key, group) for key, group, _ in samples] == [(f"a.parquet/{i}/{i}.jpg", f"g{i % 7}") for i in range(3000)]
    assert [load(item, 99) for _, _, item in samples] == [str(i).encode() for i in range(3000)]


@pytest.mark.parametrize("rows", [[], [None], [None] * 3000], ids=len)
def test_rows_without_any_value(rows: list[None], tmp_path: Path) -> None:
    for options in ({}, {"use_dictionary": False}, {"data_page_version": "2.0"}):
        (tmp_path / "a.parquet").write_bytes(written(pa.array(rows, pa.binary()), **options))
        found, failures = rows_of(tmp_path / "a.parquet")
        assert (found, [f.reason for f in failures]) == ([], ["missing"] * len(rows))


@pytest.mark.parametrize("options", [{"compression": "lz4"}, {"compression": "snappy"}], ids=str)
def test_either_way_gives_the_same_result(options: dict[str, Any], tmp_path: Path) -> None:
    images = [encoded(photo(40 + i, 50, seed=i)) for i in range(12)]
    (tmp_path / "a.parquet").write_bytes(written(images, row_group_size=5, **options))
    stats = gpustats.compute(tmp_path / "a.parquet", progress=False, device="cpu")
    assert stats.n_images == 12
    assert stats.n_pixels == sum((40 + i) * 50 for i in range(12))


@pytest.mark.parametrize("codec", ["snappy", "lz4"])
def test_a_value_that_is_too_large_is_named(codec: str, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(written([b"a", b"bcd", b"e"], compression=codec))
    found = list(open_source(tmp_path / "a.parquet", SourceOptions(max_bytes=2)).samples())
    failures = [(failure.key, failure.reason) for failure in found if isinstance(failure, Failure)]
    assert failures == [("a.parquet/1", "too_large")]
    assert [sample[0] for sample in found if isinstance(sample, tuple)] == ["a.parquet/0", "a.parquet/2"]


@pytest.mark.parametrize("codec", ["snappy", "lz4"])
def test_batches_hold_a_few_megabytes(codec: str, tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = [rng.randbytes(1_000_000) for _ in range(30)]
    (tmp_path / "a.parquet").write_bytes(written(rows, compression=codec))
    batches = list(open_source(tmp_path / "a.parquet").batches())
    assert [load(item, 1 << 20) for batch in batches for item in batch.items] == rows
    assert max(map(len, batches)) == 5


def test_isolated_decoding(tmp_path: Path) -> None:
    """Rows are views of what Arrow read, which do not travel to another process."""
    (tmp_path / "a.parquet").write_bytes(written([encoded(photo(20, 30, seed=i)) for i in range(6)], row_group_size=4))
    stats = gpustats.compute(tmp_path / "a.parquet", progress=False, device="cpu", workers=1, isolate=True)
    assert (stats.n_images, len(stats.failures)) == (6, 0)


# Damage


def test_a_damaged_page_costs_the_rest_of_its_row_group(tmp_path: Path) -> None:
    images = [encoded(photo(20, 30, seed=i)) for i in range(30)]
    data = bytearray(written(images, row_group_size=10, use_dictionary=False, compression="snappy"))
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0)
    data[column.data_page_offset : column.data_page_offset + 10] = b"\xff" * 10
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(tmp_path / "a.parquet", progress=False, device="cpu", workers=2)
    assert stats.n_images == 20
    assert {failure.key: failure.reason for failure in stats.failures} == {"a.parquet: row group 1": "corrupt"}


def test_files_with_wrong_bytes_end_neither_the_process_nor_the_run(tmp_path: Path) -> None:
    paths = []
    for codec in ("none", "snappy", "zstd", "lz4"):
        options = {"compression": codec, "row_group_size": 4, "store_schema": False}
        data = written([{"bytes": b"image %d" % i * 20, "path": "x.png"} for i in range(12)], **options)
        rng = random.Random(codec)
        for number in range(30):
            damaged = bytearray(data)
            for _ in range(rng.choice([1, 1, 2, 8])):
                damaged[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
            if number % 10 == 9:
                del damaged[rng.randrange(len(data)) :]
            paths.append(tmp_path / f"{codec}-{number}.parquet")
            paths[-1].write_bytes(damaged)
    assert len(read_elsewhere(*paths)) == len(paths)


def encrypted_file(path: Path, encrypt_footer: bool) -> None:
    encryption = pytest.importorskip("pyarrow.parquet.encryption")

    class Kms(encryption.KmsClient):  # type: ignore[misc, name-defined]
        def wrap_key(self, key: bytes, master: str) -> bytes:
            return key.hex().encode()

    settings = encryption.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["image"]}, plaintext_footer=not encrypt_footer
    )
    factory = encryption.CryptoFactory(lambda _: Kms())
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), settings)
    table = pa.table({"image": [b"a", b"b"], "label": [1, 2]})
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


READ_ALL = """
import sys
from gpustats.failures import Failure
from gpustats.sources import open_source
for path in sys.argv[1:]:
    print([str(s) for s in open_source(path).samples() if isinstance(s, Failure)])
"""


def read_elsewhere(*paths: Path) -> list[str]:
    """The failures in each file, read in a process of its own: pyarrow's metadata can end one."""
    done = subprocess.run([sys.executable, "-c", READ_ALL, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("encrypt_footer", [False, True])
def test_an_encrypted_column_is_named(encrypt_footer: bool, tmp_path: Path) -> None:
    encrypted_file(tmp_path / "a.parquet", encrypt_footer)
    (failures,) = read_elsewhere(tmp_path / "a.parquet")
    assert "unsupported: Parquet: encrypted columns are not read" in failures


def test_a_footer_with_any_wrong_byte_ends_nothing(tmp_path: Path) -> None:
    data = written([{"bytes": b"x", "path": "x.png"}] * 3, store_schema=False)
    size = int.from_bytes(data[-8:-4], "little") + 8
    paths = []
    for place in range(len(data) - size, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        paths.append(tmp_path / f"{place}.parquet")
        paths[-1].write_bytes(damaged)
    assert len(read_elsewhere(*paths)) == size


def test_a_column_called_like_a_member_of_a_struct(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"image.bytes": [b"no"] * 2, "image": [{"bytes": b"a", "path": "p"}] * 2, "image.path": ["q"] * 2})
    pq.write_table(table, path)
    assert rows_of(path, column="image") == ([(f"a.parquet/{i}/p", "", b"a") for i in range(2)], [])
    assert rows_of(path, column="image.bytes") == ([(f"a.parquet/{i}", "", b"no") for i in range(2)], [])


def test_names_that_are_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    images = pa.array([b"a"])
    pq.write_table(pa.Table.from_arrays([images, images], ["image", "image"]), path)
    assert [f.message for f in rows_of(path)[1]] == ["2 columns are called 'image'; rename all but one"]
    labels = pa.array([1])
    pq.write_table(pa.Table.from_arrays([images, labels, labels], ["image", "label", "label"]), path)
    assert rows_of(path) == ([("a.parquet/0", "", b"a")], [])
    assert [f.message for f in rows_of(path, group="label")[1]] == ["2 columns are called 'label'; rename all but one"]
    struct = pa.StructArray.from_arrays([images, images], ["bytes", "bytes"])
    pq.write_table(pa.table({"image": struct}), path)
    assert "no column holds images or paths" in rows_of(path)[1][0].message


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    text = pa.array([b"caf\xe9"]).cast(pa.binary()).view(pa.string())
    struct = pa.StructArray.from_arrays([pa.array([b"a"]), text], ["bytes", "path"])
    pq.write_table(pa.table({"image": struct, "label": text}), path)
    assert rows_of(path) == ([("a.parquet/0/caf\udce9", "caf\udce9", b"a")], [])


@pytest.mark.parametrize(
    ("labels", "group"),
    [
        (pa.array([1 << 30], pa.int32()).view(pa.date32()), str(1 << 30)),
        (pa.array([1 << 62], pa.int64()).view(pa.duration("s")), str(1 << 62)),
        (pa.array([0], pa.int64()).view(pa.timestamp("s", "Nowhere/Atlantis")), "0"),
        (pa.array([0], pa.int64()).view(pa.timestamp("s")), "1970-01-01 00:00:00"),
    ],
    ids=["date", "duration", "zone", "timestamp"],
)
def test_labels_that_python_has_no_value_for(labels: Any, group: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"a"], "label": labels}), tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet") == ([("a.parquet/0", group, b"a")], [])


def test_class_names_that_are_nested_too_deep(tmp_path: Path) -> None:
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())], {b"huggingface": b"[" * 100_000})
    pq.write_table(pa.table({"image": [b"a"], "label": [7]}, schema=schema), tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet") == ([("a.parquet/0", "7", b"a")], [])


@pytest.mark.parametrize("name", ["s3:a.parquet", b"caf\xe9.parquet", "a b%20#?.parquet"], ids=str)
def test_names_of_files_that_are_no_urls(name: str | bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    try:
        path.write_bytes(written([b"a"]))
    except OSError as error:
        pytest.skip(f"this file system has no such names: {error}")
    assert rows_of(path) == ([(f"{path}/0", "", b"a")], [])
    assert open_source(path).count() == 1


@pytest.mark.parametrize("compression", ["snappy", "lz4"])
@pytest.mark.parametrize(
    "kind", [pa.binary_view(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary()), pa.binary(1)], ids=str
)
def test_images_in_columns_of_other_types(kind: Any, compression: str, tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"image": pa.array([b"a", b"b", None], kind)}), tmp_path / "a.parquet", compression=compression
    )
    found, failures = rows_of(tmp_path / "a.parquet")
    assert found == [("a.parquet/0", "", b"a"), ("a.parquet/1", "", b"b")]
    assert [f.reason for f in failures] == ["missing"]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_paths_in_columns_of_other_types(kind: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": pa.array(["x.jpg", None], kind)}), tmp_path / "a.parquet")
    samples = list(open_source(tmp_path / "a.parquet").samples())
    assert ("a.parquet/0/x.jpg", "", str(tmp_path / "x.jpg")) in samples


@pytest.mark.parametrize("compression", ["snappy", "lz4"])
def test_numbers_of_rows_that_contradict_one_another(compression: str, tmp_path: Path) -> None:
    data = written([b"%d" % i for i in range(55)], compression=compression, store_schema=False)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    rows = b"\x16\x6e"  # a field after the one before it, of 64 bits: 55
    places = [i for i in range(footer, len(data)) if data[i : i + 2] == rows]
    assert len(places) == 3, "of the file, of the column, of the row group"
    for place in places:
        for number in (0, 54, 56):
            (tmp_path / "a.parquet").write_bytes(data[: place + 1] + bytes([2 * number]) + data[place + 2 :])
            found, failures = rows_of(tmp_path / "a.parquet")
            assert [f.reason for f in failures] == ["corrupt"] or (failures, len(found)) == ([], 55), (place, number)
            assert len(found) <= 55
