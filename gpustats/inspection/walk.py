"""Lists what a source would give, for a limited time, and counts from footers and folders where that is possible."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field

from gpustats.failures import Failure, FailureLog, ImageError
from gpustats.sources import Source
from gpustats.sources.base import Entry, Part, Sample, ShardSource, Within, inside, opened
from gpustats.sources.files.names import sizes_and_times
from gpustats.sources.files.remote import RemoteFile
from gpustats.sources.items import Item
from gpustats.sources.notes import Notes
from gpustats.statistics.grouped import named_group

__all__ = ["FIRST", "Walk"]

FIRST = 100
"""Images that are looked at."""

_FIRST_BYTES = 64 << 20
_TOGETHER = 512


@dataclass(frozen=True, slots=True)
class _Counted:
    """Images that are known by number only, in a file or in one that was met already."""

    images: int
    path: str | None


@dataclass
class Walk:
    """What was found in a source.

    Parameters
    ----------
    source : Source
        What to list. Nothing of an image is read but what the source itself reads to find it.
    seconds : float
        Ends the walk; what was found by then is a lower bound.
    group_of : callable, optional
        Says the group of a key, in place of the source.

    Attributes
    ----------
    images, bytes : int
        Images, and bytes of the files that hold them.
    all_bytes : bool
        Whether the size of every file is known.
    complete : bool
        Whether the whole source was listed or counted.
    listed : int
        Images that were listed one by one; the groups are theirs.
    groups : Counter
        Images by group.
    failures : FailureLog
        What cannot be read, as far as it shows without decoding.
    first : list of Sample
        The first images.
    notes : Notes
        What the source says about itself.
    """

    source: Source
    seconds: float
    group_of: Callable[[str], object] | None = None
    images: int = 0
    bytes: int = 0
    all_bytes: bool = True
    complete: bool = False
    listed: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    failures: FailureLog = field(default_factory=FailureLog)
    first: list[Sample] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)

    def __post_init__(self) -> None:
        self._containers: set[str] = set()
        self._loose: list[Sample] = []
        self._held = 0
        self.notes = self.source.notes
        until = time.monotonic() + self.seconds
        with closing(_entries(self.source.parts(), self.notes, lambda: len(self.first) >= FIRST)) as entries:
            self.complete = self._take(entries, until)
        self._look_at_loose()
        count = self.source.count() if not self.complete and self.source.counts_images else None
        if count is not None:
            self.images, self.complete = max(count - len(self.failures), self.images), True
            self.all_bytes &= bool(self._containers)

    def _take(self, entries: Iterable[Sample | Failure | Within | _Counted], until: float) -> bool:
        """Take entries until time is up; say whether these were all."""
        container: str | None = None
        for entry in entries:
            if isinstance(entry, tuple):
                self._add(entry, container)
            elif isinstance(entry, Within):
                container = entry.path
            elif isinstance(entry, _Counted):
                self.images += entry.images
                self._hold(entry.path)
            else:
                self.failures.add(entry)
            if time.monotonic() > until or (self.images >= FIRST and not self.source.lists):
                return next(iter(entries), None) is None
        return True

    def _add(self, sample: Sample, container: str | None) -> None:
        key, group, item = sample
        if self.group_of is not None:
            named = named_group(key, self.group_of)
            if isinstance(named, Failure):
                self.failures.add(named)
                return
            sample, group = (key, named, item), named
        self.images += 1
        self.listed += 1
        self.groups[group] += 1
        if len(self.first) < FIRST and self._held < _FIRST_BYTES:
            self.first.append(sample)
            self._held += len(item) if isinstance(item, bytes | memoryview) else 0
        if isinstance(item, str):
            self._loose.append(sample)
            if len(self._loose) == _TOGETHER:
                self._look_at_loose()
        elif container is not None and not isinstance(item, RemoteFile):
            self._hold(container)
        else:
            size = _size(item)
            self.bytes += size or 0
            self.all_bytes &= size is not None

    def _hold(self, path: str | None) -> None:
        """Count the bytes of a container once."""
        if path is None or path in self._containers:
            return
        self._containers.add(path)
        try:
            self.bytes += os.path.getsize(path)
        except OSError:
            self.all_bytes = False

    def _look_at_loose(self) -> None:
        """Add up the sizes of files, and list those that are not there."""
        paths = [str(item) for _, _, item in self._loose]
        for sample, path, found in zip(self._loose, paths, sizes_and_times(paths), strict=True):
            if found is not None:
                self.bytes += found[0]
                continue
            try:
                os.stat(path)
            except FileNotFoundError:
                self.fail(sample, ImageError("missing", "no such file"))
            except (OSError, ValueError) as error:
                self.fail(sample, ImageError("unreadable", getattr(error, "strerror", None) or str(error)))
        self._loose.clear()

    def fail(self, sample: Sample, error: ImageError) -> None:
        """Say that an image that was listed cannot be read."""
        key, group, _ = sample
        self.failures.add(Failure(key, error.reason, str(error)))
        self.images -= 1
        self.groups[group] -= 1
        self.first = [other for other in self.first if other is not sample]


def _size(item: Item) -> int | None:
    """Return the bytes of what is in memory, or of a remote file as its listing gives them; None where not known."""
    if isinstance(item, RemoteFile):
        return item.size
    return len(item) if isinstance(item, bytes | memoryview) else getattr(item, "nbytes", None)


def _entries(
    entries: Iterable[Entry], notes: Notes, enough: Callable[[], bool]
) -> Generator[Sample | Failure | Within | _Counted, None, None]:
    """Yield what is in the parts as well; once there are enough images, those that know their number are not read."""
    for entry in entries:
        if not isinstance(entry, Part):
            yield entry
            continue
        if enough() and entry.count is not None:
            yield _Counted(entry.count, None)
            continue
        source = opened(entry)
        if isinstance(source, Failure):
            yield source
            continue
        count = source.count() if source.counts_images and enough() else None
        if count is not None:
            notes.add(source.notes)
            yield _Counted(count, source.container() if isinstance(source, ShardSource) else None)
        else:
            yield from _entries(inside(source, entry.key, notes), notes, enough)
