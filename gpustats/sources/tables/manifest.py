"""Lists of images with columns: CSV, TSV, JSON lines, JSON, and the documents of `tables.documents`."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files.file import File, key_of
from gpustats.sources.files.root import Root
from gpustats.sources.items import Item
from gpustats.sources.kinds import suffix
from gpustats.sources.options import SourceOptions
from gpustats.sources.tables.columns import GROUP_COLUMNS, IDENTIFIER_COLUMNS, PATH_COLUMNS, pick
from gpustats.sources.tables.documents import BESIDE_XML, EMBEDDED, Row, beside_json, json_rows, xml_rows
from gpustats.sources.tables.inline import inline_image
from gpustats.wording import option

__all__ = ["ManifestSource"]


class ManifestSource(ShardSource):
    """Images named in a table with a header, one a row; a path column, an optional group column.

    ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``; ``.json`` and ``.xml`` are documents of annotations, too. A relative
    path is relative to ``root=``, or to the file's folder; of documents also to the folders in which the images of such
    a dataset are. The key is the path as it is written.

    Where no column has a usual name of paths, one that is called like an identifier is taken, if the first row leads to
    a file.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `column`, `group` and `root` count.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._options = options
        self._beside: tuple[str, ...] = ("",)

    def holder(self) -> None:
        """Return None: the images are files in other places."""

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the rows."""
        root = Root(self.file, self._options)
        columns: tuple[str, str | None] | None = None
        for number, row in self._rows():
            place = f"{self.key}:{number}"
            if isinstance(row, str):
                yield Failure(place, "corrupt", row)
                continue
            if columns is None:
                columns = self._columns(row, root)
            path_column, group_column = columns
            path = row.get(path_column)
            if not isinstance(path, str) or not path:
                yield Failure(place, "missing", f"the row has no path in '{path_column}'")
                continue
            self.notes.choose("column", path_column)
            inline = inline_image(path, self._options.max_bytes)
            key = place if inline is not None else key_of(path)
            if isinstance(inline, ImageError):
                yield Failure(key, inline.reason, str(inline))
                continue
            item = inline if inline is not None else self._follow(row, path, key, root)
            group = row.get(group_column) if group_column is not None else None
            yield item if isinstance(item, Failure) else (key, "" if group is None else str(group), item)

    def _follow(self, row: Mapping[str, Any], path: str, key: str, root: Root) -> Item | Failure:
        item = root.item(path, key, self._beside)
        if not row.get(EMBEDDED) or not isinstance(item, str) or os.path.exists(item):
            return item
        embedded = inline_image(f"data:;base64,{row[EMBEDDED]}", self._options.max_bytes)
        assert embedded is not None
        return Failure(key, embedded.reason, str(embedded)) if isinstance(embedded, ImageError) else embedded

    def _columns(self, row: Mapping[str, Any], root: Root) -> tuple[str, str | None]:
        """Choose the columns of paths and groups by the first row."""
        path = pick(row, self._options.column, PATH_COLUMNS, "column") or self._identifier(row, root)
        group = pick(row, self._options.group, GROUP_COLUMNS, "column")
        self.notes.offer(dict.fromkeys(map(str, row), ""), group)
        if path is None:
            names = ", ".join(map(str, row)) or "none"
            raise ImageError("unsupported", f"no column with paths among {names}; name it with {option('column')}")
        return path, group

    def _identifier(self, row: Mapping[str, Any], root: Root) -> str | None:
        """Return the column that names files without their folder or ending; None where it leads to no file."""
        name = pick(row, None, IDENTIFIER_COLUMNS, "column")
        value = None if name is None else row[name]
        item = root.item(value, "", self._beside) if isinstance(value, str) and value else None
        return name if isinstance(item, str) and os.path.isfile(item) else None

    def _rows(self) -> Iterator[Row]:
        """Yield line number and row; a string says what is wrong with it."""
        ending = suffix(self.file.name)
        with self.file.open() as stream:
            if ending == ".json":
                self._beside = beside_json(self.file.name)
                yield from json_rows(stream.read())
                return
            if ending == ".xml":
                self._beside = BESIDE_XML
                yield from xml_rows(stream)
                return
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
            if ending in (".jsonl", ".ndjson"):
                yield from _json_lines(text)
                return
            reader = csv.DictReader(text, delimiter="\t" if ending == ".tsv" else ",")
            try:
                for row in reader:
                    yield reader.line_num, row
            except csv.Error as error:
                raise ImageError("corrupt", f"line {reader.reader.line_num}: {error}") from None


def _json_lines(text: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                yield number, "the line is no JSON"
                continue
            yield number, row if isinstance(row, dict) else "the line is no JSON object"
