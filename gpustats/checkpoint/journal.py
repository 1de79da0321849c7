"""The file behind a checkpoint: what became of each image, in SQLite.

One row an image: its key, what the file looked like when it was read (size and a stamp), and either its exact numbers
or its failure. A transaction holds some hundred images, or a second of work. The write-ahead log makes a transaction
whole or absent whatever kills the process (``kill -9`` included); after a power cut the last ones may be missing, never
half there. SQLite's exclusive lock keeps a second run out; the operating system gives it back when a process dies.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from gpustats.errors import DataError
from gpustats.failures import printable

__all__ = ["Block", "Entry", "Journal"]

_APPLICATION_ID = 0x67707374  # "gpst"
_SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE forms (id INTEGER PRIMARY KEY, form TEXT NOT NULL UNIQUE)",
    # form and row: the exact numbers of an image; reason and message: why it has none.
    "CREATE TABLE images (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, size INTEGER, stamp,"
    " form INTEGER, row BLOB, reason TEXT, message TEXT)",
)


class Entry(NamedTuple):
    """What is stored about one image."""

    key: bytes
    size: int
    stamp: int | bytes | None
    form: str | None
    row: bytes | None
    reason: str | None
    message: str | None


class Block(NamedTuple):
    """What is stored about several images that were measured: their entries, with the numbers in one piece."""

    keys: Sequence[str]
    stamps: Sequence[tuple[int, int]]
    form: str
    rows: bytes

    def entries(self) -> Iterator[Entry]:
        """Yield the entries one by one."""
        size = len(self.rows) // len(self.keys)
        for place, (key, stamp) in enumerate(zip(self.keys, self.stamps, strict=True)):
            yield Entry(encoded(key), *stamp, self.form, self.rows[place * size : (place + 1) * size], None, None)


def encoded(key: str) -> bytes:
    """Return a key as it is stored."""
    return key.encode("utf-8", "surrogatepass")


_UPSERT = (
    " ON CONFLICT (key) DO UPDATE SET size = excluded.size,"
    " stamp = CASE WHEN id > :last THEN NULL ELSE excluded.stamp END,"
    " form = excluded.form, row = excluded.row, reason = excluded.reason, message = excluded.message"
)
_COLUMNS = "INSERT INTO images (key, size, stamp, form, row, reason, message)"
_INSERT_ENTRY = f"{_COLUMNS} VALUES (:key, :size, :stamp, :form, :row, :reason, :message){_UPSERT}"

_INSERT_BLOCK = (
    f"{_COLUMNS} SELECT CAST(json_extract(value, '$[0]') AS BLOB), json_extract(value, '$[1][0]'),"
    " json_extract(value, '$[1][1]'), :form, substr(:rows, key * :size + 1, :size), NULL, NULL"
    f" FROM json_each(:images) WHERE true{_UPSERT}"
)
"""One statement for many images: SQLite works without the interpreter lock, which an image then holds for 0.5 us, and
with a statement each for 4."""

_JSON = json.JSONEncoder(ensure_ascii=False, check_circular=False)


class Journal:
    """Stores entries by key. Not for several threads at a time.

    Parameters
    ----------
    path : path-like
        Made where it does not exist.
    settings : mapping of str to str
        What the entries depend on: data, options, versions. Those of an existing file must be the same.

    Raises
    ------
    DataError
        Where the file is no checkpoint, was made with other settings, is in use by another run, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, str]) -> None:
        self._path = os.fsdecode(path)
        self._forms: dict[str, int] = {}
        with self._explained("opened"):
            self._db = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._explained("opened"):
                self._open({name: _text(value) for name, value in settings.items()})
        except BaseException:
            self._db.close()
            raise

    def _open(self, settings: Mapping[str, str]) -> None:
        execute = self._db.execute
        # Exclusive before the first access: one run at a time, and no shared memory file, so network drives work too.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("BEGIN IMMEDIATE")  # takes the lock, or fails at once
        tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        owner = execute("PRAGMA application_id").fetchone()[0]
        if tables and owner != _APPLICATION_ID:
            raise DataError(f"{self._name}: not a gpustats checkpoint; give another file")
        if not tables:
            for statement in _SCHEMA:
                execute(statement)
            execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            self._db.executemany("INSERT INTO settings VALUES (?, ?)", sorted(settings.items()))
        version = execute("PRAGMA user_version").fetchone()[0]
        if version != _SCHEMA_VERSION:
            raise DataError(
                f"{self._name}: written in version {version} of the checkpoint format, this gpustats reads version "
                f"{_SCHEMA_VERSION}; start a new checkpoint"
            )
        self._check(dict(execute("SELECT name, value FROM settings").fetchall()), settings)
        execute("COMMIT")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        self.last_id: int = execute("SELECT coalesce(max(id), 0) FROM images").fetchone()[0]

    def _check(self, stored: Mapping[str, str], settings: Mapping[str, str]) -> None:
        different = [
            f"{name} was {stored.get(name, 'not set')}, now {settings.get(name, 'not set')}"
            for name in sorted(stored.keys() | settings.keys())
            if stored.get(name) != settings.get(name)
        ]
        if different:
            raise DataError(
                f"{self._name}: this checkpoint belongs to another run: {'; '.join(map(printable, different))}. "
                "Give the same data and options with the same versions, or another checkpoint file"
            )

    def find(self, keys: Sequence[bytes]) -> Iterator[tuple[int, Entry]]:
        """Yield number and entry of those of `keys` that are stored; numbers up to `last_id` are of earlier runs."""
        marks = ",".join("?" * len(keys))
        with self._explained("read"):
            found = self._db.execute(
                "SELECT images.id, key, size, stamp, forms.form, row, reason, message"
                f" FROM images LEFT JOIN forms ON forms.id = images.form WHERE key IN ({marks})",
                keys,
            ).fetchall()
        for number, *entry in found:
            yield number, Entry(*entry)

    def store(self, entries: Sequence[Entry], blocks: Sequence[Block] = ()) -> None:
        """Store entries and blocks in one transaction, in place of those with the same keys.

        A key that this run has stored before names two images: it loses its stamp, so that neither is taken for the
        other by the next run.
        """
        with self._explained("written"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for block in blocks:
                    self._store_block(block)
                self._store_entries(entries)
                self._db.execute("COMMIT")
            except BaseException:
                self._forms = {}  # what was just added is lost with the transaction
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _store_entries(self, entries: Iterable[Entry]) -> None:
        self._db.executemany(
            _INSERT_ENTRY,
            [
                {
                    **entry._asdict(),
                    "form": entry.form and self._form(entry.form),
                    "message": entry.message and _text(entry.message),
                    "last": self.last_id,
                }
                for entry in entries
            ],
        )

    def _store_block(self, block: Block) -> None:
        images = _JSON.encode(list(zip(block.keys, block.stamps, strict=True)))
        if not _is_utf8(images) or r"\u0000" in images:  # SQLite's JSON ends a text at a null character
            self._store_entries(block.entries())
            return
        values = {
            "images": images,
            "form": self._form(block.form),
            "rows": block.rows,
            "size": len(block.rows) // len(block.keys),
            "last": self.last_id,
        }
        self._db.execute(_INSERT_BLOCK, values)

    def _form(self, form: str) -> int:
        """Return the number of a form; store it where it is new."""
        if form not in self._forms:
            self._db.execute("INSERT OR IGNORE INTO forms (form) VALUES (?)", (form,))
            ((self._forms[form],),) = self._db.execute("SELECT id FROM forms WHERE form = ?", (form,)).fetchall()
        return self._forms[form]

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove entries in one transaction."""
        with self._explained("written"):
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM images WHERE id = ?", ((number,) for number in numbers))
            self._db.execute("COMMIT")

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the entries of earlier runs."""
        with self._explained("read"):
            for (number,) in self._db.execute("SELECT id FROM images WHERE id <= ? ORDER BY id", (self.last_id,)):
                yield number

    def close(self) -> None:
        """Close the file; the log next to it is removed."""
        with suppress(sqlite3.Error):  # what was committed is safe; a full disk only keeps the log from being folded in
            self._db.close()

    @property
    def _name(self) -> str:
        return printable(self._path)

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            message = str(error)
            if "locked" in message:
                raise DataError(
                    f"{self._name}: the checkpoint is in use by another run; wait for it or give another file"
                ) from None
            if "not a database" in message:
                raise DataError(f"{self._name}: not a gpustats checkpoint; give another file") from None
            if "malformed" in message:
                raise DataError(f"{self._name}: the checkpoint is damaged; delete it to start anew") from None
            hint = {
                "unable to open database file": " (no such folder, or it cannot be written)",
                "attempt to write a readonly database": " (file and folder must be writable)",
                "database or disk is full": "; what was stored before is kept: make room and run again",
                "disk I/O error": " (a full or failing disk); what was stored before is kept",
            }.get(message, "")
            raise DataError(f"{self._name}: the checkpoint cannot be {verb}: {message}{hint}") from None


def _text(value: str) -> str:
    """Return text as SQLite takes it: what a path or message holds that is not UTF-8 becomes an escape."""
    return value.encode("utf-8", "backslashreplace").decode()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
