"""The one accumulator: counts, sizes and keys of the images, and one part for each statistic."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from gpustats.errors import DataError, MergeError
from gpustats.saved import natural
from gpustats.statistics import ALWAYS, STATISTICS, check_names, for_kind
from gpustats.statistics.base import Kind, Part, Statistic
from gpustats.statistics.exact import WHOLE
from gpustats.statistics.rows import Rows, mixture

__all__ = ["RowBuffer", "Sink", "Totals"]

_KEY_MODULUS = 1 << 128
"""The hash of a set of keys is a sum modulo this."""

_TOGETHER = 32 << 20
"""Bytes of columns of any length that are folded together, however few rows that are."""

_KIND = ("channels", "dtype", "value_range")
_COUNTS = ("images", "pixels")
_SMALLEST = ("height_min", "width_min")
_LARGEST = ("height_max", "width_max")
_SCALARS = (*_COUNTS, "height_min", "height_max", "width_min", "width_max")


class Totals:
    """Folds rows into totals that are Python integers, so nothing overflows and nothing depends on order.

    The empty accumulator is the identity of `merge`. Reading derives nothing here: see `gpustats.Stats`.

    Parameters
    ----------
    statistics : tuple of str
        What is measured, as `gpustats.statistics.check_names` gives it.

    Attributes
    ----------
    statistics : tuple of str
        What the totals hold.
    left_out : tuple of str
        Statistics that some of what was merged had, and some had not.
    kind : Kind or None
        What the images are; None while empty.
    images, pixels : int
        How many were folded.
    height_min, height_max, width_min, width_max : int
        Range of the image sizes.
    key_hash : int
        Order-free 128-bit hash of the keys.
    parts : dict of str to dict
        The totals of each statistic; empty while there are no images.
    """

    __slots__ = (
        "height_max",
        "height_min",
        "images",
        "key_hash",
        "kind",
        "left_out",
        "parts",
        "pixels",
        "statistics",
        "width_max",
        "width_min",
    )

    def __init__(self, statistics: Sequence[str] = (ALWAYS,)) -> None:
        self.statistics = tuple(statistics)
        self.left_out: tuple[str, ...] = ()
        self.kind: Kind | None = None
        self.images = self.pixels = 0
        self.height_min = self.height_max = self.width_min = self.width_max = 0
        self.key_hash = 0
        self.parts: dict[str, Part] = {}

    def __getitem__(self, statistic: str) -> Part:
        return self.parts[statistic]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Totals):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Totals(images={self.images}, pixels={self.pixels}, kind={self.kind})"

    @property
    def exact(self) -> bool:
        """Whether all totals are integers."""
        return all(s.exact for s in self._measured())

    def fold(self, rows: Rows) -> None:
        """Add every row of a batch.

        Raises
        ------
        MergeError
            Where the images are of another kind than those before.
        ValueError
            Where an image has no pixels.
        """
        if len(rows):
            (totals,) = self.of_segments(rows, WHOLE, self.statistics)
            self.merge(totals)

    @classmethod
    def of_segments(cls, rows: Rows, starts: Sequence[int], statistics: Sequence[str]) -> list[Totals]:
        """Return the totals of each segment of a batch that is not empty; a segment ends where the next one starts.

        Raises
        ------
        ValueError
            Where an image has no pixels.
        """
        assert rows.kind is not None
        pixels = rows.height * rows.width
        if not pixels.all():
            raise ValueError(f"image {rows.keys[int(np.argmin(pixels))]!r} has no pixels")
        measured = for_kind(tuple(statistics), rows.kind)
        if rows.folded and len(starts) > 1:
            raise ValueError(f"of {', '.join(rows.folded)} there are only totals of all rows, none of segments")
        parts = [
            [rows.folded[s.name]] if s.name in rows.folded else s.fold_segments(rows.of(s.name), starts)
            for s in measured
        ]
        counts = np.add.reduceat(pixels, starts).tolist()
        (low_h, low_w), (high_h, high_w) = (
            [extreme.reduceat(sizes, starts).tolist() for sizes in (rows.height, rows.width)]
            for extreme in (np.minimum, np.maximum)
        )
        found = []
        for place, (start, stop) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True)):
            totals = cls(statistics)
            totals.kind = rows.kind
            totals.images = stop - start
            totals.pixels = counts[place]
            totals.height_min, totals.height_max = low_h[place], high_h[place]
            totals.width_min, totals.width_max = low_w[place], high_w[place]
            totals.key_hash = _hash(rows.keys[start:stop])
            totals.parts = {s.name: of_statistic[place] for s, of_statistic in zip(measured, parts, strict=True)}
            found.append(totals)
        return found

    def merge(self, other: Totals) -> None:
        """Add everything that `other` folded; `other` stays as it is.

        Statistics that only one of the two has are left out of the sum, and named in `left_out`.

        Raises
        ------
        MergeError
            Where the two hold images of different kinds, or histograms of other bins. Nothing is added then.
        """
        if not other.images:
            return
        if not self.images:
            for name in self.__slots__:
                setattr(self, name, getattr(other, name))
            self.parts = dict(other.parts)
            return
        if self.kind != other.kind or self.kind is None:
            raise MergeError(
                f"images of {self.kind} cannot be pooled with images of {other.kind}; compute them separately"
            )
        left_out = {*self.statistics} ^ {*other.statistics} | {*self.left_out} | {*other.left_out}
        statistics = tuple(name for name in self.statistics if name in other.statistics)
        self.parts = {s.name: s.merge(self.parts[s.name], other.parts[s.name]) for s in for_kind(statistics, self.kind)}
        self.left_out = tuple(name for name in STATISTICS if name in left_out)
        self.statistics = statistics
        for names, combine in ((_COUNTS, sum), (_SMALLEST, min), (_LARGEST, max)):
            for name in names:
                setattr(self, name, combine((getattr(self, name), getattr(other, name))))
        self.key_hash = (self.key_hash + other.key_hash) % _KEY_MODULUS

    def _measured(self) -> tuple[Statistic, ...]:
        """Return the statistics that there are parts of."""
        return () if self.kind is None else for_kind(self.statistics, self.kind)

    def only(self, statistics: Sequence[str]) -> Totals:
        """Return the same totals with no other statistics than these; the others are named in `left_out`."""
        totals = Totals()
        totals.merge(self)
        dropped = {name for name in self.statistics if name not in statistics} | {*self.left_out}
        totals.left_out = tuple(name for name in STATISTICS if name in dropped)
        totals.statistics = tuple(name for name in self.statistics if name in statistics)
        totals.parts = {name: part for name, part in self.parts.items() if name in statistics}
        return totals

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers in plain containers; `from_dict` reads them back exactly."""
        return {
            "kind": None if self.kind is None else dict(zip(_KIND, self.kind.described, strict=False)),
            **{name: getattr(self, name) for name in _SCALARS},
            "key_hash": f"{self.key_hash:032x}",
            "statistics": list(self.statistics),
            "left_out": list(self.left_out),
            **{s.name: s.plain(self.parts[s.name]) for s in self._measured()},
        }

    @classmethod
    def from_dict(cls, data: Any) -> Totals:
        """Read what `to_dict` wrote.

        Raises
        ------
        DataError
            Where a number is missing, is of another type, or contradicts another.
        """
        try:
            totals = cls(check_names(data["statistics"]))
            totals.left_out = tuple(name for name in STATISTICS if name in data["left_out"])
            totals.kind = None if data["kind"] is None else _kind(data["kind"])
            for name in _SCALARS:
                setattr(totals, name, natural(data[name], name))
            totals.key_hash = int(data["key_hash"], 16) % _KEY_MODULUS
            if totals.kind is not None:
                totals.parts = {s.name: s.read(data[s.name]) for s in for_kind(totals.statistics, totals.kind)}
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"the numbers are incomplete or damaged: {error!r}") from None
        if not totals._consistent():
            raise DataError("the counts contradict one another: the file was changed or damaged")
        return totals

    def _consistent(self) -> bool:
        if self.kind is None:
            return not any(getattr(self, name) for name in (*_SCALARS, "key_hash"))
        n, images = (self.parts[ALWAYS][name] for name in ("n", "images"))
        return (
            0 < self.images <= self.pixels
            and all(count <= self.pixels for count in n)
            and all(count <= self.images for count in images)
            and 0 < self.height_min <= self.height_max
            and 0 < self.width_min <= self.width_max
            and all(s.agrees(self.parts[s.name], self.parts[ALWAYS]) for s in for_kind(self.statistics, self.kind))
        )


def _kind(data: Any) -> Kind:
    return Kind(data["channels"], data["dtype"], data.get("value_range"))


class Sink(Protocol):
    """What takes the rows of a run."""

    def fold(self, rows: Rows) -> None:
        """Add every row of a batch."""
        ...


class RowBuffer:
    """Collects small batches and folds them together, since a call of `Totals.fold` costs more than a row.

    Parameters
    ----------
    *sinks : Sink
        What the rows are folded into.
    rows : int
        How many rows to collect.
    """

    def __init__(self, *sinks: Sink, rows: int = 512) -> None:
        self._sinks = sinks
        self._limit = rows
        self._parts: list[Rows] = []
        self._count = self._bytes = 0
        self._first: tuple[Kind | None, str] | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Rows) -> None:
        """Add a batch; fold what was collected when there is enough of it.

        Raises
        ------
        DataError
            Where its images are of another kind than those before.
        """
        if not len(rows):
            return
        if self._first is None:
            self._first = (rows.kind, rows.keys[0])
        elif rows.kind != self._first[0]:
            raise DataError(mixture(self._first, (rows.kind, rows.keys[0])))
        if rows.folded:
            self._fold(rows)
            return
        self._parts.append(rows)
        self._count += len(rows)
        self._bytes += rows.ragged_bytes
        if self._count >= self._limit or self._bytes >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Fold what was collected."""
        if self._parts:
            parts, self._parts, self._count, self._bytes = self._parts, [], 0, 0
            self._fold(Rows.joined(parts))

    def _fold(self, rows: Rows) -> None:
        for sink in self._sinks:
            sink.fold(rows)


def _hash(keys: Sequence[str]) -> int:
    """Return the sum of the keys' 128-bit BLAKE2b hashes modulo 2**128: the same for any order and any split."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest() for key in keys])
    words = np.frombuffer(digests, ">u4").reshape(-1, 4).sum(axis=0, dtype=np.uint64).tolist()
    total: int = sum(word << shift for word, shift in zip(words, (96, 64, 32, 0), strict=True))
    return total % _KEY_MODULUS
