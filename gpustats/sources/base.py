"""The contract of every source: batches of samples, what was passed over, and how an item becomes bytes."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.failures import Failure, ImageError

__all__ = ["BATCH_SIZE", "IMAGE_SUFFIXES", "Batch", "Item", "Sample", "Source", "batched", "load", "suffix"]

BATCH_SIZE = 16
"""Samples a batch: enough that hand-over costs little for 32x32 images, few enough that threads end a run together."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
    | {".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".jp2"}
)
"""File name endings taken for images, lower case. What a file is, its first bytes decide."""

Item: TypeAlias = "str | bytes | NDArray[np.generic] | Callable[[], bytes]"
"""A path, encoded bytes, decoded pixels, or a function that reads the encoded bytes (called on a worker thread)."""

Sample: TypeAlias = tuple[str, str, Item]
"""Key, group ("" where there is none) and item."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, in three parallel lists, and what the source itself could not read."""

    keys: list[str]
    groups: list[str]
    items: list[Item]
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)


class Source:
    """Where images come from. A subclass says `label` and yields `samples`; everything else is here.

    Attributes
    ----------
    label : str
        What is read, for messages and the provenance of a result.
    skipped : Counter
        What was passed over, by kind. Complete once the batches are exhausted.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.skipped: Counter[str] = Counter()

    def samples(self) -> Iterator[Sample | Failure]:
        """Yield the samples in an order that is the same in every run, and failures where a part cannot be read."""
        raise NotImplementedError

    def batches(self) -> Iterator[Batch]:
        """Yield the samples in batches of at most `BATCH_SIZE`."""
        return batched(self.samples())

    def count(self) -> int | None:
        """Return how many samples there are, for a progress bar; None where that cannot be told cheaply."""
        return None


def batched(samples: Iterable[Sample | Failure], size: int = BATCH_SIZE) -> Iterator[Batch]:
    """Group samples into batches of at most `size`."""
    keys: list[str] = []
    groups: list[str] = []
    items: list[Item] = []
    failures: list[Failure] = []
    for sample in samples:
        if isinstance(sample, Failure):
            failures.append(sample)
        else:
            key, group, item = sample
            keys.append(key)
            groups.append(group)
            items.append(item)
        if len(keys) + len(failures) == size:
            yield Batch(keys, groups, items, tuple(failures))
            keys, groups, items, failures = [], [], [], []
    if keys or failures:
        yield Batch(keys, groups, items, tuple(failures))


def suffix(name: str) -> str:
    """Return the ending of a file name, lower case, with its dot; "" where there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


def load(item: Item, max_bytes: int) -> bytes | NDArray[np.generic]:
    """Read what stands behind an item.

    Raises
    ------
    ImageError
        With the reason ``missing``, ``unreadable`` or ``too_large``.
    """
    if isinstance(item, str):
        return _read_file(item, max_bytes)
    if callable(item):
        return item()
    return item


def _read_file(path: str, max_bytes: int) -> bytes:
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
