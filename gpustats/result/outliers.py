"""Odd images: the ends of the table of images, each image with its key."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError, OptionError, first_line
from gpustats.failures import printable
from gpustats.install import pip_install
from gpustats.result.text import WIDTH
from gpustats.wording import named

__all__ = ["Odd", "Outliers", "outliers"]

_ROWS = 65_536
_TEXTS = ("key", "group", "format", "mode", "reason", "message")

Values: TypeAlias = "NDArray[np.float64]"


class Odd(NamedTuple):
    """An image at an end of the table: its key, and the value that makes it odd."""

    key: str
    value: float


@dataclass(frozen=True, slots=True)
class _End:
    """An end of the table: what is measured of a row, which needs some columns, and which end is odd."""

    name: str
    largest: bool
    says: str
    of: str = ""
    """The column that it is of, or the columns, before the name of the channel; "" for those of the size."""
    take: Callable[[Values], Values] = lambda values: values.mean(axis=0)
    """From an array (C, N) a value for each of N rows."""
    least: int = 1
    """Channels that it takes."""


_ENDS = (
    _End("brightest", True, "average of the channels' means", "mean"),
    _End("darkest", False, "average of the channels' means", "mean"),
    _End("flattest", False, "average of the channels' stds", "std"),
    _End("most_contrast", True, "average of the channels' stds", "std"),
    _End("most_tinted", True, "largest less smallest mean of a channel", "mean", lambda x: np.ptp(x, axis=0), least=2),
    _End("most_colorful", True, "colorfulness", "colorfulness"),
    _End("blurriest", False, "variance of the Laplacian", "sharpness"),
    _End("sharpest", True, "variance of the Laplacian", "sharpness"),
    _End("lowest_entropy", False, "average entropy of the channels, bits", "entropy"),
    _End("most_black", True, "largest share of a channel at 0", "clipped_share_low", lambda x: x.max(axis=0)),
    _End("most_white", True, "largest share of a channel at the top", "clipped_share_high", lambda x: x.max(axis=0)),
    _End("largest", True, "pixels"),
    _End("smallest", False, "pixels"),
    _End("widest", True, "width / height"),
    _End("tallest", False, "width / height"),
    _End("most_bytes", True, "bytes of the file", "bytes"),
    _End("fewest_bytes", False, "bytes of the file", "bytes"),
)


class Outliers(Mapping[str, list[Odd]]):
    """The images at each end of a table by the name of the end: ``found["darkest"][0].key``. Print it.

    Attributes
    ----------
    images : int
        Images of the table that could be read.
    alike : list of list of str
        Keys of images that have the same size and the same numbers in every channel: in all likelihood the same pixels.
        The groups with the most images come first; at most as many as were asked for.
    """

    def __init__(self, ends: Mapping[str, list[Odd]], images: int, alike: list[list[str]]) -> None:
        self._ends = dict(ends)
        self.images = images
        self.alike = alike

    def __getitem__(self, name: str) -> list[Odd]:
        if name not in self._ends:
            raise KeyError(f"there is no {name!r}; there are {', '.join(self._ends)}")
        return self._ends[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ends)

    def __len__(self) -> int:
        return len(self._ends)

    def __repr__(self) -> str:
        says = {end.name: end.says for end in _ENDS}
        lines = [f"gpustats.Outliers of {self.images:,} images"]
        for name, found in self._ends.items():
            lines += ["", f"  {name.replace('_', ' ')} ({says[name]})"]
            lines += [f"    {odd.value:>12.6g}  {_shortened(odd.key, WIDTH - 18)}" for odd in found]
        if self.alike:
            lines += ["", "  alike (the same size and numbers: in all likelihood the same pixels)"]
            for keys in self.alike:
                lines += [f"    {mark} {_shortened(key, WIDTH - 6)}" for mark, key in zip(" ===", keys, strict=False)]
                lines += ["    = ..."] if len(keys) > 4 else []
        return "\n".join(lines)


def _shortened(key: str, width: int) -> str:
    """Return a key with its beginning left out where it is long: names are at the end."""
    text = printable(key)
    return text if len(text) <= width else "..." + text[3 - width :]


def outliers(table: Any, k: int) -> Outliers:
    """Return the `k` images at each end of a table of images.

    Parameters
    ----------
    table : pyarrow.Table or path-like
        What ``per_image=`` made. A file is read in pieces.
    k : int
        How many of each.

    Raises
    ------
    DataError
        Where the file cannot be read, or is no table of images.
    OptionError
        Where `k` is no integer from 1.
    """
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise OptionError(f"k should be an integer from 1, got {k!r}")
    kept: dict[str, list[tuple[float, int, str]]] = {}
    seen: dict[bytes, str | list[str]] = {}
    images = 0
    for keys, columns in _pieces(table):
        good = np.flatnonzero(~np.isnan(columns["height"]))  # the others could not be read
        columns = {name: column[good] for name, column in columns.items()}
        keys = [keys[place] for place in good.tolist()]
        for end in _ENDS:
            values = _values(end, columns)
            if values is not None:
                _keep(kept.setdefault(end.name, []), values if end.largest else -values, keys, images, k)
        pixels = [column for name, column in columns.items() if name != "bytes"]  # of the file, not of the pixels
        for key, numbers in zip(keys, np.stack(pixels, axis=1), strict=True):
            content = numbers.tobytes()
            before = seen.setdefault(content, key)
            if before is not key:
                seen[content] = [before, key] if isinstance(before, str) else [*before, key]
        images += len(keys)
    ends = {
        end.name: [Odd(key, value if end.largest else -value) for value, _, key in sorted(kept[end.name], reverse=True)]
        for end in _ENDS
        if kept.get(end.name)
    }
    groups = sorted((keys for keys in seen.values() if isinstance(keys, list)), key=lambda keys: (-len(keys), keys))
    return Outliers(ends, images, groups[:k])


def _keep(heap: list[tuple[float, int, str]], values: Values, keys: list[str], first: int, k: int) -> None:
    """Keep the `k` largest values with their keys; of equal ones those that come first."""
    order = np.argsort(-values, kind="stable")[:k]
    for place in order.tolist():
        if math.isnan(values[place]):
            break  # NaN is sorted behind all numbers
        entry = (float(values[place]), -(first + place), keys[place])
        if len(heap) < k:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            heapq.heapreplace(heap, entry)


def _values(end: _End, columns: Mapping[str, Values]) -> Values | None:
    """Return what is measured of each row; None where the table has not what it takes."""
    if not end.of:
        height, width = columns["height"], columns["width"]
        return height * width if end.says == "pixels" else width / height
    if end.of in columns:
        return columns[end.of]
    channels = _channels(columns)
    wanted = [f"{end.of}_{channel}" for channel in channels]
    if not channels or not all(name in columns for name in wanted) or len(channels) < end.least:
        return None
    values: Values = end.take(np.stack([columns[name] for name in wanted]))
    return values


def _channels(columns: Mapping[str, Any]) -> list[str]:
    return [name.removeprefix("mean_") for name in columns if name.startswith("mean_")]


def _pieces(table: Any) -> Iterator[tuple[list[str], dict[str, Values]]]:
    """Yield keys and numbers of some rows at a time; NaN for null."""
    batches = _of_file(os.fsdecode(table)) if isinstance(table, str | os.PathLike) else table.to_batches(_ROWS)
    for batch in batches:
        names = batch.schema.names
        if not {"key", "height", "width"} <= set(names):
            raise DataError(f"this is no table of images: it has the columns {', '.join(names)[:200]}")
        numbers = {
            name: np.asarray(batch.column(place).to_numpy(zero_copy_only=False), np.float64)
            for place, name in enumerate(names)
            if name not in _TEXTS
        }
        yield batch.column(names.index("key")).to_pylist(), numbers


def _of_file(path: str) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"reading a table of images needs the package pyarrow: {pip_install('parquet')}") from None
    try:
        with open(path, "rb") as file:
            if path.lower().endswith(".csv"):
                types = dict.fromkeys(_TEXTS, pyarrow.string())
                options = pyarrow.csv.ConvertOptions(column_types=types)
                yield from pyarrow.csv.open_csv(file, convert_options=options)
            else:
                yield from pyarrow.parquet.ParquetFile(file).iter_batches(_ROWS)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read: {error.strerror or first_line(error)}") from None
    except pyarrow.ArrowException as error:
        made_by = f"{named('per_image')} of compute writes one"
        raise DataError(f"{printable(path)}: no table of images ({first_line(error)}); {made_by}") from None
