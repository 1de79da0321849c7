"""An engine around an engine: takes what was read before from a file, has the rest measured, and keeps it there."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import Any, Literal

import numpy as np

from gpustats.checkpoint.journal import Block, Entry, Journal, encoded
from gpustats.definition import Definition
from gpustats.engines.base import Engine, Outcome, outcomes_of
from gpustats.failures import Failure
from gpustats.install import __version__
from gpustats.limits.interrupts import whole_step
from gpustats.sources import Batch
from gpustats.sources.files import public_url
from gpustats.sources.files.names import sizes_and_times
from gpustats.sources.items import Item, Stamp, content_stamp, stamp
from gpustats.statistics.rows import Rows

__all__ = ["Resumed", "describe"]

_TRIED_AGAIN = frozenset({"missing", "unreadable", "too_large"})
"""Failures that may have been the moment's (a network drive, memory); finding them again costs little."""

_NOT_STORED: tuple[int, Entry | None] = (0, None)
_STORED_TOGETHER = 256
_STORED_EVERY = 0.5  # seconds
_BYTES_TOGETHER = 16 << 20  # of rows with large histograms
_THREADS = 8
_AHEAD = 16  # batches
_QUICK = 1e-4  # seconds for a file's size and time; a local file takes 2 µs, and 8 more by way of a thread


def describe(data: object) -> str:
    """Return what a checkpoint remembers of the dataset that was given, so that it is not taken for another."""
    if isinstance(data, str | os.PathLike):
        path = os.fsdecode(data)
        return public_url(path) if "://" in path else os.path.abspath(path)
    return f"a {type(data).__name__}"


class Resumed:
    """Measures with another engine what a checkpoint does not hold, and stores what that engine says.

    Parameters
    ----------
    engine : Engine
        Measures what is new or changed.
    path : path-like
        The file; see `Journal`.
    data : object
        The dataset as the user gave it.
    definition : Definition
        What is measured.
    settings : mapping of str to str
        The options that rows depend on.
    changed : {"mtime", "hash"}
        How a changed file is detected: by size and modification time, or by size and BLAKE2b hash of its content.
    keep : bool
        Whether to keep what is stored of images that do not come, because only a sample of them does.

    Raises
    ------
    DataError
        Where the file is no checkpoint, or one of other data, options or versions, or is in use.
    """

    def __init__(
        self,
        engine: Engine,
        path: str | os.PathLike[str],
        data: object,
        definition: Definition,
        settings: Mapping[str, str],
        changed: Literal["mtime", "hash"] = "mtime",
        keep: bool = False,
    ) -> None:
        report = engine.report()
        self._engine = engine
        self.max_bytes = engine.max_bytes
        self._journal = Journal(
            path,
            {
                "gpustats": __version__,
                "engine": str(report["engine"]),
                "decoders": json.dumps(report["decoders"], sort_keys=True),
                "definition": json.dumps(definition.to_dict(), sort_keys=True),
                **settings,
                "data": describe(data),
                "changed": changed,
            },
        )
        self._hash = changed == "hash"
        self._keep = keep
        self._containers: dict[str, Stamp] = {}
        self._lock = threading.Lock()
        self._stamps: dict[str, Stamp] = {}  # of what is in flight
        self._reused: deque[Outcome] = deque()
        self._waiting: list[Entry] = []
        self._waiting_blocks: list[Block] = []
        self._waiting_bytes = 0
        self._stored_at = time.monotonic()
        self._seen = bytearray(self._journal.last_id // 8 + 1)  # a bit for each entry of earlier runs
        self._source_failed = False
        self._pace = 0.0  # seconds to look at a file
        self._pool: ThreadPoolExecutor | None = None
        self._images_reused = self._images_removed = 0

    def report(self) -> dict[str, Any]:
        """Return the provenance of what was measured so far, and what was taken from the checkpoint."""
        found = {"images_reused": self._images_reused, "images_removed": self._images_removed}
        return {**self._engine.report(), "checkpoint": found}

    def outcomes(self, batches: Iterator[Batch]) -> Generator[Outcome, None, None]:
        """Yield what is found in the checkpoint and what the engine says, in any order."""
        with closing(self._engine.outcomes(self._pending(batches))) as outcomes:
            for outcome in outcomes:
                try:
                    yield outcome
                finally:  # it counts, so it is kept, also when the run is stopped here
                    with whole_step():
                        self._record(outcome)
                yield from self._drain()
        with whole_step():
            self._finish()
        yield from self._drain()

    def __enter__(self) -> Resumed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Store the rest and close the file."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            try:
                self._store()
            finally:
                self._journal.close()

    def _pending(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield each batch without the samples that need not be read, which may leave it empty.

        Files are looked at before they are read: one that changes in between is read again by the next run.
        """
        window: deque[tuple[Batch, Future[Sequence[Stamp]]]] = deque()
        for batch in batches:
            if all(isinstance(item, str) for item in batch.items):
                window.append((batch, self._submit(batch.items)))  # type: ignore[arg-type]  # all of them are paths
                if len(window) > _AHEAD:
                    yield self._sift(*window.popleft())
            else:
                while window:
                    yield self._sift(*window.popleft())
                yield self._sift(batch, _done([self._stamp(item, batch.container) for item in batch.items]))
        while window:
            yield self._sift(*window.popleft())

    def _record(self, outcome: Outcome) -> None:
        """Keep what became of some samples."""
        with self._lock:
            if len(outcome.rows):
                self._record_rows(outcome.rows)
            for failure in outcome.failures:  # those of the source itself have no stamp and are found again in each run
                stamp = self._stamps.pop(failure.key, None)
                if stamp is not None:
                    self._waiting.append(
                        Entry(encoded(failure.key), *stamp, None, None, failure.reason, failure.message)
                    )
            waiting = len(self._waiting) + sum(len(block.keys) for block in self._waiting_blocks)
            many = waiting >= _STORED_TOGETHER or self._waiting_bytes >= _BYTES_TOGETHER
            if many or time.monotonic() > self._stored_at + _STORED_EVERY:
                self._store()

    def _record_rows(self, rows: Rows) -> None:
        stamps = [self._stamps.pop(key, None) for key in rows.keys]
        if None in stamps:  # these are read again by the next run
            rows = rows.take(np.array([stamp is not None for stamp in stamps]))
        known = [stamp for stamp in stamps if stamp is not None]
        if not known:
            return
        if all(type(change) is int for _, change in known) and not rows.ragged:
            self._waiting_blocks.append(Block(rows.keys, known, *rows.pack()))  # type: ignore[arg-type]  # no hashes
            return
        form, blobs = rows.pack_each()
        self._waiting += [
            Entry(encoded(key), *stamp, form, blob, None, None)
            for key, stamp, blob in zip(rows.keys, known, blobs, strict=True)
        ]
        self._waiting_bytes += rows.ragged_bytes

    def _finish(self) -> None:
        """Store the rest at the end of a whole run, and forget images that no longer exist."""
        with self._lock:
            self._store()
            if not self._source_failed and not self._keep:  # what a source could not list may still exist
                gone = [n for n in self._journal.numbers() if not self._seen[n >> 3] >> (n & 7) & 1]
                if gone:
                    self._journal.remove(gone)
                self._images_removed = len(gone)

    def _sift(self, batch: Batch, stamping: Future[Sequence[Stamp]]) -> Batch:
        stamps = stamping.result()
        with self._lock:
            self._source_failed |= bool(batch.failures)
            stored = {}
            if self._journal.last_id and batch.keys:
                for number, entry in self._journal.find([encoded(key) for key in batch.keys]):
                    stored[entry.key] = number, entry
            if not stored and self._stamps.keys().isdisjoint(batch.keys) and len(set(batch.keys)) == len(batch):
                self._stamps.update(zip(batch.keys, stamps, strict=True))
                return batch
            keys: list[str] = []
            groups: list[str] = []
            items: list[Item] = []
            reused: list[tuple[str, str, Entry]] = []
            for key, group, item, stamp in zip(batch.keys, batch.groups, batch.items, stamps, strict=True):
                number, found = stored.get(encoded(key), _NOT_STORED) if stored else _NOT_STORED
                if found is not None and not self._first(number):  # an image of the same name: which is stored?
                    found = stamp = None
                if (
                    found is not None
                    and stamp is not None
                    and (found.size, found.stamp) == stamp
                    and found.reason not in _TRIED_AGAIN
                ):
                    reused.append((key, group, found))
                else:
                    keys.append(key)
                    groups.append(group)
                    items.append(item)
                    # Of two in flight under one name, the one that finishes first would be stored.
                    self._stamps[key] = None if key in self._stamps else stamp
            if reused:
                self._reused.extend(_outcomes(reused))
                self._images_reused += len(reused)
        return Batch(keys, groups, items, batch.failures)

    def _first(self, number: int) -> bool:
        """Return whether an entry is of an earlier run and is asked for the first time in this one."""
        if number > self._journal.last_id or self._seen[number >> 3] >> (number & 7) & 1:
            return False
        self._seen[number >> 3] |= 1 << (number & 7)
        return True

    def _store(self) -> None:
        if self._waiting or self._waiting_blocks:
            waiting, self._waiting = self._waiting, []
            blocks, self._waiting_blocks = self._waiting_blocks, []
            self._waiting_bytes = 0
            self._journal.store(waiting, blocks)
        self._stored_at = time.monotonic()

    def _drain(self) -> Iterator[Outcome]:
        while self._reused:
            yield self._reused.popleft()

    def _submit(self, paths: list[str]) -> Future[Sequence[Stamp]]:
        """Look at files at once while that is quick; in threads, ahead of time, on a slow drive or to hash them."""
        if self._pace < _QUICK and not self._hash:
            started = time.perf_counter()
            stamps = self._file_stamps(paths)
            self._pace += ((time.perf_counter() - started) / max(len(paths), 1) - self._pace) / 8  # of recent batches
            return _done(stamps)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="gpustats-stamp")
        return self._pool.submit(self._file_stamps, paths)

    def _stamp(self, item: Item, container: str | None) -> Stamp:
        return stamp(item, container, self._hash, self._file_stamp, self._container_stamp)

    def _container_stamp(self, path: str) -> Stamp:
        if path not in self._containers:  # once a run: what is read later may be of another file of the same name
            self._containers[path] = self._file_stamp(path)
        return self._containers[path]

    def _file_stamps(self, paths: Sequence[str]) -> Sequence[Stamp]:
        return [content_stamp(path) for path in paths] if self._hash else sizes_and_times(paths)

    def _file_stamp(self, path: str) -> Stamp:
        return self._file_stamps([path])[0]


def _done(stamps: Sequence[Stamp]) -> Future[Sequence[Stamp]]:
    future: Future[Sequence[Stamp]] = Future()
    future.set_result(stamps)
    return future


def _outcomes(found: Sequence[tuple[str, str, Entry]]) -> Iterator[Outcome]:
    """Turn entries back into what the engine had said, one outcome for each form of rows."""
    by_form: defaultdict[str | None, list[tuple[str, str, Entry]]] = defaultdict(list)
    for item in found:
        by_form[item[2].form].append(item)
    failures = [Failure(key, e.reason or "corrupt", e.message or "") for key, _, e in by_form.pop(None, ())]
    parts = [
        Rows.unpack(form, [p[0] for p in part], [p[1] for p in part], [p[2].row or b"" for p in part])
        for form, part in by_form.items()
        if form is not None
    ]
    return outcomes_of(parts, failures)
