"""The file behind a checkpoint: how SQLite is told to keep it, what it refuses, and what it says where it cannot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpustats import DataError
from gpustats.checkpoint.journal import Block, Entry, Journal, encoded

SETTINGS = {"data": "/photos", "engine": "cpu"}


@contextmanager
def opened(path: Path, settings: dict[str, str] = SETTINGS) -> Iterator[Journal]:
    journal = Journal(path, settings)
    try:
        yield journal
    finally:
        journal.close()


def entry(key: str, *, size: int = 1, stamp: Any = 2, form: str | None = None, reason: str | None = None) -> Entry:
    return Entry(
        key.encode("utf-8", "surrogatepass"),
        size,
        stamp,
        form,
        None if form is None else b"row of " + key.encode("utf-8", "surrogatepass"),
        reason,
        None if reason is None else f"{key} is bad",
    )


def read(journal: Journal, *keys: bytes) -> dict[bytes, Entry]:
    return {found.key: found for _, found in journal.find(keys)}


def in_file(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.gpustats"


def test_the_file_survives_a_power_cut_and_keeps_others_out(path: Path) -> None:
    """synchronous: 0 is OFF (lost or broken when the power fails), 1 is NORMAL; a log that is written ahead."""
    with opened(path) as journal:
        pragmas = {name: journal._db.execute(f"PRAGMA {name}").fetchone()[0] for name in
                   ("synchronous", "journal_mode", "locking_mode", "application_id", "user_version")}  # fmt: skip
        assert pragmas == {
            "synchronous": 1,
            "journal_mode": "wal",
            "locking_mode": "exclusive",
            "application_id": 0x67707374,
            "user_version": 1,
        }
        with (
            closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("SELECT * FROM images").fetchall()
        with pytest.raises(DataError, match=r"run\.gpustats: the checkpoint is in use by another run; wait for it or"):
            Journal(path, SETTINGS)
        journal.store([entry("a")])
    assert list(path.parent.iterdir()) == [path], "the log beside it is folded in"
    with opened(path) as journal:
        assert list(read(journal, b"a")) == [b"a"]


def test_what_is_stored_comes_back(path: Path) -> None:
    entries = [
        entry("a", form="form 1"),
        entry("b", form="form 2", stamp=b"\x00hash"),
        entry("caf\udce9", reason="corrupt", size=2**40),
        entry("ü", form="form 1", stamp=2**62),
    ]
    with opened(path) as journal:
        assert journal.last_id == 0
        assert list(journal.numbers()) == []
        journal.store(entries[:2])
        journal.store(entries[2:])
        shown = entries[2]._replace(message="caf\\udce9 is bad")  # text that is not UTF-8 is kept with escapes
        whole = {e.key: e for e in [*entries[:2], shown, entries[3]]}
        assert read(journal, *whole) == whole
        assert list(journal.numbers()) == [], "those of this run are not of an earlier one"
        assert {number for number, _ in journal.find([b"a", b"b"])} == {1, 2}
    with opened(path) as journal:
        assert journal.last_id == 4
        assert list(journal.numbers()) == [1, 2, 3, 4]
        assert read(journal, *whole) == whole
        assert read(journal, b"a", b"nowhere") == {b"a": entries[0]}
        assert read(journal) == {}
        journal.store([entry("new", form="form 2")])
        assert list(journal.numbers()) == [1, 2, 3, 4]
        journal.remove([1, 3])
        assert set(read(journal, *whole, b"new")) == {b"b", "ü".encode(), b"new"}
        assert list(journal.numbers()) == [2, 4]
    assert sorted(in_file(path, "SELECT form FROM forms")) == [("form 1",), ("form 2",)]
    with opened(path) as journal:
        assert journal.last_id == 5


def test_a_later_run_replaces_every_field(path: Path) -> None:
    old = [entry("a", form="form 1"), entry("b", reason="corrupt")]
    new = [entry("a", size=7, stamp=8, reason="missing"), entry("b", size=9, stamp=b"x", form="form 2")]
    with opened(path) as journal:
        journal.store(old)
    with opened(path) as journal:
        journal.store(new)
        assert read(journal, b"a", b"b") == {e.key: e for e in new}
        assert list(journal.numbers()) == [1, 2], "in the same places"


def test_a_key_of_two_images_loses_its_stamp(path: Path) -> None:
    with opened(path) as journal:
        journal.store([entry("old"), entry("older")])
    with opened(path) as journal:
        journal.store([entry("old", stamp=3), entry("new", stamp=4)])
        journal.store([entry("new", stamp=5, size=6)])
        found = read(journal, b"old", b"new", b"older")
        assert {key: e.stamp for key, e in found.items()} == {b"old": 3, b"new": None, b"older": 2}
        assert found[b"new"].size == 6


def test_a_transaction_that_fails_stores_nothing_and_the_next_is_whole(path: Path) -> None:
    with opened(path) as journal:
        journal.store([entry("first", form="form 1")])
        bad = entry("bad")._replace(size=object())  # type: ignore[arg-type]
        with pytest.raises(DataError, match="the checkpoint cannot be written: "):
            journal.store([entry("good", form="form 2"), bad])
        assert list(read(journal, b"first", b"good", b"bad")) == [b"first"]
        journal.store([entry("good", form="form 2"), entry("more", form="form 1")])
        forms = {key: e.form for key, e in read(journal, b"first", b"good", b"more").items()}
        assert forms == {b"first": "form 1", b"good": "form 2", b"more": "form 1"}


ODD_KEYS = [
    "plain", "a/b c.jpg", "ü€😀", 'quo"te', "back\\slash", "new\nline", "\x01\x1f\x7f", "", " ", "[1, 2]", "\ufeff",
    "\uffff", "a\u2028b",
]  # fmt: skip
SLOW_KEYS = ["a \0 null", "\\u0000", "caf\udce9", "\ud83d", "\udce9\ud83d\udc00", "\udc00\ud83d"]
"""What SQLite's JSON cannot hold, and what looks like it."""


def block(keys: list[str], form: str = "form", size: int = 5) -> Block:
    stamps = [(2**40 + i, 1_764_000_000_123_456_789 + i) for i in range(len(keys))]
    rows = b"".join(f"{i:0{size}d}".encode() for i in range(len(keys)))
    return Block(keys, stamps, form, rows)


@pytest.mark.parametrize("extra", [[], *([key] for key in SLOW_KEYS), SLOW_KEYS], ids=ascii)
def test_a_block_is_stored_as_its_entries_are(path: Path, extra: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In one statement, or one by one where a key holds what SQLite's JSON cannot."""
    some = block([*ODD_KEYS, *extra])
    with opened(path) as journal:
        if not extra:
            monkeypatch.setattr(Block, "entries", lambda self: pytest.fail("stored one by one"))
        journal.store([], [some])
        found = read(journal, *map(encoded, some.keys))
    monkeypatch.undo()
    assert found == {e.key: e for e in some.entries()}
    assert [e.row for e in some.entries()][:3] == [b"00000", b"00001", b"00002"]
    assert in_file(path, "SELECT count(*) FROM images") == [(len(some.keys),)]
    types = in_file(path, "SELECT DISTINCT typeof(key), typeof(size), typeof(stamp), typeof(row) FROM images")
    assert types == [("blob", "integer", "integer", "blob")]


def test_numbers_of_a_block_are_kept_to_the_last_bit(path: Path) -> None:
    edges = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 1_764_000_000_123_456_789]
    keys = [str(i) for i in range(len(edges))]
    with opened(path) as journal:
        journal.store([], [Block(keys, [(abs(n) >> 1, n) for n in edges], "f", bytes(range(256)) * len(keys))])
        found = read(journal, *map(encoded, keys))
    assert [found[encoded(key)].stamp for key in keys] == edges
    assert [found[encoded(key)].size for key in keys] == [abs(n) >> 1 for n in edges]
    assert {found[encoded(key)].row for key in keys} == {bytes(range(256))}


def test_blocks_and_entries_of_one_transaction(path: Path) -> None:
    """Whichever way a key comes twice in a run, it loses its stamp; of an earlier run, it is replaced."""
    with opened(path) as journal:
        journal.store([entry("old", reason="corrupt"), entry("older", form="form")])
    with opened(path) as journal:
        journal.store([entry("twice", form="form"), entry("bad", reason="corrupt")], [block(["old", "twice", "once"])])
        journal.store([], [block(["older"], "another form", 9)])
        found = {key.decode(): e for key, e in read(journal, b"old", b"older", b"twice", b"once", b"bad").items()}
        journal.store([], [block(["once"])])
        again = read(journal, b"once")[b"once"]
    assert {key: e.stamp is None for key, e in found.items()} == {
        "old": False, "older": False, "twice": True, "once": False, "bad": False,
    }  # fmt: skip
    assert (found["old"].reason, found["old"].message, found["old"].row) == (None, None, b"00000")
    assert (found["older"].form, found["older"].row) == ("another form", b"000000000")
    assert again.stamp is None


def test_a_block_that_fails_takes_the_transaction_with_it(path: Path) -> None:
    with opened(path) as journal:
        bad = Block(["x"], [(object(), 1)], "form", b"row")  # type: ignore[list-item]
        with pytest.raises(TypeError):
            journal.store([entry("a")], [block(["b"]), bad])
        assert read(journal, b"a", b"b", b"x") == {}
        journal.store([entry("a")], [block(["b"])])
        assert set(read(journal, b"a", b"b")) == {b"a", b"b"}


def test_other_settings_are_named(path: Path) -> None:
    with opened(path) as journal:
        journal.store([entry("a")])
    before = path.read_bytes()
    with pytest.raises(DataError) as caught:
        Journal(path, {"data": "/other\x1b", "decoders": "x"})
    assert str(caught.value) == (
        f"{path}: this checkpoint belongs to another run: data was /photos, now /other\\x1b; decoders was not set, "
        "now x; engine was cpu, now not set. Give the same data and options with the same versions, or another "
        "checkpoint file"
    )
    for other in (SETTINGS | {"more": "1"}, {"data": "/photos"}, {}):
        with pytest.raises(DataError, match="belongs to another run"):
            Journal(path, other)
    assert path.read_bytes() == before
    with opened(path, dict(reversed(SETTINGS.items()))) as journal:
        assert list(read(journal, b"a")) == [b"a"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "PRAGMA user_version = 2",
            "written in version 2 of the checkpoint format, this gpustats reads version 1; start",
        ),
        ("PRAGMA user_version = 0", "written in version 0 of the checkpoint format"),
        ("PRAGMA application_id = 1", "not a gpustats checkpoint; give another file"),
        ("PRAGMA application_id = 0", "not a gpustats checkpoint; give another file"),
    ],
)
def test_a_file_of_another_program_or_version_is_left_alone(path: Path, statement: str, message: str) -> None:
    with opened(path) as journal:
        journal.store([entry("a")])
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute(statement)
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"run\.gpustats: {message}"):
        Journal(path, SETTINGS)
    assert path.read_bytes() == before


def test_settings_that_are_not_utf8_are_told_apart(path: Path) -> None:
    for _ in range(2):
        with opened(path, {"data": "caf\udce9"}):
            pass
    with pytest.raises(DataError, match=r"data was caf\\udce9, now caf\\udcea"):
        Journal(path, {"data": "caf\udcea"})


def test_a_file_without_tables_is_taken(path: Path) -> None:
    path.write_bytes(b"")
    with opened(path) as journal:
        journal.store([entry("a")])
    with opened(path) as journal:
        assert journal.last_id == 1


def test_a_file_that_was_refused_is_free_again(path: Path) -> None:
    """The connection is closed, and with it the lock."""
    with opened(path):
        pass
    refusals = []
    for _ in range(2):  # the error is kept, and with it what it refers to
        with pytest.raises(DataError, match="another run") as caught:
            Journal(path, {})
        refusals.append(caught.value)
    with opened(path):
        pass


class Failing:
    """A connection whose every statement fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def execute(self, *arguments: object) -> None:
        raise self.error

    def close(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("database is locked", "the checkpoint is in use by another run; wait for it or give another file"),
        (
            "database table is locked: images",
            "the checkpoint is in use by another run; wait for it or give another file",
        ),
        ("file is not a database", "not a gpustats checkpoint; give another file"),
        ("database disk image is malformed", "the checkpoint is damaged; delete it to start anew"),
        (
            "unable to open database file",
            "the checkpoint cannot be {}: unable to open database file (no such folder, or it cannot be written)",
        ),
        (
            "attempt to write a readonly database",
            "the checkpoint cannot be {}: attempt to write a readonly database (file and folder must be writable)",
        ),
        (
            "database or disk is full",
            "the checkpoint cannot be {}: database or disk is full; what was stored before is kept: make room and run "
            "again",
        ),
        (
            "disk I/O error",
            "the checkpoint cannot be {}: disk I/O error (a full or failing disk); what was stored before is kept",
        ),
        ("something new", "the checkpoint cannot be {}: something new"),
    ],
)
def test_what_sqlite_says_in_other_words(path: Path, error: str, message: str) -> None:
    with opened(path) as journal:
        connection = journal._db
        journal._db = Failing(sqlite3.OperationalError(error))  # type: ignore[assignment]
        for verb, act in [
            ("written", lambda: journal.store([entry("a")])),
            ("written", lambda: journal.remove([1])),
            ("read", lambda: list(journal.find([b"a"]))),
            ("read", lambda: list(journal.numbers())),
        ]:
            with pytest.raises(DataError) as caught:
                act()
            assert str(caught.value) == f"{path}: {message.format(verb)}"
        journal.close()  # says nothing: what was committed is safe
        journal._db = connection


@pytest.mark.parametrize("page", [1, 2, 3, 4])
def test_a_damaged_page_is_named(path: Path, page: int) -> None:
    """Whichever page it is: the file is opened and read, and says what is wrong with it."""
    with opened(path) as journal:
        journal.store([entry(f"{i:04d}", form="form") for i in range(400)])
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    assert len(data) >= 6 * size
    data[page * size : (page + 1) * size] = b"\x99" * size
    path.write_bytes(data)

    def use() -> None:
        with opened(path) as journal:
            list(journal.numbers())
            list(journal.find([f"{i:04d}".encode() for i in range(400)]))
            journal.store([entry("new", form="new form")])

    with pytest.raises(DataError) as caught:
        use()
    assert str(caught.value) == f"{path}: the checkpoint is damaged; delete it to start anew"


def test_the_first_page_makes_it_a_database(path: Path) -> None:
    path.write_bytes(b"my notes, which took me years\n" * 300)
    with pytest.raises(DataError, match=r"run\.gpustats: not a gpustats checkpoint; give another file"):
        Journal(path, SETTINGS)
