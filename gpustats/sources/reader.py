"""Reads a source for several threads: each takes batches from another part where there are several."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from itertools import chain

from gpustats.sources.base import Batch, Entry, Part, Source, grouped, within
from gpustats.sources.notes import Notes

__all__ = ["Reader", "for_threads"]

_OPEN_PARTS = 4
"""Parts that are read at a time: each may hold a page in memory, and decoding takes ten times as long as reading."""


class Reader:
    """The batches of a source, an iterator that several threads may use at once.

    A thread takes the next batch of an open part that no other thread reads, and opens the next part where there is
    none; at most four are open. One thread alone gets the batches in the order of the source.

    Parameters
    ----------
    source : Source
        What to read. Its `notes` are complete when the reader is exhausted or closed.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._changed = threading.Condition()
        self._root = _Stream(source.parts(), 0)
        self._streams = [self._root]
        self._notes = Notes()
        self._closed = False

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        while (stream := self._take()) is not None:
            found: Batch | Part | None = None
            try:
                found = next(stream.entries, None)
            finally:
                self._give_back(stream, found)
            if isinstance(found, Batch):
                return found
        raise StopIteration

    def close(self) -> None:
        """End what is open; what a thread is still reading ends when that has its batch."""
        with self._changed:
            self._closed = True
            for stream in reversed([stream for stream in self._streams if not stream.busy]):
                self._end(stream)
            self._changed.notify_all()

    def _take(self) -> _Stream | None:
        """Wait for a stream that no thread reads: the innermost, and of those the one that was opened first."""
        with self._changed:
            while self._streams and not self._closed:
                full = sum(not stream.has_parts for stream in self._streams) >= _OPEN_PARTS
                free = [stream for stream in self._streams if not stream.busy and not (full and stream.has_parts)]
                if free:
                    stream = max(free, key=lambda stream: stream.depth)
                    stream.busy = True
                    return stream
                self._changed.wait()
            return None

    def _give_back(self, stream: _Stream, found: Batch | Part | None) -> None:
        with self._changed:
            stream.busy = False
            if found is None or self._closed:
                self._end(stream)
            elif isinstance(found, Part):
                stream.has_parts = True
                notes = Notes()
                self._streams.append(_Stream(within(found, notes), stream.depth + 1, notes))
            self._changed.notify_all()

    def _end(self, stream: _Stream) -> None:
        stream.entries.close()
        self._streams.remove(stream)
        self._notes.add(stream.notes)
        if not self._root.busy:  # the thread that reads the root counts there
            self._source.notes.add(self._notes)
            self._notes = Notes()


class _Stream:
    """The batches of the source itself or of a part that is open."""

    def __init__(self, entries: Iterable[Entry], depth: int, notes: Notes | None = None) -> None:
        self.entries = _with_remote_files_ahead(grouped(entries))
        self.depth = depth
        self.notes = Notes() if notes is None else notes
        self.busy = False
        self.has_parts = False


def _with_remote_files_ahead(found: Generator[Batch | Part, None, None]) -> Generator[Batch | Part, None, None]:
    """Yield the same; where there may be remote files, see `gpustats.sources.ahead`, which is imported only then."""
    for entry in found:
        if "gpustats.sources.files.remote" in sys.modules:
            from gpustats.sources.ahead import fetched_ahead

            yield from fetched_ahead(chain([entry], found))
            return
        yield entry


class _Locked:
    """An iterator of batches for several threads, one at a time."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        with self._lock:
            return next(self._batches)


def for_threads(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Return an iterator over the same batches that several threads may use at once."""
    return batches if isinstance(batches, Reader) else _Locked(batches)
