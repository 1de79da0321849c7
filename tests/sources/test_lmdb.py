"""LMDB databases: what the library that wrote them says is in them, and files that would end its process."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest

from gpustats.failures import Failure, ImageError
from gpustats.sources import load, open_source
from gpustats.sources.records.lmdb_pages import Value, walk
from tests.images import encoded, photo

lmdb: Any = pytest.importorskip("lmdb")


def written(folder: Path, changes: list[dict[bytes, bytes | None]]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The file after some transactions (None deletes), and what the library reads."""
    environment = lmdb.open(str(folder / "db"), map_size=1 << 28)
    for change in changes:
        with environment.begin(write=True) as transaction:
            for key, value in change.items():
                if value is None:
                    transaction.delete(key)
                else:
                    transaction.put(key, value)
    with environment.begin() as transaction:
        content = [(bytes(key), bytes(value)) for key, value in transaction.cursor()]
    environment.close()
    return (folder / "db" / "data.mdb").read_bytes(), content


def read(data: bytes) -> tuple[list[tuple[bytes, bytes]], list[ImageError]]:
    """Keys and values, and what is damaged."""
    values: list[tuple[bytes, bytes]] = []
    errors: list[ImageError] = []
    for value in walk(lambda position, count: data[position : position + count], len(data)):
        if isinstance(value, Value):
            content = data[value.offset : value.offset + value.size]
            assert value.head == content[:16]
            values.append((value.key, content))
        else:
            errors.append(value)
    return values, errors


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 200_000, (1 << 24) + 3])
def test_values_whose_length_takes_more_than_16_bits(size: int, tmp_path: Path) -> None:
    data, content = written(tmp_path, [{b"a": b"x", b"b": random.Random(size).randbytes(size), b"c": b"z"}])
    assert len(content[1][1]) == size
    assert read(data) == (content, [])


@pytest.mark.parametrize("count", [0, 1, 3, 200, 20_000])
@pytest.mark.parametrize("large", [False, True])
def test_what_the_library_reads(count: int, large: bool, tmp_path: Path) -> None:
    rng = random.Random(count)
    sizes = [0, 1, 40, 1900, 2100, 4080, 4081, 30_000] if large and count < 10_000 else [0, 1, 40]
    keys = [rng.randbytes(rng.choice([1, 8, 40, 511])) for _ in range(count)]
    changes: list[dict[bytes, bytes | None]] = [{key: rng.randbytes(rng.choice(sizes)) for key in keys}]
    changes += [{key: rng.choice([None, rng.randbytes(rng.choice(sizes))]) for key in keys[i::7]} for i in range(4)]
    data, content = written(tmp_path, changes)
    assert read(data) == (content, [])
    assert len(content) >= 0.5 * count


def test_named_databases_and_several_values_of_a_key(tmp_path: Path) -> None:
    environment = lmdb.open(str(tmp_path / "db"), map_size=1 << 24, max_dbs=4)
    names = {name: environment.open_db(name, dupsort=name == b"many") for name in (b"a", b"empty", b"many")}
    with environment.begin(write=True) as transaction:
        transaction.put(b"b", b"main")
        for i in range(300):
            transaction.put(b"%03d" % i, b"x" * i * 20, db=names[b"a"])
            transaction.put(b"%03d" % i, b"1", db=names[b"many"])
    environment.close()
    path = tmp_path / "db" / "data.mdb"
    values, errors = read(path.read_bytes())
    assert errors == []
    content = dict(values)
    assert len(content) == len(values) == 1 + 300 + 300
    assert content[b"b"] == b"main"
    assert content[b"a/299"] == b"x" * 299 * 20
    with lmdb.open(str(tmp_path / "db"), max_dbs=4) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"007", b"2", db=environment.open_db(b"many", txn=transaction, dupsort=True))
    values, errors = read(path.read_bytes())
    assert len(values) == 1 + 300 + 299
    assert [(e.reason, str(e)) for e in errors] == [
        ("unsupported", "LMDB: the key b'many/007' has several values, which are not read")
    ]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    rng = random.Random(0)
    values: dict[bytes, bytes | None] = {b"%04d" % i: rng.randbytes(rng.choice([30, 900, 5000])) for i in range(300)}
    return written(tmp_path_factory.mktemp("lmdb"), [values])


def test_every_length_that_a_copy_may_be_cut_off_at(database: tuple[bytes, list[tuple[bytes, bytes]]]) -> None:
    data, content = database
    assert read(data) == (content, [])
    for size in range(0, len(data) - 1, 1777):
        if size < 4096:
            with pytest.raises(ImageError, match=r"no database"):
                read(data[:100])
            continue
        values, errors = read(data[:size])
        assert set(values) <= set(content)
        assert errors or values == content, "free pages may lie at the end"


def test_any_wrong_byte_ends_nothing(database: tuple[bytes, list[tuple[bytes, bytes]]]) -> None:
    data, content = database
    rng = random.Random(1)
    noticed = 0
    for _ in range(1500):
        damaged = bytearray(data)
        # Mostly where the structure is: the heads of pages.
        page = rng.randrange(len(data) // 4096) * 4096
        damaged[page + rng.choice([rng.randrange(16), rng.randrange(60), rng.randrange(4096)])] ^= 1 << rng.randrange(8)
        try:
            values, errors = read(bytes(damaged))
        except ImageError:
            noticed += 1
            continue
        assert len(values) <= len(content) or errors
        noticed += bool(errors)
    assert noticed > 100


def root_of(data: bytes) -> int:
    """Where the page of the root begins."""
    root = max(struct.unpack_from("<128xQQQ", data, page)[::-1] for page in (0, 4096))
    return int(root[2]) * 4096


def test_pages_in_a_circle_and_entries_that_are_not_there(database: tuple[bytes, list[tuple[bytes, bytes]]]) -> None:
    data, content = database
    root = root_of(data)
    assert data[root + 10] == 1, "a branch"
    node = root + int.from_bytes(data[root + 16 : root + 18], "little")
    circle = bytearray(data)
    circle[node : node + 4] = struct.pack("<I", root // 4096)
    values, errors = read(bytes(circle))
    assert f"LMDB: page {root // 4096} is referred to from two places" in [str(e) for e in errors]
    assert 0 < len(values) < 300
    fewer = bytearray(data)
    lower = int.from_bytes(data[root + 12 : root + 14], "little")
    fewer[root + 12 : root + 14] = (lower - 2).to_bytes(2, "little")  # the last child
    values, errors = read(bytes(fewer))
    assert values == content[: len(values)]
    assert [str(e) for e in errors] == [f"LMDB: {len(values)} entries were found where 300 should be"]


def test_a_head_that_looks_older_than_it_is(database: tuple[bytes, list[tuple[bytes, bytes]]]) -> None:
    data = bytearray(database[0])
    transactions = [int.from_bytes(data[page + 144 : page + 152], "little") for page in (0, 4096)]
    assert sorted(transactions) == [0, 1]
    data[4096 + 144 + 3] = 1
    assert [str(e) for e in read(bytes(data))[1]] == [
        "LMDB: the two heads are not of successive transactions: images may be missing"
    ]


def test_heads_that_contradict_each_other(database: tuple[bytes, list[tuple[bytes, bytes]]]) -> None:
    data = bytearray(database[0])
    data[4096 + 144] = 0  # both are of the first transaction
    with pytest.raises(ImageError, match=r"contradict each other"):
        read(bytes(data))


def with_number(data: bytes, place: int, number: int) -> bytes:
    return data[:place] + struct.pack("<H", number) + data[place + 2 :]


def test_each_thing_a_page_says_is_checked(database: tuple[bytes, list[tuple[bytes, bytes]]]) -> None:
    data, content = database
    root = root_of(data)
    number = root // 4096
    first, second, lower, upper = struct.unpack_from("<HH", data, root + 16) + struct.unpack_from(
        "<HH", data, root + 12
    )
    for place, value in [
        (0, number ^ 1),  # its number
        (10, 4),  # a value and no branch
        (12, upper + 2),  # free space that ends before it begins
        (12, 14),
        (12, lower - 1),
        (14, 4098),
        (16, second),  # two entries that are one
        (18, upper - 2),  # an entry in the free space
        (16, 4094),  # one that begins at the end of the page
    ]:
        values, errors = read(with_number(data, root + place, value))
        assert ([str(e) for e in errors], values) == ([f"LMDB: page {number} is damaged"], []), (place, value)
    assert read(with_number(data, root + 10, 1 | 0x10)) == (content, []), "a page that was not marked as written"
    assert first != second
    # The page of a large value: its number, its kind, and over how many pages it goes.
    key, value = next((key, value) for key, value in content if len(value) == 5000)
    page = data.index(value) - 16
    for place, number in [(0, 1), (10, 1), (12, 1)]:
        values, errors = read(with_number(data, page + place, number))
        assert [str(e) for e in errors] == [f"LMDB: the value of {key!r} is damaged"]
        assert values == [entry for entry in content if entry[0] != key]


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 7), (8, 0), (16, 0), (20, 2), (40, 4095)],
    ids=["number", "kind", "magic", "version", "page size"],
)
def test_what_is_no_database(place: int, value: int, database: tuple[bytes, list[tuple[bytes, bytes]]]) -> None:
    for page in (0, 4096):  # without the newer of the two, the database would be an older one
        data = bytearray(database[0])
        data[page + place : page + place + 4] = struct.pack("<I", value)
        with pytest.raises(ImageError, match=r"no database, or one of another version"):
            read(bytes(data))


def test_damage_costs_what_it_hits_and_is_named(tmp_path: Path) -> None:
    images = {b"%02d.jpg" % i: encoded(photo(60, 80, seed=i)) for i in range(20)}
    data, _ = written(tmp_path, [dict(images)])
    path = tmp_path / "db" / "data.mdb"
    path.write_bytes(data[: len(data) // 2])
    samples: list[Any] = list(open_source(path.parent).samples())
    found = {s[0].removeprefix("db/").encode(): load(s[2], 1 << 30) for s in samples if isinstance(s, tuple)}
    failures = [s for s in samples if isinstance(s, Failure)]
    assert found.items() <= images.items()
    assert len(found) + len(failures) == 20
    assert {f.reason for f in failures} == {"truncated"}
    assert all(f.message.startswith("LMDB: the file ends within the value of b'") for f in failures)
    assert len({f.key for f in failures}) == len(failures) > 5
