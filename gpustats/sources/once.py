"""Each file once: what lists and manifests name a second time is passed over and counted."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

from gpustats.failures import Failure
from gpustats.sources.base import Entry, Part, Source, inside, opened
from gpustats.sources.items import Item
from gpustats.sources.notes import Notes

__all__ = ["Once"]

_FOLDERS_KEPT = 10_000


class Once(Source):
    """A source without the files that it names a second time.

    Two names are one file where they have the same last part and their folders are the same one, with links followed:
    ``a.jpg``, ``./a.jpg`` and ``/data/a.jpg``. The first one counts. The others are in `skipped` as ``repeated``, or as
    ``repeated_other_group`` where they name a group and the first name had another one, or none. A container counts
    once as well; images in it are its own and are not compared, nor are arrays and other objects of the program.

    The names are read in order, in one thread at a time, so that the first one is the same in every run. Containers
    are read side by side as before. It keeps 12 bytes for each place of a table that is one to two thirds full.

    Parameters
    ----------
    source : Source
        May name files more than once.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source.label, source.takes)
        self._source = source
        self._seen = _Seen()
        self._folders: dict[str, str] = {}
        self.notes = source.notes
        self.lists, self.counts_images = source.lists, source.counts_images
        self.again = source.again

    def parts(self) -> Iterator[Entry]:
        """Yield what is named for the first time."""
        self._seen = _Seen()
        return self._first(self._source.parts(), self.notes)

    def count(self) -> int | None:
        """Return what the source says, repeated names included."""
        return self._source.count()

    def places(self) -> int | None:
        """Return what the source says, repeated names included."""
        return self._source.places()

    def at(self, places: Sequence[int]) -> Iterator[Entry]:
        """Yield the samples at some places without those that an earlier one names."""
        return self._first(self._source.at(places), self.notes)

    def _first(self, entries: Iterable[Entry], notes: Notes) -> Iterator[Entry]:
        """Yield what is new among entries; `notes` are those of the source that yields them."""
        for entry in entries:
            if isinstance(entry, tuple):
                name = self._identity(entry[2])
                if name is None or self._is_first(name, entry[1]):
                    yield entry
                else:
                    notes.take_back()
            elif isinstance(entry, Part):
                yield from self._part(entry)
            else:
                yield entry

    def _part(self, part: Part) -> Iterator[Entry]:
        """Yield a container as it is, and of what names files in other places those that are new."""
        source = opened(part)
        if isinstance(source, Failure):
            yield source
            return
        holder = source.holder()
        if holder is None:
            yield from self._first(inside(source, part.key, self.notes), source.notes)
        elif self._is_first(self._resolved(holder), ""):
            yield part

    def _is_first(self, name: str, group: str) -> bool:
        same = self._seen.add(name, group)
        if same is None:
            return True
        self.skipped["repeated" if same else "repeated_other_group"] += 1
        return False

    def _identity(self, item: Item) -> str | None:
        """Return what the same file has under every name; None for what is no file of its own."""
        return self._resolved(item) if isinstance(item, str) else getattr(item, "identity", None)

    def _resolved(self, path: str) -> str:
        if "://" in path:
            return path
        folder, name = os.path.split(path)
        real = self._folders.get(folder)
        if real is None:
            if len(self._folders) >= _FOLDERS_KEPT:
                self._folders.clear()
            try:
                real = os.path.normcase(os.path.realpath(folder))
            except (OSError, ValueError):  # no path at all: reading it gives the failure
                real = folder
            self._folders[folder] = real
        return f"{real}/{os.path.normcase(name)}"


class _Seen:
    """Names that were seen, as 64 bits of a hash, and 32 bits of the hash of the group that each had at first.

    Two of ten million names have the same 64 bits with a probability of 3 in a million.
    """

    def __init__(self) -> None:
        self._names = array("Q", bytes(8 << 10))  # 0: a free place
        self._groups = array("I", bytes(4 << 10))
        self._used = 0

    def add(self, name: str, group: str) -> bool | None:
        """Keep a name. Where it was there before, return whether it had this group, or none is named now."""
        key = _hash(name, 8) or 1
        marker = _marker(group)
        place = self._place(key)
        if self._names[place]:
            return not marker or self._groups[place] == marker
        self._names[place], self._groups[place] = key, marker
        self._used += 1
        if 3 * self._used > 2 * len(self._names):
            self._grow()
        return None

    def _place(self, key: int) -> int:
        names = self._names
        last = len(names) - 1
        place = key & last
        while names[place] not in (0, key):
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        names, groups = self._names, self._groups
        self._names, self._groups = array("Q", bytes(16 * len(names))), array("I", bytes(8 * len(names)))
        for key, marker in zip(names, groups, strict=True):
            if key:
                place = self._place(key)
                self._names[place], self._groups[place] = key, marker


@lru_cache(1024)
def _marker(group: str) -> int:
    return _hash(group, 4) if group else 0


def _hash(text: str, size: int) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=size).digest(), "little")
