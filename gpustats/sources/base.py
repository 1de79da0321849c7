"""The contract of every source: batches of samples, what was passed over, and how an item becomes bytes."""

from __future__ import annotations

import os
import stat
import struct
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError, GpustatsError
from gpustats.failures import Failure, ImageError
from gpustats.sources.files import File

__all__ = [
    "BATCH_SIZE",
    "IMAGE_SUFFIXES",
    "OUTSIDE",
    "Batch",
    "Entry",
    "Item",
    "Part",
    "Pixels",
    "Sample",
    "ShardSource",
    "Source",
    "Within",
    "batched",
    "check_bytes",
    "load",
    "member_kind",
    "suffix",
    "takes_of_parts",
    "within",
]

BATCH_SIZE = 64
"""Samples a batch: enough that hand-over costs little. At the end of a run workers share batches."""

_BATCH_BYTES = 4 << 20
"""Bytes that a batch may hold before it is handed over with fewer samples."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
    | {".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".jp2"}
)
"""File name endings taken for images, lower case. What a file is, its first bytes decide."""

Pixels: TypeAlias = "NDArray[np.generic]"
"""Decoded pixels of one image, (H, W) or (H, W, C), of any strides: a view of the dataset where that is possible."""

Item: TypeAlias = "str | bytes | memoryview | Pixels | Callable[[int], bytes | Pixels]"
"""A path, encoded bytes or a view of them, decoded pixels, or a function that reads either on a worker thread.

The function is told how many bytes it may read and raises `ImageError` where there are more. What it holds open must be
safe to use from several threads.
"""

Sample: TypeAlias = tuple[str, str, Item]
"""Key, group ("" where there is none) and item."""


@dataclass(frozen=True, slots=True)
class Within:
    """Comes between samples: those that follow lie in this file, up to the next word of this kind.

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
    skipped : Counter
        What was passed over, by kind. Complete once the batches are exhausted.
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    """The options of `compute` that mean something to this kind of source."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.skipped: Counter[str] = Counter()

    def parts(self) -> Iterator[Entry]:
        """Yield samples, parts that are not open yet, and failures, in an order that is the same in every run."""
        raise NotImplementedError

    def samples(self) -> Iterator[Sample | Failure | Within]:
        """Yield the samples and failures of all parts in order."""
        return _flat(self.parts(), self.skipped)

    def batches(self) -> Generator[Batch, None, None]:
        """Yield the samples in batches of at most `BATCH_SIZE`."""
        return batched(self.samples())

    def count(self) -> int | None:
        """Return how many samples there are, for a progress bar; None where that cannot be told cheaply."""
        return None


def batched(samples: Iterable[Sample | Failure | Within], size: int = BATCH_SIZE) -> Generator[Batch, None, None]:
    """Group samples into batches of at most `size`, fewer where they hold many bytes or another container begins."""
    keys: list[str] = []
    groups: list[str] = []
    items: list[Item] = []
    failures: list[Failure] = []
    held = 0
    container: str | None = None
    for sample in samples:
        if isinstance(sample, Within):
            if sample.path == container:
                continue
            if keys or failures:
                yield Batch(keys, groups, items, tuple(failures), container)
                keys, groups, items, failures = [], [], [], []
                held = 0
            container = sample.path
            continue
        if isinstance(sample, Failure):
            failures.append(sample)
        else:
            key, group, item = sample
            keys.append(key)
            groups.append(group)
            items.append(item)
            if isinstance(item, bytes | memoryview):
                held += len(item)
        if len(keys) + len(failures) == size or held > _BATCH_BYTES:
            yield Batch(keys, groups, items, tuple(failures), container)
            keys, groups, items, failures = [], [], [], []
            held = 0
    if keys or failures:
        yield Batch(keys, groups, items, tuple(failures), container)


def _flat(entries: Iterable[Entry], skipped: Counter[str]) -> Iterator[Sample | Failure | Within]:
    for entry in entries:
        if isinstance(entry, Part):
            yield from _flat(within(entry, skipped), skipped)
        else:
            yield entry


def within(part: Part, skipped: Counter[str]) -> Iterator[Entry]:
    """Open a part and yield what it holds. An error of the part, at its opening or later, is a failure of it.

    Parameters
    ----------
    part : Part
        What to open.
    skipped : Counter
        What the part passes over is added here.
    """
    source: Source | None = None
    try:
        source = part.open(*part.args)
        yield from source.parts()
    except DataError as error:
        missing = isinstance(error.__context__, FileNotFoundError)
        yield Failure(part.key, "missing" if missing else "unreadable", str(error))
    except _READ_ERRORS as error:
        yield _failure(part.key, error)
    finally:
        if source is not None:
            skipped.update(source.skipped)


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


def member_kind(name: str) -> str:
    """Say what a member of an archive is by its name: "image", or what it is passed over as.

    "outside" is a name that would leave the folder if it were extracted: absolute, with a drive, or with "..".

    >>> member_kind("cats/1.jpg"), member_kind("../1.jpg"), member_kind("._1.jpg"), member_kind("1.cls")
    ('image', 'outside', 'hidden', 'non_image')
    """
    parts = name.replace("\\", "/").removeprefix("./").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or name[1:2] == ":":
        return "outside"
    if any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX":
        return "hidden"
    return "image" if suffix(parts[-1]) in IMAGE_SUFFIXES else "non_image"


OUTSIDE = "the name of the member is absolute or has '..' in it"


def suffix(name: str) -> str:
    """Return the ending of a file name, lower case, with its dot; "" where there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


def check_bytes(size: int, max_bytes: int) -> None:
    """Raise `ImageError` where an image of this many bytes should not be read."""
    if size > max_bytes:
        raise ImageError("too_large", f"the image has {size:,} bytes, more than the limit of {max_bytes:,}")


def load(item: Item, max_bytes: int, expect: Callable[[int], None] = lambda size: None) -> bytes | Pixels:
    """Read what stands behind an item.

    Parameters
    ----------
    item : str, bytes, memoryview, ndarray or callable
        See `Item`.
    max_bytes : int
        Larger files are refused.
    expect : callable
        Told the size of a file before it is read; may wait for memory.

    Raises
    ------
    ImageError
        With the reason ``missing``, ``unreadable`` or ``too_large``.
    """
    if isinstance(item, str):
        return _read_file(item, max_bytes, expect)
    if isinstance(item, memoryview):  # decoders want bytes; the worker copies, not the source, which all wait for
        expect(len(item))
        return bytes(item)
    if callable(item):
        try:
            data = item(max_bytes)
        except (ImageError, GpustatsError):
            raise
        except MemoryError:
            raise ImageError("too_large", "not enough memory to read the image") from None
        except Exception as error:  # noqa: BLE001 - packages that read containers raise anything; one image, named
            raise ImageError("unreadable", f"{type(error).__name__}: {error}") from None
        expect(len(data) if isinstance(data, bytes) else 0)
        return data
    return item


def _read_file(path: str, max_bytes: int, expect: Callable[[int], None]) -> bytes:
    # Four system calls and no file object: this runs once an image, and what surrounds it is held by one thread at a
    # time.
    try:
        descriptor = os.open(path, _OPEN_FLAGS)  # a named pipe must not block the run: O_NONBLOCK
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("unreadable", "not a regular file")
            if status.st_size > max_bytes:
                raise ImageError(
                    "too_large", f"the file has {status.st_size:,} bytes, more than the limit of {max_bytes:,}"
                )
            expect(status.st_size)
            data = os.read(descriptor, status.st_size + 1)
            if len(data) != status.st_size:  # grown, shrunk or a short read: take what is there now
                parts = [data]
                while parts[-1] and sum(map(len, parts)) <= max_bytes:
                    parts.append(os.read(descriptor, 1 << 20))
                data = b"".join(parts)
            return data
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ImageError("missing", "no such file") from None
    except MemoryError:
        raise ImageError("too_large", "not enough memory to read the file") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError("unreadable", getattr(error, "strerror", None) or str(error)) from None
