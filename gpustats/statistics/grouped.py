"""Totals by group: another accumulator over the same rows, not another pass."""

from __future__ import annotations

import heapq
import marshal
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpustats.errors import first_line
from gpustats.failures import Failure
from gpustats.statistics import ALWAYS, for_kind
from gpustats.statistics.base import Kind
from gpustats.statistics.rows import Rows
from gpustats.statistics.totals import Totals

__all__ = ["Grouped", "named_group", "regrouped"]

_AT_HAND = 256
"""Groups whose totals are kept as objects, 4 KB each; those of the others are packed into some 300 bytes."""

_BYTES_AT_HAND = 64 << 20
"""Bytes of large histograms that are kept as objects, however few groups they are of."""

_COMPRESSED_FROM = 2048  # bytes: a histogram, most of whose bins are empty in a small group
_SCALARS = ("pixels", "height_min", "height_max", "width_min", "width_max", "key_hash")
_HEAD = 8  # bytes: the number of images


class Grouped:
    """Totals of each group.

    Parameters
    ----------
    statistics : tuple of str
        What is measured.
    by : str
        What the groups are, for people: ``"folder"``, ``"label"``, the name of a column.
    """

    def __init__(self, statistics: Sequence[str] = (ALWAYS,), by: str = "group") -> None:
        self.by = by
        self._statistics = tuple(statistics)
        self._at_hand: dict[str, Totals] = {}
        self._packed: dict[str, bytes] = {}
        self._held = 0  # bytes at hand, those that merging saved included

    def __len__(self) -> int:
        return len(self._packed) + sum(name not in self._packed for name in self._at_hand)

    def __iter__(self) -> Iterator[str]:
        yield from self._packed
        yield from [name for name in self._at_hand if name not in self._packed]

    def __contains__(self, name: object) -> bool:
        return name in self._packed or name in self._at_hand

    def __getitem__(self, name: str) -> Totals:
        """Return a copy of the totals of a group; ``""`` is the group of images that have none."""
        totals = Totals(self._statistics)
        totals.merge(self._at_hand[name] if name in self._at_hand else self._unpacked(name))
        return totals

    def fold(self, rows: Rows) -> None:
        """Add every row of a batch to the totals of its group."""
        if not len(rows):
            return
        order = sorted(range(len(rows)), key=rows.groups.__getitem__)
        names = [rows.groups[place] for place in order]
        starts = [0, *(place for place in range(1, len(names)) if names[place] != names[place - 1])]
        ordered = rows if order == [*range(len(rows))] else rows.take(np.array(order))
        for start, totals in zip(starts, Totals.of_segments(ordered, starts, self._statistics), strict=True):
            self._merge(names[start], totals)

    def merge(self, other: Grouped) -> None:
        """Add everything that `other` folded, group by group; `other` stays as it is."""
        for name in other:
            self.add(name, other[name])

    def add(self, name: str, totals: Totals) -> None:
        """Add the totals of some images of one group; statistics that are not measured here are left out."""
        if totals.images:
            self._merge(name, totals.only(self._statistics))

    def whole(self) -> Totals:
        """Return the totals of all groups together."""
        whole = Totals(self._statistics)
        for name in self:
            whole.merge(self[name])
        return whole

    def largest(self, count: int) -> list[str]:
        """Return the groups with the most images, largest first, in the order of their names where as many."""
        return heapq.nsmallest(count, self, key=lambda name: (-self._images(name), name))

    def _merge(self, name: str, more: Totals) -> None:
        if name not in self._at_hand:
            if len(self._at_hand) >= _AT_HAND or self._held >= _BYTES_AT_HAND:
                for other, totals in self._at_hand.items():
                    self._packed[other] = _pack(totals)
                self._at_hand.clear()
                self._held = 0
            self._at_hand[name] = self._unpacked(name) if name in self._packed else Totals(self._statistics)
            self._held += _ragged_bytes(self._at_hand[name])
        self._at_hand[name].merge(more)
        self._held += _ragged_bytes(more)

    def _images(self, name: str) -> int:
        at_hand = self._at_hand.get(name)
        return at_hand.images if at_hand is not None else int.from_bytes(self._packed[name][:_HEAD], "big")

    def _unpacked(self, name: str) -> Totals:
        packed = self._packed[name]
        body = packed[_HEAD:]
        if body[:1] == b"\x78":  # where zlib's data begin; marshal's begin otherwise
            body = zlib.decompress(body)
        statistics, left_out, kind, scalars, parts = marshal.loads(body)
        totals = Totals(statistics)
        totals.left_out, totals.images = left_out, int.from_bytes(packed[:_HEAD], "big")
        totals.kind = Kind(*kind)
        for scalar, value in zip(_SCALARS, scalars, strict=True):
            setattr(totals, scalar, value)
        totals.parts = {
            s.name: dict(zip(s.combine, values, strict=True))
            for s, values in zip(for_kind(statistics, totals.kind), parts, strict=True)
        }
        return totals


def _ragged_bytes(totals: Totals) -> int:
    """Return the bytes that totals hold in the form of `sparse.packed`."""
    parts = (value for part in totals.parts.values() for value in part.values() if isinstance(value, list))
    return sum(sum(map(len, value)) for value in parts if value and isinstance(value[0], bytes))


def _pack(totals: Totals) -> bytes:
    """Return the numbers of totals without their names; they are read again by this process alone."""
    assert totals.kind is not None
    body = marshal.dumps(
        (
            totals.statistics,
            totals.left_out,
            totals.kind.described,
            [getattr(totals, name) for name in _SCALARS],
            [[totals[s.name][name] for name in s.combine] for s in for_kind(totals.statistics, totals.kind)],
        )
    )
    if len(body) >= _COMPRESSED_FROM:
        body = zlib.compress(body, 1)
    return totals.images.to_bytes(_HEAD, "big") + body


def regrouped(rows: Rows, group_of: Callable[[str], object]) -> tuple[Rows, list[Failure]]:
    """Return rows whose groups are what a function says of their keys, and a failure for each key where it raises.

    None and ``""`` are no group; anything else is taken as text.
    """
    groups: list[str] = []
    failures: list[Failure] = []
    good: list[int] = []
    for place, key in enumerate(rows.keys):
        group = named_group(key, group_of)
        if isinstance(group, Failure):
            failures.append(group)
        else:
            groups.append(group)
            good.append(place)
    if failures:
        rows = rows.take(np.array(good, np.intp))
    return Rows(rows.kind, rows.keys, groups, rows.height, rows.width, rows.columns), failures


def named_group(key: str, group_of: Callable[[str], object]) -> str | Failure:
    """Return the group of a key as a function says, and a failure where that raises."""
    try:
        group = group_of(key)
        return "" if group is None else str(group)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything; one image, named
        return Failure(key, "unsupported", f"group_by raised {type(error).__name__}: {first_line(error)}")
