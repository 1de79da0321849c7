"""How a row of an Arrow table becomes a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.layout import image_view, resolve
from gpustats.sources.base import Sample
from gpustats.sources.files.file import key_of
from gpustats.sources.items import Item, check_bytes
from gpustats.sources.options import SourceOptions
from gpustats.sources.tables.columns import TableColumns, is_text
from gpustats.sources.tables.inline import inline_image

__all__ = ["table_samples"]


def table_samples(
    batch: Any,
    columns: TableColumns,
    key: str,
    start: int,
    follow: Callable[[str, str], Item | Failure],
    options: SourceOptions,
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
    options : SourceOptions
        `layout` and `max_bytes` count.
    """
    if columns.layout == "list":
        yield from _lists(batch, columns, key, start, follow, options)
        return
    if columns.layout == "array":
        yield from _arrays(batch, columns, key, start, options)
        return
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
        image: Item | ImageError | None = None if value is None else _encoded(value, options.max_bytes)
        path = paths[row] if paths is not None else None
        if image is None and isinstance(path, str) and (inline := inline_image(path, options.max_bytes)) is not None:
            image, path = inline, None
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


def _lists(
    batch: Any,
    columns: TableColumns,
    key: str,
    start: int,
    follow: Callable[[str, str], Item | Failure],
    options: SourceOptions,
) -> Iterator[Sample | Failure]:
    """Yield the images of each row's list; the key ends in the number within the list."""
    import pyarrow as pa

    groups = _values(_column(batch, columns.group), columns.group) if columns.group else None
    column = _column(batch, columns.image)
    inner = replace(columns, layout="struct" if pa.types.is_struct(column.type.value_type) else "binary", group=None)
    for row in range(batch.num_rows):
        place = f"{key}/{start + row}"
        if not column[row].is_valid:
            yield Failure(place, "missing", f"the row has no image in '{columns.image}'")
            continue
        images = pa.RecordBatch.from_arrays([column.slice(row, 1).flatten()], [columns.image])
        group = _group(groups[row], columns.names) if groups is not None else ""
        for sample in table_samples(images, inner, place, 0, follow, options):
            yield sample if isinstance(sample, Failure) else (sample[0], group, sample[2])


def _arrays(
    batch: Any, columns: TableColumns, key: str, start: int, options: SourceOptions
) -> Iterator[Sample | Failure]:
    """Yield the pixels of each row: a column of Hugging Face's Array2D or Array3D, or of Arrow's tensors."""
    groups = _values(_column(batch, columns.group), columns.group) if columns.group else None
    column = _column(batch, columns.image)
    try:
        layout = resolve(tuple(column.type.shape), options.layout.removeprefix("N"), f"the column '{columns.image}'")
    except DataError as error:
        raise ImageError("unsupported", str(error)) from None
    present = column.drop_null()
    pixels = (
        present.to_numpy_ndarray() if hasattr(present, "to_numpy_ndarray") else present.to_numpy(zero_copy_only=False)
    )
    if pixels.dtype.kind not in "buif":
        raise ImageError("unsupported", f"the column '{columns.image}' has values that are no numbers")
    following = iter(pixels)
    for row in range(batch.num_rows):
        place = f"{key}/{start + row}"
        if column[row].is_valid:
            group = _group(groups[row], columns.names) if groups is not None else ""
            yield place, group, image_view(next(following), layout)
        else:
            yield Failure(place, "missing", f"the row has no image in '{columns.image}'")


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
    if is_text(column.type):
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
