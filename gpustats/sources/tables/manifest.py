"""Lists of images with columns: CSV, TSV, JSON lines, JSON and COCO."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files.file import File, key_of
from gpustats.sources.files.root import Root
from gpustats.sources.kinds import suffix
from gpustats.sources.options import SourceOptions
from gpustats.sources.tables.columns import GROUP_COLUMNS, PATH_COLUMNS, pick
from gpustats.sources.tables.inline import inline_image
from gpustats.wording import option

__all__ = ["ManifestSource"]


class ManifestSource(ShardSource):
    """Images named in a table with a header, one a row; a path column, an optional group column.

    ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``; ``.json`` is a list of objects, or COCO with its ``images``. A relative
    path is relative to the file's folder or to ``root=``. The key is the path as it is written.

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

    def holder(self) -> None:
        """Return None: the images are files in other places."""

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the rows."""
        root = Root(self.file, self._options)
        columns: tuple[str | None, str | None] | None = None
        for number, row in self._rows():
            place = f"{self.key}:{number}"
            if isinstance(row, str):
                yield Failure(place, "corrupt", row)
                continue
            if columns is None:
                columns = (
                    pick(row, self._options.column, PATH_COLUMNS, "column"),
                    pick(row, self._options.group, GROUP_COLUMNS, "column"),
                )
                self.notes.offer(dict.fromkeys(map(str, row), ""), columns[1])
                if columns[0] is None:
                    names = ", ".join(map(str, row)) or "none"
                    raise ImageError(
                        "unsupported", f"no column with paths among {names}; name it with {option('column')}"
                    )
            path_column, group_column = columns
            path = row.get(path_column or "")
            if not isinstance(path, str) or not path:
                yield Failure(place, "missing", f"the row has no path in '{path_column}'")
                continue
            self.notes.choose("column", str(path_column))
            inline = inline_image(path, self._options.max_bytes)
            key = place if inline is not None else key_of(path)
            if isinstance(inline, ImageError):
                yield Failure(key, inline.reason, str(inline))
                continue
            item = inline if inline is not None else root.item(path, key)
            group = row.get(group_column) if group_column is not None else None
            yield item if isinstance(item, Failure) else (key, "" if group is None else str(group), item)

    def _rows(self) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """Yield line number and row; a string says what is wrong with it."""
        ending = suffix(self.file.name)
        with self.file.open() as stream:
            if ending == ".json":
                yield from _json_rows(stream.read())
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


def _json_lines(text: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                yield number, "the line is no JSON"
                continue
            yield number, row if isinstance(row, dict) else "the line is no JSON object"


def _json_rows(text: bytes) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError("corrupt", f"not JSON: {error}") from None
    rows = data.get("images") if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise ImageError("unsupported", "JSON is read as a list of objects, or as COCO with its 'images'")
    for number, row in enumerate(rows, 1):
        if isinstance(row, str):
            row = {"path": row}
        yield number, row if isinstance(row, dict) else "not a JSON object"
