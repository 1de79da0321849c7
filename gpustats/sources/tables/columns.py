"""Which columns of a table count: the one with images or paths, and the one with groups."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gpustats.failures import ImageError
from gpustats.sources.choice import choose_one
from gpustats.wording import option

__all__ = [
    "GROUP_COLUMNS",
    "IDENTIFIER_COLUMNS",
    "IMAGE_COLUMNS",
    "PATH_COLUMNS",
    "TableColumns",
    "choose_columns",
    "is_text",
    "pick",
]

PATH_COLUMNS = (
    "path",
    "file_path",
    "filepath",
    "image_path",
    "img_path",
    "file_name",
    "filename",
    "file",
    "image",
    "img",
)
"""Column names taken for the path of an image, in this order."""

IDENTIFIER_COLUMNS = ("image_name", "img_name", "image_id", "imageid", "img_id", "id_code", "id")
"""Column names taken for the identifier of an image in a manifest, in this order, where it is the name of a file."""

GROUP_COLUMNS = ("label", "class", "category", "group", "cls", "target")
"""Column names taken for the group, in this order."""

IMAGE_COLUMNS = (
    ("image", "img", "picture", "photo"),
    ("jpg", "jpeg", "png", "webp"),
    ("image_bytes", "bytes", "data", "content"),
)
"""Column names taken for images, the best ones first; those in one tuple are equally good."""


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of a table that count.

    Attributes
    ----------
    image : str
        Encoded images, as binary values or as a struct of bytes and path; or paths, lists of images or pixels.
    layout : {"binary", "struct", "path", "list", "array"}
        Which of these; or lists of the first two; or arrays of pixels.
    group : str or None
        Labels.
    names : list of str
        The names of the integers of `group`; empty where there are none.
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
    return TableColumns(image, layouts[image], label, _class_names(schema, label))


def _image_column(schema: Any, layouts: dict[str, str]) -> str:
    types = {entry.name: f"({entry.type})" for entry in schema}
    tables = {entry.name for entry in schema if len(getattr(entry.type, "shape", ())) == 2}  # may be embeddings
    # A struct of bytes and path is an image; bytes may be anything.
    for wanted in (("struct",), ("binary", "list", "array")):
        found = {name: types[name] for name, layout in layouts.items() if layout in wanted and name not in tables}
        image = choose_one(found, what="columns", choose_with=option("column"), usual=IMAGE_COLUMNS)
        if image is not None:
            return image
    image = pick(layouts, None, PATH_COLUMNS, "column")
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
    if types.is_list(kind) or types.is_large_list(kind):
        return "list" if _layout(kind.value_type) in ("struct", "binary") else None
    if len(getattr(kind, "shape", ())) in (2, 3):  # an extension type: of Hugging Face, or a tensor of Arrow's
        return "array"
    binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    if binary or types.is_fixed_size_binary(kind):
        return "binary"
    return "path" if is_text(kind) else None


def is_text(kind: Any) -> bool:
    """Say whether an Arrow type is one of text."""
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _class_names(schema: Any, group: str | None) -> list[str]:
    """Return the class names that Hugging Face's metadata gives for the integers of a column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[group]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def pick(names: Iterable[str], wanted: str | None, usual: tuple[str, ...], what: str) -> str | None:
    """Return the column that was asked for, else the first usual one, else None; raise where it is missing."""
    present = list(names)
    if wanted is not None:
        if wanted not in present:
            raise ImageError("unsupported", f"there is no {what} '{wanted}'; there are: {', '.join(present) or 'none'}")
        return wanted
    lower = {name.lower(): name for name in reversed(present)}
    return next((lower[name] for name in usual if name in lower), None)
