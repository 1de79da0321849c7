"""Images in Arrow tables: which column holds them, which the group, and how a row becomes a sample."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Item, Sample, check_bytes
from gpustats.sources.files import key_of
from gpustats.sources.manifest import GROUP_COLUMNS, PATH_COLUMNS, pick

__all__ = ["IMAGE_COLUMNS", "TableColumns", "choose_columns", "class_names", "table_samples"]

IMAGE_COLUMNS = (
    "image",
    "img",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "picture",
    "photo",
    "bytes",
    "image_bytes",
    "data",
    "content",
)
"""Column names taken for images, in this order."""


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of a table that count.

    Attributes
    ----------
    image : str
        Encoded images, as binary values or as a struct of bytes and path; or paths.
    layout : {"binary", "struct", "path"}
        Which of these.
    group : str or None
        Labels.
    names : list of str
        What the integers of `group` stand for; empty where nothing says so.
    """

    image: str
    layout: str
    group: str | None
    names: list[str] = field(default_factory=list)

    @property
    def read(self) -> list[str]:
        """Columns to read."""
        return [self.image] if self.group is None else [self.image, self.group]


def choose_columns(schema: Any, column: str | None, group: str | None) -> TableColumns:
    """Choose by name and type.

    Raises
    ------
    ImageError
        Where no column, or more than one that is not called like one, can be images.
    """
    layouts = {column.name: layout for column in schema if (layout := _layout(column.type)) is not None}
    names = [entry.name for entry in schema]
    if column is not None:
        pick(names, column, (), "column")
        if column not in layouts:
            raise ImageError("unsupported", f"the column '{column}' is of type {schema.field(column).type}, not images")
        image = column
    else:
        image = _image_column(schema, layouts)
    others = [name for name in names if name != image and (group is not None or names.count(name) == 1)]
    label = pick(others, group, GROUP_COLUMNS, "column")
    for name in (image, label):
        if names.count(name) > 1:
            raise ImageError("unsupported", f"{names.count(name)} columns are called '{name}'; rename all but one")
    return TableColumns(image, layouts[image], label, class_names(schema, label))


def _image_column(schema: Any, layouts: dict[str, str]) -> str:
    encoded = [name for name, layout in layouts.items() if layout != "path"]
    image = pick(encoded, None, IMAGE_COLUMNS, "column")
    if image is None and len(encoded) == 1:
        return encoded[0]
    if image is None and encoded:
        listed = ", ".join(encoded)
        raise ImageError("unsupported", f"several columns may hold images: {listed}; choose with column=")
    image = image or pick([name for name in layouts if name not in encoded], None, PATH_COLUMNS, "column")
    if image is None:
        listed = ", ".join(f"{entry.name} ({entry.type})" for entry in schema)
        raise ImageError("unsupported", f"no column holds images or paths; the columns are: {listed or 'none'}")
    return image


def _layout(kind: Any) -> str | None:
    import pyarrow.types as types

    if types.is_struct(kind):
        found = [_layout(member.type) for member in kind if member.name == "bytes"]
        return "struct" if found == ["binary"] else None
    if types.is_dictionary(kind):
        return _layout(kind.value_type)
    binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    if binary or types.is_fixed_size_binary(kind):
        return "binary"
    return "path" if _is_text(kind) else None


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def class_names(schema: Any, group: str | None) -> list[str]:
    """Return the class names that Hugging Face's metadata gives for the integers of a column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[group]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def table_samples(
    batch: Any,
    columns: TableColumns,
    key: str,
    start: int,
    follow: Callable[[str, str], Item | Failure],
    max_bytes: int,
) -> Iterator[Sample | Failure]:
    """Yield the rows of a record batch.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        With the columns to read.
    columns : TableColumns
        What they are.
    key : str
        What keys begin with; the number of the row follows, and the path where there is one.
    start : int
        Number of the first row.
    follow : callable
        Turns a path and a key into an item.
    max_bytes : int
        Larger images are failures.
    """
    groups = _values(_column(batch, columns.group), columns.group) if columns.group else None
    column = _column(batch, columns.image)
    paths = None
    if columns.layout == "path":
        paths = _values(column, columns.image)
    elif columns.layout == "struct":
        parts = dict(zip((entry.name for entry in column.type), column.flatten(), strict=True))
        paths = _values(parts["path"], f"{columns.image}.path") if "path" in parts else None
        column = parts["bytes"]
    values = [None] * batch.num_rows if columns.layout == "path" else _plain(column)
    for row, value in enumerate(values):
        image = None if value is None else _encoded(value, max_bytes)
        path = paths[row] if paths is not None else None
        name = f"{key}/{start + row}" + (f"/{key_of(path)}" if isinstance(path, str) and path else "")
        group = _group(groups[row], columns.names) if groups is not None else ""
        if isinstance(image, ImageError):
            yield Failure(name, image.reason, str(image))
        elif image is not None:
            yield name, group, image
        elif isinstance(path, str) and path:
            item = follow(path, name)
            yield item if isinstance(item, Failure) else (name, group, item)
        else:
            yield Failure(name, "missing", f"the row has no image in '{columns.image}'")


def _group(value: object, names: list[str]) -> str:
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _values(column: Any, name: str) -> list[Any]:
    """Return Python's values of a column: text that is not UTF-8 keeps its bytes, as in file names."""
    import pyarrow as pa
    import pyarrow.types as types

    column = _plain(column)
    if _is_text(column.type):
        rows = column.cast(pa.binary_view() if types.is_string_view(column.type) else pa.large_binary())
        return [None if row is None else row.decode("utf-8", "surrogateescape") for row in rows.to_pylist()]
    try:
        rows = column.to_pylist()
    except (ArithmeticError, LookupError, ValueError, pa.ArrowException) as error:
        if not types.is_temporal(column.type):
            raise ImageError("unsupported", f"the column '{name}' of type {column.type}: {error}") from None
        rows = column.view(f"int{column.type.bit_width}").to_pylist()  # years and zones that Python does not know
    return list(rows)


def _plain(column: Any) -> Any:
    import pyarrow.types as types

    return column.dictionary_decode() if types.is_dictionary(column.type) else column


def _column(batch: Any, name: str) -> Any:
    number = batch.schema.get_field_index(name)
    return batch.column(number) if number >= 0 else None


def _encoded(scalar: Any, max_bytes: int) -> memoryview | ImageError | None:
    if not scalar.is_valid:
        return None
    image = memoryview(scalar.as_buffer())
    try:
        check_bytes(len(image), max_bytes)
    except ImageError as error:
        return error
    return image
