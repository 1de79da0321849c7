"""The table with a row for every image: Parquet, CSV or Arrow, written while the run goes on."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from gpustats.definition import channel_names, color_order
from gpustats.errors import DataError, OptionError
from gpustats.failures import Failure, printable
from gpustats.install import pip_install
from gpustats.statistics import for_kind
from gpustats.statistics.base import Kind
from gpustats.statistics.rows import Rows
from gpustats.wording import named

__all__ = ["ImageTable"]

_ROWS = 16384
"""Rows that are written together, 2 MB: as a row group of Parquet, large enough to be read fast."""

_FIRST = ("key", "group", "height", "width")
_LAST = ("reason", "message")
_COUNTS = ("height", "width", "bytes")
_TEXTS = ("key", "group", "format", "mode", "reason", "message")


class _Writer(Protocol):
    def write(self, columns: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class ImageTable:
    """Takes the rows and the failures of a run and writes one row for each image.

    The columns are ``key``, ``group``; ``height`` and ``width`` of what was measured; ``bytes``, ``format`` and
    ``mode`` of the file, ``colorfulness`` and ``sharpness``, where the statistics have them; for every channel (``R``)
    what they say of one image: ``n_R`` values that count, ``mean_R``, ``std_R``, ``min_R``, ``max_R``, on [0, 1] for
    integers; with a histogram also ``entropy_R``, ``clipped_share_low_R`` and ``clipped_share_high_R`` (of floats
    ``outside_share_low_R`` and ``outside_share_high_R``); and ``reason`` and ``message`` of an image that failed, whose
    numbers are null. Images without a group have an empty text there, failed ones null.

    Parameters
    ----------
    target : path-like or True
        A file that ends in ``.parquet`` or ``.csv``, replaced where it exists; True for an Arrow table in memory.
    statistics : tuple of str
        What is measured.
    order : str, optional
        The order of the channels of arrays, where the user gave one.

    Raises
    ------
    ValueError
        For another target.
    DataError
        Where the file cannot be written, at the start or later, or where pyarrow is missing.
    """

    def __init__(
        self, target: str | os.PathLike[str] | bool, statistics: Sequence[str], order: str | None = None
    ) -> None:
        self._order = order
        self._statistics = tuple(statistics)
        self._name = "per_image" if target is True else _path(target)
        self._writer = self._open(target)
        self._kind: Kind | None = None
        self._pending: list[dict[str, Any]] = []
        self._count = 0
        self._failures: list[Failure] = []

    def _open(self, target: str | os.PathLike[str] | bool) -> _Writer:
        if target is True:
            return _Arrow()
        try:
            return _Csv(self._name) if self._name.lower().endswith(".csv") else _Parquet(self._name)
        except (OSError, ValueError) as error:
            raise self._error(error) from None

    def fold(self, rows: Rows) -> None:
        """Add every row of a batch."""
        if not len(rows) or rows.kind is None:
            return
        self._kind = rows.kind
        unit = 1 / rows.kind.max_value if rows.kind.max_value else 1.0
        batch: dict[str, Any] = {
            "key": rows.keys,
            "group": rows.groups,
            "height": rows.height,
            "width": rows.width,
        }
        channels = self._channels(rows.kind)
        measured = [(statistic, rows.of(statistic.name)) for statistic in for_kind(self._statistics, rows.kind)]

        def scaled(values: Any, power: int) -> Any:
            return values * unit**power if power else values

        for statistic, columns in reversed(measured):  # what is said of the file comes first
            for name, said in statistic.of_whole_images(columns, channels).items():
                batch[name] = scaled(*said)
        for statistic, columns in measured:
            for name, said in statistic.of_images(columns).items():
                for channel, column in zip(channels, scaled(*said).T, strict=True):
                    batch[f"{name}_{channel}"] = column
        self._pending.append(batch)
        self._count += len(rows)
        if self._count + len(self._failures) >= _ROWS:
            self._flush()

    def add(self, failure: Failure) -> None:
        """Add an image that failed; it is written after the next images that did not."""
        self._failures.append(failure)
        if self._kind is not None and self._count + len(self._failures) >= _ROWS:
            self._flush()

    def arrow(self) -> Any:
        """Return the rows so far as an Arrow table, where the target was True; None for a file."""
        if not isinstance(self._writer, _Arrow):
            return None
        self._flush()
        return self._writer.table()

    def _flush(self) -> None:
        failures, self._failures = self._failures, []
        pending, self._pending, self._count = self._pending, [], 0
        if not pending and not failures:
            return
        names = pending[0].keys() if pending else self._names()
        none = [None] * len(failures)
        columns: dict[str, Any] = {}
        for name in names:
            parts = [batch[name] for batch in pending]
            if name in ("key", "group"):
                texts = [_text(text) for part in parts for text in part]
                columns[name] = texts + ([_text(f.key) for f in failures] if name == "key" else none)
            else:
                columns[name] = [value for part in parts for value in part.tolist()] + none
        good = [None] * (len(columns["key"]) - len(failures))
        columns["reason"] = good + [f.reason for f in failures]
        columns["message"] = good + [_text(f.message) for f in failures]
        try:
            self._writer.write(columns)
        except (OSError, ValueError) as error:
            raise self._error(error) from None

    def _names(self) -> list[str]:
        """Return the columns where no image could be read, or none since the last were written."""
        if self._kind is None:
            return list(_FIRST)
        measured = for_kind(self._statistics, self._kind)
        channels = self._channels(self._kind)
        none = [(s, {n: np.zeros((0, *c.shape), c.dtype) for n, c in s.columns().items()}) for s in measured]
        whole = [name for s, columns in reversed(none) for name in s.of_whole_images(columns, channels)]
        each = [name for s, columns in none for name in s.of_images(columns)]
        return [*_FIRST, *whole, *(f"{name}_{channel}" for name in each for channel in channels)]

    def _channels(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of the channels; an order that does not fit them ends the run, see `gpustats.run`."""
        order = self._order if self._order is not None and len(self._order) == kind.channels else None
        return channel_names(kind.channels, order or color_order(kind.channels))

    def __enter__(self) -> ImageTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the rest and close the file, also after an interruption."""
        try:
            self._flush()
        finally:
            try:
                self._writer.close()
            except (OSError, ValueError) as error:
                if kind is None:
                    raise self._error(error) from None

    def _error(self, error: OSError | ValueError) -> DataError:
        reason = getattr(error, "strerror", None) or str(error)
        return DataError(f"{printable(self._name)}: the table of images cannot be written: {reason}")


class _Csv:
    """Writes lines as they come; UTF-8, a header, an empty field for null."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed by `close`
        self._lines = csv.writer(self._file)
        self._columns = 0

    def write(self, columns: Mapping[str, Any]) -> None:
        if not self._columns:
            self._columns = len(columns)
            self._lines.writerow(columns)
        self._lines.writerows(zip(*columns.values(), strict=True))
        self._file.flush()

    def close(self) -> None:
        if not self._columns:
            self._lines.writerow([*_FIRST, *_LAST])
        self._file.close()


class _Arrow:
    """Keeps the rows in memory."""

    def __init__(self) -> None:
        self._pa = _pyarrow()
        self._tables: list[Any] = []

    def write(self, columns: Mapping[str, Any]) -> None:
        self._tables.append(_arrow(self._pa, columns))

    def table(self) -> Any:
        return self._pa.concat_tables(self._tables) if self._tables else _arrow(self._pa, dict.fromkeys(_ALL, ()))

    def close(self) -> None:
        self._tables = []


class _Parquet:
    """Writes row groups as they are full. The file can be read when it is closed."""

    def __init__(self, path: str) -> None:
        self._pa = _pyarrow()
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._out: Any = None

    def write(self, columns: Mapping[str, Any]) -> None:
        import pyarrow.parquet as pq

        table = _arrow(self._pa, columns)
        if self._out is None:
            self._out = pq.ParquetWriter(self._file, table.schema)
        self._out.write_table(table)

    def close(self) -> None:
        try:
            if self._out is None:
                self.write(dict.fromkeys(_ALL, ()))
            self._out.close()
        finally:
            self._file.close()


_ALL = (*_FIRST, *_LAST)


def _arrow(pa: Any, columns: Mapping[str, Any]) -> Any:
    def kind(name: str) -> Any:
        if name in _TEXTS:
            return pa.string()
        return pa.int64() if name in _COUNTS or name.startswith("n_") else pa.float64()

    return pa.table({name: pa.array(values, kind(name)) for name, values in columns.items()})


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise DataError(
            "per_image: Parquet and Arrow tables need the package pyarrow; install it with: "
            f"{pip_install('parquet')}, or give a file that ends in .csv"
        ) from None
    return pyarrow


def _path(target: object) -> str:
    if isinstance(target, str | os.PathLike):
        path = os.fsdecode(target)
        if path.lower().endswith((".parquet", ".csv")):
            return path
    raise OptionError(f"{named('per_image')} should be a file that ends in .parquet or .csv, or True, got {target!r}")


def _text(text: str) -> str:
    """Return text as UTF-8 can hold it: what a file name holds that is not UTF-8 becomes an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
