"""Images of a batch, one row each: who they are, and a column for every number that was measured."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.statistics.base import Columns, Kind, Part
from gpustats.wording import named, option

__all__ = ["NO_ROWS", "Rows", "mixture"]

_NO_SIZES = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Exact numbers of a batch of images of one kind, kept as a struct of arrays.

    Attributes
    ----------
    kind : Kind or None
        What the images are; None where there is none.
    keys : sequence of str
        The name of each image, unique in its dataset.
    groups : sequence of str
        The group of each image (first-level folder, class label), ``""`` where there is none.
    height, width : ndarray of uint64, shape (N,)
        Size in pixels.
    columns : mapping of str to ndarray, each of shape (N, ...)
        By the name of the statistic and of the column: ``"moments.sum"``. Of the dtype object are bytes of any length.
    folded : mapping of str to dict
        Totals over all rows of statistics that have no columns. Such rows can only be folded, all together.
    """

    kind: Kind | None = None
    keys: Sequence[str] = ()
    groups: Sequence[str] = ()
    height: NDArray[np.uint64] = field(default_factory=lambda: _NO_SIZES)
    width: NDArray[np.uint64] = field(default_factory=lambda: _NO_SIZES)
    columns: Columns = field(default_factory=dict)
    folded: Mapping[str, Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.groups), len(self.height), len(self.width), *map(len, self.columns.values())}
        if lengths != {len(self.keys)}:
            raise ValueError(f"{len(self.keys)} keys, but columns of {sorted(lengths)} rows")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def ragged(self) -> Columns:
        """The columns that hold bytes of any length."""
        return {name: column for name, column in self.columns.items() if column.dtype == object}

    @property
    def ragged_bytes(self) -> int:
        """The bytes that these hold; a row has about a hundred beside them."""
        return sum(len(data) for column in self.ragged.values() for data in column.flat)

    def _need_columns(self) -> None:
        if self.folded:
            raise ValueError(f"of {', '.join(self.folded)} there are only totals of all rows, none of each")

    def of(self, statistic: str) -> Columns:
        """Return the columns of one statistic by their own names."""
        prefix = statistic + "."
        return {name[len(prefix) :]: column for name, column in self.columns.items() if name.startswith(prefix)}

    def take(self, which: NDArray[Any]) -> Rows:
        """Return some of the rows; `which` is an array of places, or of a truth value for each row."""
        self._need_columns()
        places: list[int] = (np.flatnonzero(which) if which.dtype == bool else which).tolist()
        return Rows(
            self.kind,
            [self.keys[i] for i in places],
            [self.groups[i] for i in places],
            self.height[places],
            self.width[places],
            {name: column[places] for name, column in self.columns.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return the rows of all parts.

        Raises
        ------
        DataError
            Where their images are of different kinds.
        """
        parts = [part for part in parts if len(part)]
        if len(parts) < 2:
            return parts[0] if parts else NO_ROWS
        for part in parts:
            part._need_columns()
        first = parts[0]
        for part in parts[1:]:
            if part.kind != first.kind:
                raise DataError(mixture((first.kind, first.keys[0]), (part.kind, part.keys[0])))
        return cls(
            first.kind,
            [key for part in parts for key in part.keys],
            [group for part in parts for group in part.groups],
            np.concatenate([part.height for part in parts]),
            np.concatenate([part.width for part in parts]),
            {name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns},
        )

    def pack(self) -> tuple[str, bytes]:
        """Return the form of the rows, as text, and their numbers, one row behind the other, little-endian.

        Keys and groups are not in it. Rows with `ragged` columns are packed one by one: see `pack_each`.
        """
        assert self.kind is not None
        self._need_columns()
        arrays = {"height": self.height, "width": self.width, **self.columns}
        form, record = _form(
            self.kind.described,
            tuple((name, array.dtype.newbyteorder("<").str, array.shape[1:]) for name, array in arrays.items()),
        )
        packed = np.empty(len(self), record)
        for name, array in arrays.items():
            packed[name] = array
        return form, packed.tobytes()

    def pack_each(self) -> tuple[str, list[bytes]]:
        """Return the form of the rows, and the bytes of each: its numbers, the lengths of what is ragged, and that."""
        self._need_columns()
        ragged = self.ragged
        fixed = {name: column for name, column in self.columns.items() if name not in ragged}
        form, packed = Rows(self.kind, self.keys, self.groups, self.height, self.width, fixed).pack()
        size = len(packed) // max(len(self), 1)
        blobs = [packed[start : start + size] for start in range(0, len(packed), size)]
        if ragged:
            form = json.dumps(
                {**json.loads(form), "ragged": [(n, c.shape[1:]) for n, c in ragged.items()]}, sort_keys=True
            )
            for place, blob in enumerate(blobs):
                cells = [data for column in ragged.values() for data in column[place].flat]
                lengths = np.array([len(data) for data in cells], "<u4").tobytes()
                blobs[place] = b"".join([blob, lengths, *cells])
        return form, blobs

    @classmethod
    def unpack(cls, form: str, keys: Sequence[str], groups: Sequence[str], blobs: Sequence[bytes]) -> Rows:
        """Return rows from the form and the bytes of each, which `pack_each` gives, and `pack` in one piece.

        Raises
        ------
        DataError
            Where form and blobs do not fit.
        """
        try:
            described = json.loads(form)
            record = _record(described["columns"])
            fixed, ragged = _cells(described.get("ragged", []), record.itemsize, blobs)
            packed = np.frombuffer(b"".join(fixed), record)
            if len(packed) != len(keys) or any(len(blob) != record.itemsize for blob in fixed):
                raise ValueError("a row is incomplete")
            columns = {
                name: packed[name].astype(np.dtype(dtype).newbyteorder("=")) for name, dtype, _ in described["columns"]
            } | ragged
            return cls(Kind(*described["kind"]), keys, groups, columns.pop("height"), columns.pop("width"), columns)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"stored rows are damaged: {error}") from None


NO_ROWS = Rows()
"""The rows of an outcome that has none."""


@functools.lru_cache(maxsize=32)
def _form(kind: tuple[Any, ...], columns: tuple[Any, ...]) -> tuple[str, np.dtype[Any]]:
    return json.dumps({"kind": kind, "columns": columns}, sort_keys=True), _record(columns)


def _record(columns: Any) -> np.dtype[Any]:
    return np.dtype([(name, dtype, tuple(shape)) for name, dtype, shape in columns])


def _cells(ragged: Any, size: int, blobs: Sequence[bytes]) -> tuple[Sequence[bytes], dict[str, NDArray[Any]]]:
    """Take rows apart: the bytes of fixed size of each, and the columns that hold bytes of any length."""
    if not ragged:
        return blobs, {}
    counts = [math.prod(shape) for _, shape in ragged]
    found = np.empty((len(blobs), sum(counts)), object)
    for cells, blob in zip(found, blobs, strict=True):
        ends = size + 4 * len(cells) + np.cumsum(np.frombuffer(blob, "<u4", len(cells), size), dtype=np.int64)
        if ends[-1] != len(blob):
            raise ValueError("a row is incomplete")
        starts = [size + 4 * len(cells), *ends[:-1].tolist()]
        cells[:] = [blob[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]
    parts = np.split(found, np.cumsum(counts)[:-1], axis=1)
    columns = {name: part.reshape(len(blobs), *shape) for (name, shape), part in zip(ragged, parts, strict=True)}
    return [blob[:size] for blob in blobs], columns


def mixture(a: tuple[Kind | None, str], b: tuple[Kind | None, str]) -> str:
    """Return the message about two images, each with its kind and key, that cannot be pooled."""
    (kind_a, key_a), (kind_b, key_b) = sorted(((str(kind), key) for kind, key in (a, b)))
    alike = len({(kind.channels, kind.dtype) for kind, _ in (a, b) if kind is not None}) == 1
    return (
        f"the images differ: {printable(key_a)} has {kind_a}, {printable(key_b)} has {kind_b}; "
        f"these cannot be pooled, compute them separately ({option('kinds', 'separate')})"
        + (f", or say with {named('value_range')} what 1.0 is in all of them" if alike else "")
    )
