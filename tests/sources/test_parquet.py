"""Parquet columns read in pieces: the same values as Arrow reads, early, whatever the writer chose."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats.failures import Failure, ImageError
from gpustats.sources import SourceOptions, load, open_source
from tests.images import encoded, photo

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")

from gpustats.sources import parquet_pages, snappy  # noqa: E402 - they need pyarrow
from gpustats.sources.parquet_footer import Column, find_columns  # noqa: E402
from gpustats.sources.thrift import read_struct  # noqa: E402

CODECS = ("none", "snappy", "gzip", "brotli", "zstd")


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


def find(data: bytes, *path: str) -> Column:
    """The column in the first row group."""
    column = find_columns(io.BytesIO(data), path or ("image",))[0]
    assert column is not None, "left to Arrow"
    return column


def read(data: bytes, *path: str, max_bytes: int = 1 << 30) -> list[Any]:
    """All values of all row groups; every one must be readable."""
    found: list[Any] = []
    stream = io.BytesIO(data)
    columns = find_columns(stream, path or ("image",))
    assert len(columns) == pq.ParquetFile(io.BytesIO(data)).num_row_groups
    for column in columns:
        assert column is not None, "left to Arrow"
        for value in parquet_pages.values(stream, column, max_bytes):
            found.append(bytes(value) if isinstance(value, memoryview) else value)
    return found


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
def test_the_values_that_were_written(codec: str, options: dict[str, Any]) -> None:
    values = mixed(150)
    assert read(written(values, compression=codec, **options)) == values


@pytest.mark.parametrize("codec", ["none", "snappy"])
def test_a_dictionary_and_plain_pages_in_one_column(codec: str) -> None:
    values = mixed(150)
    data = written(values, compression=codec, dictionary_pagesize_limit=100_000, write_batch_size=10)
    column = find(data)
    pages = list(parquet_pages._pages(io.BytesIO(data), column))
    assert [page.kind for page in pages].count(2) == 1
    assert {page.encoding for page in pages[1:]} == {0, 8}


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.none() | st.binary(max_size=40) | st.sampled_from([b"a", b"bc" * 9])),
    codec=st.sampled_from(CODECS),
    dictionary=st.booleans(),
    version=st.sampled_from(["1.0", "2.0"]),
    page=st.sampled_from([1, 100, 1 << 20]),
    batch=st.sampled_from([1, 2, 1024]),
)
def test_any_values(
    rows: list[bytes | None], codec: str, dictionary: bool, version: str, page: int, batch: int
) -> None:
    options = {"compression": codec, "use_dictionary": dictionary, "data_page_version": version}
    data = written(pa.array(rows, pa.binary()), data_page_size=page, write_batch_size=batch, **options)
    assert read(data) == rows


def test_columns_that_need_not_be_there_and_structs_in_structs() -> None:
    values = mixed(60)
    present = [value or b"x" for value in values]
    schema = pa.schema([pa.field("image", pa.binary(), nullable=False)])
    file = io.BytesIO()
    pq.write_table(pa.table({"image": present}, schema=schema), file)
    assert read(file.getvalue()) == present
    structs = [None if i % 7 == 3 else {"bytes": value, "path": "p"} for i, value in enumerate(values)]
    expected = [None if row is None else row["bytes"] for row in structs]
    assert read(written(structs), "image", "bytes") == expected
    nested = [None if i % 5 == 3 else {"a": row} for i, row in enumerate(structs)]
    expected = [None if i % 5 == 3 else value for i, value in enumerate(expected)]
    assert read(written(nested), "image", "a", "bytes") == expected


def test_a_dictionary_in_another_order_with_values_nobody_refers_to() -> None:
    words = [b"never", b"late" * 300_000, b"early", b"never again", b"twice"]
    rows = pa.DictionaryArray.from_arrays(pa.array([4, 2, None, 1, 2, 4], pa.int32()), pa.array(words, pa.binary()))
    data = written(rows)
    assert read(data) == [words[4], words[2], None, words[1], words[2], words[4]]


def test_values_are_not_held_longer_than_they_are_needed() -> None:
    rng = random.Random(4)
    words = [rng.randbytes(100_000) for _ in range(100)]
    rows = pa.DictionaryArray.from_arrays(pa.array(range(0, 100, 2), pa.int32()), pa.array(words, pa.binary()))
    data = written(rows, compression="none")
    column = find(data)
    stream = io.BytesIO(data)
    tracemalloc.start()
    try:
        assert sum(1 for _ in parquet_pages.values(stream, column, 1 << 30)) == 50
        assert tracemalloc.get_traced_memory()[1] < 2_500_000
    finally:
        tracemalloc.stop()


def test_keys_and_groups_of_many_rows(tmp_path: Path) -> None:
    rows = [{"bytes": str(i).encode(), "path": f"{i}.jpg"} for i in range(3000)]
    table = pa.table({"image": rows, "label": [f"g{i % 7}" for i in range(3000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2500)
    samples = [sample for sample in open_source(tmp_path / "a.parquet").samples() if isinstance(sample, tuple)]
    assert [(key, group) for key, group, _ in samples] == [(f"a.parquet/{i}/{i}.jpg", f"g{i % 7}") for i in range(3000)]
    assert [load(item, 99) for _, _, item in samples] == [str(i).encode() for i in range(3000)]


def test_rows_without_any_value() -> None:
    for options in ({}, {"use_dictionary": False}, {"data_page_version": "2.0"}):
        for rows in ([], [None], [None] * 3000):
            assert read(written(pa.array(rows, pa.binary()), **options)) == rows


@pytest.mark.parametrize(
    ("column", "options"),
    [
        ([b"a", b"b"], {"use_dictionary": False, "column_encoding": {"image": "DELTA_LENGTH_BYTE_ARRAY"}}),
        ([b"a", b"b"], {"compression": "lz4"}),
        (pa.array([b"aa", b"bb"], pa.binary(2)), {}),
        ([[b"a"], [b"b"]], {}),
    ],
    ids=["encoding", "codec", "fixed size", "lists"],
)
def test_what_is_left_to_arrow(column: Any, options: dict[str, Any]) -> None:
    data = io.BytesIO(written(column, **options))
    path = pq.ParquetFile(data).metadata.row_group(0).column(0).path_in_schema.split(".")
    assert find_columns(data, path) in ([], [None])
    assert find_columns(data, ["other"]) == []


@pytest.mark.parametrize("options", [{"compression": "lz4"}, {"compression": "snappy"}], ids=str)
def test_either_way_gives_the_same_result(options: dict[str, Any], tmp_path: Path) -> None:
    images = [encoded(photo(40 + i, 50, seed=i)) for i in range(12)]
    (tmp_path / "a.parquet").write_bytes(written(images, row_group_size=5, **options))
    stats = gpustats.compute(tmp_path / "a.parquet", progress=False, device="cpu")
    assert stats.n_images == 12
    assert stats.n_pixels == sum((40 + i) * 50 for i in range(12))


class Counted(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self.count += count
        return count


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_first_value_comes_before_the_page_has_been_read(codec: str, dictionary: bool) -> None:
    rng = random.Random(1)
    rows = [rng.randbytes(100_000) for _ in range(100)]
    # One page for all, as pyarrow writes them while it takes a thousand rows at a time.
    data = written(rows, compression=codec, use_dictionary=dictionary, data_page_size=1 << 30)
    assert len(data) > 10_000_000
    column = find(data)
    stream = Counted(data)
    values = parquet_pages.values(stream, column, 1 << 30)
    assert next(values) == rows[0]
    assert stream.count < 1_000_000
    assert [bytes(value) for value in values if isinstance(value, memoryview)] == rows[1:]
    assert stream.count < 1.01 * len(data)


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_value_that_is_too_large_is_passed_over(dictionary: bool) -> None:
    rows = [b"a", b"x" * 2_000_000, b"b"]
    first, second, third = read(written(rows, use_dictionary=dictionary), max_bytes=1_000_000)
    assert (first, third) == (b"a", b"b")
    assert isinstance(second, ImageError)
    assert second.reason == "too_large"


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


# Damage


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}], ids=str)
def test_damaged_pages_are_an_error_or_other_values(codec: str, options: dict[str, Any]) -> None:
    rows = [None, b"one" * 30, b"", b"two", b"one" * 30] * 3
    data = bytearray(written(rows, compression=codec, **options))
    column = find(data)
    chunk = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    errors = 0
    for position in range(column.start, column.start + chunk.total_compressed_size):
        for value in (0, 1, 2, 127, 128, 255, data[position] ^ 1):
            damaged = bytearray(data)
            damaged[position] = value
            try:
                found = list(parquet_pages.values(io.BytesIO(damaged), column, 1 << 20))
                assert len(found) == len(rows)
            except (ImageError, pa.ArrowException, OSError):  # ParquetSource takes the last two for "corrupt"
                errors += 1
    assert errors > 10
    for end in range(column.start, column.start + chunk.total_compressed_size, 3):
        with pytest.raises((ImageError, OSError)):
            list(parquet_pages.values(io.BytesIO(data[:end]), column, 1 << 20))


@pytest.mark.parametrize("tag", [b"\xfc\xff\xff", b"\xfe\xff\xff"], ids=["a literal too long", "a copy from before"])
def test_damage_in_the_middle_costs_no_more_than_the_rest(tag: bytes, tmp_path: Path) -> None:
    rng = random.Random(2)
    data = bytearray(written([encoded(photo(20, 30, seed=i)) + rng.randbytes(100_000) for i in range(30)]))
    at = data.index(b"\xf4\xff\xff", 2_000_000)  # where a fragment begins: a literal of 64 KiB
    data[at : at + 3] = tag
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(tmp_path / "a.parquet", progress=False, device="cpu")
    assert 10 <= stats.n_images <= 20
    assert {failure.key: failure.reason for failure in stats.failures} == {"a.parquet": "corrupt"}


def column_of(rows: int, body: bytes, codec: str = "UNCOMPRESSED", depth: int = 0) -> list[Any]:
    column = parquet_pages.Column(0, rows, codec, depth)
    return list(parquet_pages.values(io.BytesIO(body), column, 1 << 20))


def zigzag(value: int) -> bytes:
    value = value << 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def page(kind: int, count: int, encoding: int, body: bytes, *, size: int | None = None) -> bytes:
    """A page of version 1, or a dictionary: the header as the Thrift protocol has it."""
    details = b"\x15" + zigzag(count) + b"\x15" + zigzag(encoding) + b"\x15\x06\x15\x06\x00"
    parts = [b"\x15" + zigzag(number) for number in (kind, len(body) if size is None else size, len(body))]
    return b"".join(parts) + bytes([(5 if kind == 0 else 7) - 3 << 4 | 12]) + details + b"\x00" + body


def plain(*values: bytes) -> bytes:
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def test_pages_made_by_hand() -> None:
    assert column_of(2, page(0, 2, 0, plain(b"a", b"bc"))) == [b"a", b"bc"]
    dictionary = page(2, 2, 0, plain(b"a", b"bc"))
    indices = page(0, 3, 8, b"\x01" + b"\x03\x05")  # one bit each, eight packed: 1, 0, 1, 0...
    assert column_of(3, dictionary + indices) == [b"bc", b"a", b"bc"]
    repeated = page(0, 3, 2, b"\x01" + b"\x06\x01")  # 1 three times
    assert column_of(3, dictionary + repeated) == [b"bc"] * 3
    index = page(1, 0, 0, b"?")
    assert column_of(3, index + dictionary + repeated) == [b"bc"] * 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (page(0, 3, 0, plain(b"a", b"b")), "more values than the 2 rows"),
        (page(0, 2, 0, plain(b"a")), "ends within a value"),
        (page(0, 2, 0, plain(b"a") + b"\xff\xff\0\0"), "ends within a value"),
        (page(0, 2, 8, b"\x01\x03\x05"), "refers to value 1 of a dictionary of 0"),
        (page(2, 1, 0, plain(b"a")) + page(0, 2, 8, b"\x01\x03\x05"), "refers to value 1 of a dictionary of 1"),
        (page(2, 9, 0, plain(b"a")) + page(0, 2, 8, b"\x01\x03\x05"), "ends within a value"),
        (page(2, 1, 0, plain(b"a")) * 2, "a second dictionary"),
        (page(0, 2, 8, b"\x20\x03\x05"), "numbers of 32 bits"),
        (page(0, 2, 8, b"\x01\x00\x00"), "a run of none"),
        (page(0, 2, 8, b"\x08\x04"), "a run of none"),
        (page(0, 2, 8, b"\x08" + b"\xff" * 11), "too long"),
        (page(0, 2, 8, b"\x08" + bytes(100)), "too long"),
        (page(0, 2, 5, b""), "a page in encoding 5"),
        (page(0, 1, 0, plain(b"a")) + page(0, 1, 8, b"\x01\x02\x00"), "follow values outside of it"),
        (page(0, 2, 0, plain(b"a", b"b"))[:20], "ends within a page"),
        (b"\x15\x00\x15\x02\x15\x02\x00a", "does not say what is in it"),
        (b"\x15\x00\x15\x01\x15\x02\x00a", "no valid field 2"),
        (b"\x15\x00\x11\x15\x02\x00a", "no valid field 2"),
        (b"\x15\x00\x15\x02\x15\xfe\xff\xff\xff\xff\x1f\x00a", "no valid field 3"),
        (b"\x1b\x00", "a field of type 11"),
        (b"\x18\xff\xff\xff\x7f", "a structure of more than 16,777,216 bytes"),
        (b"\x1c" * 50, "too many structures"),
        (b"\x15" + b"\xff" * 20, "does not end"),
    ],
)
def test_what_is_wrong_with_a_page(body: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        column_of(2, body)


def test_levels_that_are_too_long() -> None:
    with pytest.raises(ImageError, match=r"10,000 bytes of levels for 2 values"):
        column_of(2, page(0, 2, 0, (10_000).to_bytes(4, "little")), depth=1)


def test_a_header_with_fields_of_every_kind() -> None:
    data = io.BytesIO(b"\x11\x12\x13\x07\x14\x03\x16\x04\x17abcdefgh\x18\x02xy\x1c\x15\x06\x00\x05\xc8\x01\x08\x00")
    assert read_struct(data.read) == {
        **{1: True, 2: False, 3: 7, 4: -2, 5: 2, 6: b"abcdefgh", 7: b"xy", 8: {1: 3}, 100: 4}
    }


def test_lists_in_a_header() -> None:
    lists = [b"\x25\x02\x04", b"\x22\x01\x02", b"\xf8\x02\x01a\x00", b"\x1c\x15\x06\x00", b"\x19\x15\x02"]
    data = io.BytesIO(b"".join(b"\x19" + part for part in lists) + b"\x00")
    assert read_struct(data.read) == {1: [1, 2], 2: [True, False], 3: [b"a", b""], 4: [{1: 3}], 5: [[1]]}


# Snappy


def pieces(block: bytes, size: int) -> list[bytes]:
    def read_into(position: int, buffer: memoryview) -> None:
        buffer[:] = block[position : position + len(buffer)]

    return [bytes(piece) for piece in snappy.pieces(read_into, len(block), size)]


def compressed(data: bytes) -> bytes:
    return bytes(pa.Codec("snappy").compress(data))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 524_288, 3_000_001])
def test_snappy_in_pieces(share: float, size: int) -> None:
    rng = np.random.default_rng(size)
    data = rng.integers(0, 256, size, np.uint8)
    data[rng.random(size) < share] = 7
    parts = pieces(compressed(data.tobytes()), size)
    assert b"".join(parts) == data.tobytes()
    assert len(parts) > 3 or size < 1_000_000 or share > 0.5


def literal(data: bytes) -> bytes:
    return bytes([62 << 2]) + (len(data) - 1).to_bytes(3, "little") + data


def test_snappy_that_refers_back_beyond_a_fragment_is_read_whole() -> None:
    """No compressor is known to do so; the format allows it."""
    data = random.Random(3).randbytes(10 * 65536)
    copy = bytes([63 << 2 | 3]) + len(data).to_bytes(4, "little")  # 64 bytes from the beginning
    size = len(data) + 64
    fragments = b"".join(literal(data[start : start + 65536]) for start in range(0, len(data), 65536))
    parts = pieces(snappy._varint(size) + fragments + copy, size)
    assert len(parts) == 2, "the second begins where the first ended"
    assert b"".join(parts) == data + data[:64]
    assert pieces(snappy._varint(size) + literal(data) + copy, size) == [data + data[:64]]


@pytest.mark.parametrize(
    ("before", "copy", "length"),
    [
        (700, bytes([2 << 5 | 3 << 2 | 1, 700 & 255]), 7),
        (60_000, bytes([9 << 2 | 2]) + (60_000).to_bytes(2, "little"), 10),
        (65_000, bytes([9 << 2 | 3]) + (65_000).to_bytes(4, "little"), 10),
    ],
)
def test_where_snappy_is_cut(before: int, copy: bytes, length: int) -> None:
    def cut(block: bytes, *, last: bool = False) -> tuple[int, int]:
        return snappy.cut(np.frombuffer(bytearray(block), np.uint8), last)  # type: ignore[no-any-return]

    fragment = literal(bytes(before)) + copy + literal(bytes(65536 - before - length))
    assert cut(fragment) == (len(fragment), 65536)
    assert cut(fragment[:-1]) == (0, 0)
    assert cut(fragment + literal(b"abc")) == (len(fragment), 65536)
    assert cut(fragment + literal(b"abc"), last=True) == (len(fragment) + 7, 65539)
    assert cut(fragment + literal(b"abc")[:-1], last=True) == (len(fragment), 65536)
    assert cut(literal(bytes(before - 1)) + copy) == (-1, 0)
    assert cut(b"") == (0, 0)


@pytest.mark.parametrize(
    ("block", "size", "message"),
    [
        (b"", 5, "the length of a block: a number is cut off"),
        (b"\xff" * 12, 5, "the length of a block: a number is too long"),
        (compressed(b"hello"), 4, "does not decompress to 4 bytes"),
        (compressed(b"hello"), 6, "does not decompress to 6 bytes"),
        (compressed(b"hello")[:-1], 5, "Corrupt snappy"),
        (compressed(b"hello") + b"\0", 5, "Corrupt snappy|does not decompress"),
        (snappy._varint(1 << 31) + b"\xfe\xff\xff" * 4, 1 << 31, "17 bytes cannot hold 2,147,483,648"),
        (b"\x05\xf0", 5, "Corrupt snappy"),
    ],
)
def test_damaged_snappy(block: bytes, size: int, message: str) -> None:
    with pytest.raises((ImageError, OSError), match=message):
        pieces(block, size)


# What the footer says


def rows_of(path: Path, **options: Any) -> tuple[list[tuple[str, str, bytes]], list[Failure]]:
    """Key, group and content of each row, and the failures."""
    samples: list[Any] = list(open_source(path, SourceOptions(**options)).samples())
    found = [(s[0], s[1], bytes(s[2])) for s in samples if isinstance(s, tuple)]
    return found, [s for s in samples if isinstance(s, Failure)]


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
    assert find_columns(io.BytesIO(path.read_bytes()), ["image", "bytes"]) != []
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


@pytest.mark.parametrize("compression", ["snappy", "lz4"], ids=["own", "arrow"])
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


def test_a_footer_that_is_too_long_is_left_to_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.sources.parquet_footer._MAX_BYTES", 100)
    data = written([b"a"])
    assert find_columns(io.BytesIO(data), ["image"]) == []
    (tmp_path / "a.parquet").write_bytes(data)
    assert rows_of(tmp_path / "a.parquet") == ([("a.parquet/0", "", b"a")], [])


@pytest.mark.parametrize("compression", ["snappy", "lz4"], ids=["own", "arrow"])
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
