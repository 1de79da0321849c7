"""Which images have the same content: a hash of each, and the keys that share one.

What is hashed is the file, byte by byte, or of an image that is no file its type, shape and values. Its hash is the
128-bit XXH3: among a billion images, the probability that two different ones share it is below 1e-20. It is not made to
withstand somebody who forges a file with the hash of another. It takes an eighth of the time of SHA-256.
"""

from __future__ import annotations

import heapq
import marshal
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.saved import natural
from gpustats.statistics.base import Column, Columns, Part, Statistic
from gpustats.statistics.original import Jpegs, Original, Whole
from gpustats.statistics.rows import Rows

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["KEYS_LISTED", "SETS_LISTED", "Contents", "DuplicateHashes", "Duplicates"]

SETS_LISTED = 1000
"""Sets of duplicates that a result lists, those with the most images; all are counted."""

KEYS_LISTED = 100
"""Keys of a set that a result lists, the first in their order; all are counted."""

_TOGETHER = 16384  # keys that are compressed together


class DuplicateHashes(Statistic):
    """The hash of each image. Only rows have it: totals do not, see `Contents`."""

    name = "duplicates"
    whole = True
    of_original = True
    outputs = frozenset()
    combine: ClassVar[Mapping[str, Any]] = {}

    def columns(self) -> Mapping[str, Column]:
        """Return the hash."""
        return {"hash": Column("uint64", (2,))}

    def measure(self, image: Whole) -> tuple[Any, ...]:
        """Return the hash."""
        return (struct.unpack("<2Q", _hash(image.source)),)

    def of_jpegs(self, files: Jpegs) -> Columns:
        """Return the hashes of many files."""
        hashes = b"".join(_of_file(data) for data in files.files())
        return {"hash": np.frombuffer(hashes, "<u8").reshape(-1, 2)}

    def on_gpu(self, outputs: Outputs) -> Columns:
        """Return nothing: the engine hashes files where it has them."""
        return {}

    def fold(self, columns: Columns) -> Part:
        """Return nothing."""
        return {}


def _of_file(data: bytes | memoryview) -> bytes:
    import xxhash

    return xxhash.xxh3_128_digest(data)


def _hash(image: Original) -> bytes:
    import xxhash

    if image.format:
        return _of_file(image.data)
    pixels = image.data
    masked = isinstance(pixels, np.ma.MaskedArray)
    values = np.ascontiguousarray(np.ma.getdata(pixels))
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    shape = (*values.shape, 1)[:3]
    found = xxhash.xxh3_128(f"{values.dtype.str} {shape}".encode())
    found.update(values.tobytes())
    if masked:
        found.update(np.packbits(np.ma.getmaskarray(pixels)).tobytes())
    return found.digest()


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Sets of images with the same content, exactly. Print it.

    Attributes
    ----------
    images : int
        Images that were compared.
    sets : int
        Contents that more than one image has.
    copies : int
        Images that could be left out, so that every content is there once.
    listed : tuple of tuple of str
        The keys of each set: those with the most images, at most 1,000 sets and 100 keys of each, in the order of their
        keys.
    sizes : tuple of int
        How many images each of the listed sets has.
    contents : Contents or None
        The hashes, with which results can be pooled; None in a result that was loaded from a file.
    """

    images: int
    sets: int
    copies: int
    listed: tuple[tuple[str, ...], ...] = ()
    sizes: tuple[int, ...] = ()
    contents: Contents | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, place: int) -> tuple[str, ...]:
        return self.listed[place]

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self.listed)

    def to_dict(self) -> dict[str, Any]:
        """Return it in plain containers, without the hashes."""
        return {
            "images": self.images,
            "sets": self.sets,
            "copies": self.copies,
            "listed": [{"images": n, "keys": list(keys)} for n, keys in zip(self.sizes, self.listed, strict=True)],
        }

    @classmethod
    def from_dict(cls, data: Any) -> Duplicates:
        """Read what `to_dict` returned.

        Raises
        ------
        DataError
            Where it is damaged.
        """
        try:
            numbers = [natural(data[name], name) for name in ("images", "sets", "copies")]
            listed = tuple(tuple(map(str, found["keys"])) for found in data["listed"])
            sizes = tuple(natural(found["images"], "images") for found in data["listed"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the duplicates are incomplete or damaged: {error!r}") from None
        images, sets, copies = numbers
        shown = all(n >= 2 and 1 <= len(keys) <= n for n, keys in zip(sizes, listed, strict=True))
        if not (shown and len(listed) <= sets <= copies and sets + copies <= images):
            raise DataError("the duplicates contradict one another: the file was changed or damaged")
        return cls(images, sets, copies, listed, sizes)


class Contents:
    """The hashes and keys of all images of a run: 16 bytes for a hash, and the key, compressed, 5 to 15 more.

    To find the duplicates takes 24 bytes an image in addition.
    """

    def __init__(self) -> None:
        self._hashes: list[NDArray[np.uint64]] = []
        self._keys: list[bytes] = []  # of each of these
        self._waiting: list[Rows] = []
        self._count = 0

    def fold(self, rows: Rows) -> None:
        """Add every row of a batch."""
        if len(rows):
            column = rows.of(DuplicateHashes.name)["hash"]
            self._waiting.append(Rows(None, rows.keys, rows.groups, rows.height, rows.width, {"hash": column}))
            self._count += len(rows)
            if self._count >= _TOGETHER:
                self._pack()

    def merged(self, other: Contents) -> Contents:
        """Return both together; both stay as they are."""
        found = Contents()
        for part in (self, other):
            part._pack()
            found._hashes += part._hashes
            found._keys += part._keys
        return found

    def _pack(self) -> None:
        waiting, self._waiting, self._count = self._waiting, [], 0
        if waiting:
            self._hashes.append(np.concatenate([rows.columns["hash"] for rows in waiting]))
            self._keys.append(zlib.compress(marshal.dumps([key for rows in waiting for key in rows.keys]), 1))

    def duplicates(self) -> Duplicates:
        """Return what is there more than once: the same for any order of the images."""
        self._pack()
        hashes = np.concatenate(self._hashes) if self._hashes else np.empty((0, 2), np.uint64)
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))
        ordered = hashes[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        sizes = np.diff(starts, append=len(order))
        several = sizes > 1
        starts, sizes = starts[several], sizes[several]
        copies = int(sizes.sum()) - len(sizes)
        # Of sets with as many images those with the smallest hashes: whichever, but the same ones in any order.
        largest = np.argsort(-sizes, kind="stable")[:SETS_LISTED]
        found = self._listed([(order[starts[i] : starts[i] + sizes[i]]) for i in largest.tolist()])
        sets = sorted(zip(sizes[largest].tolist(), found, strict=True), key=lambda pair: (-pair[0], pair[1]))
        return Duplicates(
            len(order), len(sizes), copies, tuple(keys for _, keys in sets), tuple(n for n, _ in sets), self
        )

    def _listed(self, sets: list[NDArray[np.int64]]) -> list[tuple[str, ...]]:
        """Return the first keys of sets of places; keys are unpacked piece by piece."""
        kept: list[list[str]] = [[] for _ in sets]
        place = np.concatenate([np.empty(0, np.int64), *sets])
        of = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
        order = np.argsort(place)
        place, of = place[order], of[order]
        begin = 0
        for hashes, packed in zip(self._hashes, self._keys, strict=True):
            end = begin + len(hashes)
            inside = slice(*np.searchsorted(place, [begin, end]).tolist())
            if inside.start < inside.stop:
                keys = marshal.loads(zlib.decompress(packed))
                for where, which in zip((place[inside] - begin).tolist(), of[inside].tolist(), strict=True):
                    kept[which].append(keys[where])
                for which in set(of[inside].tolist()):
                    if len(kept[which]) > KEYS_LISTED:
                        kept[which] = heapq.nsmallest(KEYS_LISTED, kept[which])
            begin = end
        return [tuple(sorted(keys)) for keys in kept]
