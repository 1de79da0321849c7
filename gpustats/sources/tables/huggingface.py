"""Hugging Face datasets, read from their stored bytes and not through PIL."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError, printable
from gpustats.sources.base import Sample, Source
from gpustats.sources.choice import choose_one
from gpustats.sources.items import Item, load
from gpustats.sources.kinds import takes_of
from gpustats.sources.notes import Notes
from gpustats.sources.options import SourceOptions
from gpustats.sources.tables.columns import GROUP_COLUMNS, IMAGE_COLUMNS, TableColumns, choose_columns, pick
from gpustats.sources.tables.rows import table_samples
from gpustats.wording import option

__all__ = ["HuggingFaceSource", "check_dataset", "decoded_rows"]

_BATCH_ROWS = 16


def check_dataset(data: Any) -> None:
    """Raise `DataError` where an object of the package is no dataset that can be read."""
    if isinstance(data, dict):
        raise DataError(f"a {type(data).__name__} holds several splits: give one of {', '.join(map(repr, data))}")
    if not hasattr(data, "with_format") or not hasattr(data, "iter"):
        raise DataError(f"a {type(data).__name__} is no Dataset or IterableDataset of Hugging Face")


def saved_dataset(folder: str) -> Any | None:
    """Return the dataset that ``save_to_disk`` wrote to a folder; None where it is no such folder.

    Raises
    ------
    DataError
        Where it holds several splits, cannot be read, or the package is missing.
    """
    if os.path.isfile(os.path.join(folder, "dataset_dict.json")):
        splits = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        found = ", ".join(printable(os.path.join(folder, name)) for name in splits)
        raise DataError(f"{printable(folder)}: a saved DatasetDict holds several splits: give one of {found}")
    if not all(os.path.isfile(os.path.join(folder, name)) for name in ("state.json", "dataset_info.json")):
        return None
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{printable(folder)}: reading what save_to_disk wrote needs the package datasets; install it with: "
            "pip install datasets"
        ) from None
    try:
        return datasets.load_from_disk(folder)
    except Exception as error:
        raise DataError(f"{printable(folder)}: datasets cannot read it: {type(error).__name__}: {error}") from error


def decoded_rows(
    data: Any, key: str, options: SourceOptions, notes: Notes
) -> Iterator[Failure | tuple[Any, Any]] | None:
    """Return the rows of a dataset whose images are not the stored ones, None for any other.

    A transform that was set (``with_transform``, ``set_transform``) is applied.

    An `IterableDataset` decodes images before it hands them to the function of ``map`` or ``filter``. Asked for stored
    bytes after that, it would compress the pixels again, as JPEG with loss. So they are taken as a loop over the
    dataset gets them.

    Parameters
    ----------
    data : Dataset or IterableDataset
        To be read.
    key : str
        What keys begin with.
    options : SourceOptions
        `column` and `group` count.
    notes : Notes
        Takes which column was chosen.

    Returns
    -------
    iterator of Failure or (image, label), or None
        Images are PIL images, arrays or encoded bytes. Raises `DataError` where no column holds images.
    """
    if (getattr(data, "format", None) or {}).get("type") == "custom":
        return _rows(data, data, key or "row", options, notes)
    # There is no public way to ask. Without the attribute the rows are right, but slower.
    stored = getattr(getattr(data, "_ex_iterable", None), "iter_arrow", None)
    if stored or not isinstance(data, sys.modules["datasets"].IterableDataset):
        return None
    return _rows(data, data.with_format(None), key or "row", options, notes)


def _rows(
    data: Any, rows: Iterable[Any], key: str, options: SourceOptions, notes: Notes
) -> Iterator[Failure | tuple[Any, Any]]:
    columns: tuple[str, str | None] | None = None
    features = data.features or {}
    for number, row in enumerate(rows):
        if columns is None:
            columns = _choose(row, options)
        notes.choose("column", columns[0])
        image, label = (row.get(name) for name in columns)
        names = getattr(features.get(columns[1]), "names", None) or []
        if isinstance(label, int) and 0 <= label < len(names):
            label = names[label]
        if isinstance(image, dict):
            stored = image.get("bytes")
            image = stored if stored is not None else image.get("path")
        try:
            if image is None:
                raise ImageError("missing", f"the row has no image in '{columns[0]}'")
            if isinstance(image, str):
                item = _follow(image, f"{key}/{number}")
                image = item if isinstance(item, Failure) else load(item, options.max_bytes)
        except ImageError as error:
            image = Failure(f"{key}/{number}", error.reason, str(error))
        yield image if isinstance(image, Failure) else (image, label)


def _choose(row: dict[str, Any], options: SourceOptions) -> tuple[str, str | None]:
    """Choose the columns of images and labels by the first row."""
    images = {name: f"({type(value).__name__})" for name, value in row.items() if _may_be_image(value)}
    try:
        image = pick(row, options.column, (), "column")
        image = image or choose_one(images, what="columns", choose_with=option("column"), usual=IMAGE_COLUMNS)
        if image is None:
            listed = ", ".join(row)
            raise ImageError("unsupported", f"no column of {listed} may hold images; choose with {option('column')}")
        return image, pick([name for name in row if name != image], options.group, GROUP_COLUMNS, "column")
    except ImageError as error:
        raise DataError(f"Hugging Face IterableDataset: {error}") from None


def _may_be_image(value: Any) -> bool:
    stored = isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value)
    return stored or hasattr(value, "getbands") or len(getattr(value, "shape", ())) > 1


class HuggingFaceSource(Source):
    """The stored images of a `datasets.Dataset`, or of an `IterableDataset` that does not decode them.

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

    counts_images = True

    def __init__(self, data: Any, key: str, options: SourceOptions) -> None:
        super().__init__(f"Hugging Face {type(data).__name__}", takes_of("huggingface"))
        self.notes.kinds["huggingface"] += 1
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

    def parts(self) -> Iterator[Sample | Failure]:
        """Yield the rows in order."""
        columns: TableColumns | None = None
        row = 0
        for table in self._tables():
            if columns is None:
                columns = self._choose(table.schema)
                self.notes.offer({entry.name: entry.type for entry in table.schema}, columns.group)
                if columns.group in self._class_names:
                    names = self._class_names[columns.group]
                    columns = TableColumns(columns.image, columns.layout, columns.group, names)
            for batch in table.select(columns.read).combine_chunks().to_batches():
                try:
                    for sample in table_samples(batch, columns, self._key, row, _follow, self._options):
                        self.notes.choose("column", columns.image)
                        yield sample
                except ImageError as error:  # labels that cannot be read
                    raise DataError(f"{self.label}: {error}") from None
                row += batch.num_rows

    def _tables(self) -> Iterator[Any]:
        tables = iter(self._data.iter(batch_size=_BATCH_ROWS))
        for number in itertools.count():
            try:
                table = next(tables)
            except StopIteration:
                return
            except Exception as error:
                rows = number * _BATCH_ROWS
                raise DataError(f"{self.label} raised {type(error).__name__} after {rows:,} rows: {error}") from error
            yield table

    def _choose(self, schema: Any) -> TableColumns:
        try:
            return choose_columns(schema, self._options.column, self._options.group)
        except ImageError as error:
            raise DataError(f"{self.label}: {error}") from None

    def count(self) -> int | None:
        """Return the number of rows where the dataset knows it."""
        return len(self._data) if hasattr(self._data, "__len__") else None


def _follow(path: str, key: str) -> Item | Failure:
    if "://" in path or "::" in path:
        return Failure(key, "unsupported", "the row holds a URL and no bytes; download or embed the images first")
    return path
