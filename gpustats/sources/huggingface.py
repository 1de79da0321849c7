"""Hugging Face datasets, read from their stored bytes and not through PIL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Item, Sample, Source
from gpustats.sources.options import SourceOptions
from gpustats.sources.tables import TableColumns, choose_columns, table_samples

__all__ = ["HuggingFaceSource", "open_dataset"]

_BATCH_ROWS = 16


def open_dataset(data: Any, key: str, options: SourceOptions) -> Source:
    """Return the source of a `datasets.Dataset` or `IterableDataset`."""
    if isinstance(data, dict):
        raise DataError(f"a {type(data).__name__} holds several splits: give one of {', '.join(map(repr, data))}")
    if not hasattr(data, "with_format") or not hasattr(data, "iter"):
        raise DataError(f"a {type(data).__name__} is no Dataset or IterableDataset of Hugging Face")
    return HuggingFaceSource(data, key, options)


class HuggingFaceSource(Source):
    """The images of a `datasets.Dataset` or `IterableDataset`.

    The key is the number of the row. The group is the label column; the names of a ClassLabel are used.

    Parameters
    ----------
    data : Dataset or IterableDataset
        With a feature of type Image, or a column of bytes.
    key : str
        What keys begin with.
    options : SourceOptions
        `column` and `group` count.
    """

    takes = frozenset({"column", "group"})

    def __init__(self, data: Any, key: str, options: SourceOptions) -> None:
        super().__init__(f"Hugging Face {type(data).__name__}")
        self._key = key or "row"
        self._options = options
        datasets = sys.modules["datasets"]
        if options.column is not None and options.column not in (data.column_names or [options.column]):
            raise DataError(f"{self.label}: there is no column '{options.column}'; there are: {data.column_names}")
        self._class_names: dict[str, list[str]] = {}
        for name, feature in (data.features or {}).items():
            if isinstance(feature, datasets.Image):
                data = data.cast_column(name, datasets.Image(decode=False))
            elif isinstance(feature, datasets.ClassLabel):
                self._class_names[name] = list(feature.names)
        self._data = data.with_format("arrow")

    def samples(self) -> Iterator[Sample | Failure]:
        """Yield the rows in order."""
        columns: TableColumns | None = None
        row = 0
        for table in self._data.iter(batch_size=_BATCH_ROWS):
            if columns is None:
                try:
                    columns = choose_columns(table.schema, self._options.column, self._options.group)
                except ImageError as error:
                    raise DataError(f"{self.label}: {error}") from None
                if columns.group in self._class_names:
                    names = self._class_names[columns.group]
                    columns = TableColumns(columns.image, columns.layout, columns.group, names)
            for batch in table.select(columns.read).combine_chunks().to_batches():
                yield from table_samples(batch, columns, self._key, row, _follow, self._options.max_bytes)
                row += batch.num_rows

    def count(self) -> int | None:
        """Return the number of rows where the dataset knows it."""
        return len(self._data) if hasattr(self._data, "__len__") else None


def _follow(path: str, key: str) -> Item | Failure:
    if "://" in path or "::" in path:
        return Failure(key, "unsupported", "the row holds a URL and no bytes; download or embed the images first")
    return path
