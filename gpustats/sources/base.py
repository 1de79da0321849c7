"""The contract of every source: samples, parts that are not open yet, and batches."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.files.file import File
from gpustats.sources.items import Item, held_bytes
from gpustats.sources.notes import Notes

__all__ = [
    "BATCH_SIZE",
    "Batch",
    "Entry",
    "Part",
    "Sample",
    "ShardSource",
    "Source",
    "Within",
    "batched",
    "grouped",
    "held_until",
    "inside",
    "opened",
    "takes_of_parts",
    "within",
]

BATCH_SIZE = 64
"""Samples a batch: enough that hand-over costs little. At the end of a run workers share batches."""

_BATCH_BYTES = 4 << 20
"""Bytes that a batch may hold before it is handed over with fewer samples."""

Sample: TypeAlias = tuple[str, str, Item]
"""Key, group ("" where there is none) and item."""


@dataclass(frozen=True, slots=True)
class Within:
    """Comes between samples: those that follow are in this file, until the next `Within`.

    Attributes
    ----------
    path : str or None
        A file on this machine that holds them whole; None where there is none.
    """

    path: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, in three parallel lists, what the source itself could not read, and the file that holds them."""

    keys: list[str]
    groups: list[str]
    items: list[Item]
    failures: tuple[Failure, ...] = ()
    container: str | None = None

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Part:
    """A source within another that is not open yet: a shard, an entry of a list, some row groups of a table.

    Attributes
    ----------
    key : str
        What a failure of the part as a whole is called.
    open : callable
        Returns the source; a function or class of a module, so that a part can be pickled.
    args : tuple
        What `open` is called with: plain data and options.
    count : int or None
        How many samples there are, where that is known without opening it.
    """

    key: str
    open: Callable[..., Source]
    args: tuple[object, ...]
    count: int | None = None


Entry: TypeAlias = "Sample | Failure | Within | Part"


class Source:
    """Where images come from. A subclass says `label` and yields its `parts`; everything else is here.

    `parts` runs in one thread at a time, so it should do little; what can run in parallel belongs into items that are
    functions, or into parts of their own.

    Attributes
    ----------
    label : str
        What is read, for messages and the provenance of a result.
    notes : Notes
        What was passed over, and what was chosen. Complete once everything was read.
    takes : frozenset of str
        The options of `compute` that mean something to this source.
    names_once : bool
        Whether no file can be named twice.
    lists : bool
        Whether it finds images without making them: False for objects of the user's.
    counts_images : bool
        Whether `count` is the number of images, from a footer or the like; it may be None all the same.
    again : bool
        Whether it can be read a second time.
    """

    names_once = False
    lists = True
    counts_images = False
    again = True

    def __init__(self, label: str, takes: frozenset[str] = frozenset()) -> None:
        self.label = label
        self.takes = takes
        self.notes = Notes()

    @property
    def skipped(self) -> Counter[str]:
        """What was passed over, by kind."""
        return self.notes.skipped

    def parts(self) -> Iterator[Entry]:
        """Yield samples, parts that are not open yet, and failures, in an order that is the same in every run."""
        raise NotImplementedError

    def holder(self) -> str | None:
        """Return what identifies the file that all images are in; None where they are files in other places."""
        return None

    def samples(self) -> Iterator[Sample | Failure | Within]:
        """Yield the samples and failures of all parts in order."""
        return _flat(self.parts(), self.notes)

    def batches(self) -> Generator[Batch, None, None]:
        """Yield the samples in order, in batches of at most `BATCH_SIZE`; for several threads see `reader.Reader`."""
        return batched(self.samples())

    def count(self) -> int | None:
        """Return how many samples there are, for a progress bar; None where counting is expensive."""
        return None

    def places(self) -> int | None:
        """Return how many samples there are where each can be had by its place, without the others; else None."""
        return None

    def at(self, places: Sequence[int]) -> Iterator[Entry]:
        """Yield the samples at some places, see `places`."""
        raise NotImplementedError

    def rounds(self, widest: Callable[[], float]) -> Iterator[Source]:
        """Yield the sources to read one after the other: this one; see `sampled.Drawing`."""
        yield self

    def facts(self) -> dict[str, Any] | None:
        """Return what a sample says of itself; None where everything is read."""
        return None


def batched(samples: Iterable[Sample | Failure | Within], size: int = BATCH_SIZE) -> Generator[Batch, None, None]:
    """Group samples into batches of at most `size`, fewer where they hold many bytes or another container begins."""
    for batch in grouped(samples, size):
        if isinstance(batch, Batch):
            yield batch


def grouped(entries: Iterable[Entry], size: int = BATCH_SIZE) -> Generator[Batch | Part, None, None]:
    """Group samples as `batched` does, and yield parts between them."""
    keys: list[str] = []
    groups: list[str] = []
    items: list[Item] = []
    failures: list[Failure] = []
    held = 0
    container: str | None = None

    def taken() -> Iterator[Batch]:
        nonlocal keys, groups, items, failures, held
        if keys or failures:
            yield Batch(keys, groups, items, tuple(failures), container)
            keys, groups, items, failures, held = [], [], [], [], 0

    for entry in entries:
        if isinstance(entry, tuple):  # a sample; first, because this runs for every image
            key, group, item = entry
            keys.append(key)
            groups.append(group)
            items.append(item)
            if not isinstance(item, str):
                held += held_bytes(item)
        elif isinstance(entry, Within):
            if entry.path != container:
                yield from taken()
                container = entry.path
            continue
        elif isinstance(entry, Part):
            yield from taken()
            yield entry
            continue
        else:
            failures.append(entry)
        if len(keys) + len(failures) == size or held > _BATCH_BYTES:
            yield from taken()
    yield from taken()


def _flat(entries: Iterable[Entry], notes: Notes) -> Iterator[Sample | Failure | Within]:
    for entry in entries:
        if isinstance(entry, Part):
            yield from _flat(within(entry, notes), notes)
        else:
            yield entry


def within(part: Part, notes: Notes) -> Iterator[Entry]:
    """Open a part and yield what it holds. An error of the part, at its opening or later, is a failure of it.

    Parameters
    ----------
    part : Part
        What to open.
    notes : Notes
        What the part says is added here.
    """
    source = opened(part)
    if isinstance(source, Failure):
        yield source
    else:
        yield from inside(source, part.key, notes)


def opened(part: Part) -> Source | Failure:
    """Open a part; what cannot be opened is a failure of it."""
    try:
        return part.open(*part.args)
    except _READ_ERRORS as error:
        return _part_failure(part.key, error)


def inside(source: Source, key: str, notes: Notes) -> Iterator[Entry]:
    """Yield what a source holds; see `within`."""
    try:
        yield from source.parts()
    except _READ_ERRORS as error:
        yield _part_failure(key, error)
    finally:
        notes.add(source.notes)


def _part_failure(key: str, error: Exception) -> Failure:
    if isinstance(error, DataError):
        missing = isinstance(error.__context__, FileNotFoundError)
        return Failure(key, "missing" if missing else "unreadable", str(error))
    return _failure(key, error)


def takes_of_parts(parts: Iterable[Entry], given: frozenset[str]) -> frozenset[str]:
    """Return which options have a use for any of the parts; as many are opened as are needed to find all of `given`."""
    takes: frozenset[str] = frozenset()
    for part in parts if given else ():
        if isinstance(part, Part):
            try:
                takes |= part.open(*part.args).takes
            except DataError:  # a failure when its turn comes; it may have had a use for them
                takes |= given
            if given <= takes:
                break
    return takes


def held_until(
    entries: Iterator[Sample | Failure], seen: Callable[[], bool], refuse: Callable[[], Exception]
) -> Iterator[Sample | Failure]:
    """Yield samples as soon as what the user asked for was seen among them.

    Parameters
    ----------
    entries : iterator of Sample or Failure
        The samples of one file.
    seen : callable
        Says whether it was seen among the samples so far.
    refuse : callable
        Returns the error to raise where it is in none of the first samples (`BATCH_SIZE`, fewer where they are large).
    """
    held: list[Sample | Failure] = []
    samples = size = 0
    try:
        for entry in entries:
            held.append(entry)
            if isinstance(entry, tuple):
                samples += 1
                size += held_bytes(entry[2])
            if seen() or samples == BATCH_SIZE or size > _BATCH_BYTES:
                break
    except Exception:
        yield from held  # what came before the damage is whole
        raise
    if samples and not seen():
        raise refuse()
    yield from held
    yield from entries


_READ_ERRORS = (
    *(ImageError, DataError, OSError, MemoryError),
    *(ValueError, ArithmeticError, LookupError, RecursionError, struct.error),
)


def _failure(key: str, error: Exception) -> Failure:
    """Return what one of `_READ_ERRORS` says of the source that raised it."""
    match error:
        case ImageError():
            return Failure(key, error.reason, str(error))
        case FileNotFoundError():
            return Failure(key, "missing", "no such file")
        case MemoryError():
            return Failure(key, "too_large", "not enough memory to read on in this file")
        case OSError():
            return Failure(key, "unreadable", error.strerror or str(error))
        case DataError():
            return Failure(key, "unsupported", str(error))
    # A library's word for damage that no test knows: one shard, named, and not the end of a run.
    return Failure(key, "corrupt", f"the file cannot be read: {type(error).__name__}: {error}")


class ShardSource(Source):
    """One container file. A subclass yields `members`; an error in between becomes a failure of the shard.

    Parameters
    ----------
    file : File
        The container.
    key : str
        The shard's key; those of its members begin with it.
    """

    def __init__(self, file: File, key: str) -> None:
        super().__init__(file.label)
        self.file = file
        self.key = key

    def members(self) -> Iterator[Sample | Failure]:
        """Yield what is inside; raise `ImageError` or `OSError` where the rest cannot be read."""
        raise NotImplementedError

    def holder(self) -> str | None:
        """Return what identifies the container."""
        return self.file.identity

    def container(self) -> str | None:
        """Return the path of the file that holds every member whole; None where more than one file does."""
        return self.file.path if self.file.path is not None and os.path.isfile(self.file.path) else None

    def parts(self) -> Iterator[Entry]:
        """Yield the members, and a failure where the container itself is damaged."""
        yield Within(self.container())
        try:
            yield from self.members()
        except _READ_ERRORS as error:
            yield _failure(self.key, error)
        yield Within(None)
