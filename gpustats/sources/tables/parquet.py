"""Parquet files: encoded images in a binary column, in Hugging Face's struct of bytes and path, or paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Entry, Part, Sample, ShardSource
from gpustats.sources.files.file import File
from gpustats.sources.files.root import Root
from gpustats.sources.options import SourceOptions, missing_extra
from gpustats.sources.tables.columns import TableColumns, choose_columns
from gpustats.sources.tables.rows import table_samples

__all__ = ["ParquetSource"]

_BATCH_BYTES = 1 << 20
_READ_BUFFER = 1 << 20
_ROWS = 1024
_PARTS = 64


class ParquetSource(ShardSource):
    """The images of one Parquet file, streamed within row groups; runs of row groups are parts.

    A damaged page costs the rest of its row group.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `column`, `group` and `root` count.
    groups : (int, int), optional
        Read row groups from the first to before the second; by default all.
    """

    counts_images = True

    def __init__(self, file: File, key: str, options: SourceOptions, groups: tuple[int, int] | None = None) -> None:
        super().__init__(file, key)
        self._options = options
        self._groups = groups
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise missing_extra(file.label, "Parquet", "pyarrow", "parquet") from None

    def parts(self) -> Iterator[Entry]:
        """Yield the row groups as parts where there are several, else the rows."""
        found = list(self._row_groups()) if self._groups is None else []
        return iter(found) if len(found) > 1 else super().parts()

    def _row_groups(self) -> Iterator[Part]:
        try:
            with self._stream() as stream, _opened(stream) as table:
                one_each = self._columns(table).layout != "list"
                rows = _rows(table.metadata)
        except Exception:  # noqa: BLE001 - whatever it is, reading meets it again and names it
            return
        size = -(-len(rows) // _PARTS)
        for start in range(0, len(rows), size or 1):
            stop = min(start + size, len(rows))
            arguments = (self.file, self.key, self._options, (start, stop))
            yield Part(self.key, ParquetSource, arguments, sum(rows[start:stop]) if one_each else None)

    def holder(self) -> str | None:
        """Return what identifies the file where it holds the images; None where it holds their paths."""
        try:
            with self._stream() as stream, _opened(stream) as table:
                return None if self._columns(table).layout == "path" else super().holder()
        except Exception:  # noqa: BLE001 - whatever it is, reading meets it again and names it
            return super().holder()

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the rows."""
        with self._stream() as stream, _named_errors(), _opened(stream) as table:
            columns = self._columns(table)
            self.notes.offer({entry.name: entry.type for entry in table.schema_arrow}, columns.group)
            root = Root(self.file, self._options)
            rows = _rows(table.metadata)
            starts = list(accumulate(rows, initial=0))
            for number in range(*(self._groups or (0, len(rows)))):
                try:
                    with _named_errors():
                        yield from self._row_group(table, number, columns, root, starts[number])
                except ImageError as error:
                    if error.reason == "unsupported":  # so are the others
                        raise
                    yield Failure(f"{self.key}: row group {number}", error.reason, str(error))

    def _stream(self) -> Any:
        import pyarrow as pa

        # Arrow's own file is read without the interpreter lock, in a third of the time. It is not mapped into memory:
        # a file that shrinks would end the process.
        return self.file.open() if self.file.path is None else pa.OSFile(os.fsencode(self.file.path))

    def _columns(self, table: Any) -> TableColumns:
        return choose_columns(table.schema_arrow, self._options.column, self._options.group)

    def _row_group(
        self, table: Any, number: int, columns: TableColumns, root: Root, start: int
    ) -> Iterator[Sample | Failure]:
        claimed = table.metadata.row_group(number)
        size = _BATCH_BYTES * claimed.num_rows // max(claimed.total_byte_size, 1)
        size = min(max(size, 1), _ROWS)
        row = start
        for batch in table.iter_batches(size, row_groups=[number], columns=columns.read, use_threads=False):
            for sample in table_samples(batch, columns, self.key, row, root.item, self._options):
                self.notes.choose("column", columns.image)
                yield sample
            row += batch.num_rows
        if row - start != claimed.num_rows:
            raise ImageError("corrupt", f"Parquet: {row - start:,} rows and not the {claimed.num_rows:,} of the footer")

    def count(self) -> int | None:
        """Return the number of rows, from the file's footer; None where a row may hold several images."""
        if self.file.path is None:
            return None
        try:
            with self._stream() as stream, _opened(stream) as table:
                return None if self._columns(table).layout == "list" else int(table.metadata.num_rows)
        except Exception:  # noqa: BLE001 - whatever it is, reading meets it again and names it
            return None


def _opened(stream: Any) -> Any:
    import pyarrow.parquet as pq

    # The open file and not its path, in which Arrow sees URLs. A read buffer makes Arrow read a column chunk page by
    # page instead of whole.
    return pq.ParquetFile(stream, buffer_size=_READ_BUFFER, pre_buffer=False)


def _rows(metadata: Any) -> list[int]:
    """Return the number of rows of each row group."""
    rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    if sum(rows) != metadata.num_rows or min(rows, default=0) < 0:
        raise ImageError("corrupt", f"Parquet: the row groups hold {sum(rows):,} rows and not {metadata.num_rows:,}")
    return rows


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn Arrow's errors into an `ImageError`."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ImageError("corrupt", f"Parquet: {error}") from None
    except OSError as error:  # Arrow's name for a page that cannot be decompressed, too
        if error.errno is not None:
            raise ImageError("unreadable", f"Parquet: {error}") from None
        if "decrypt" in str(error):
            raise ImageError("unsupported", f"Parquet: encrypted columns are not read ({error})") from None
        raise ImageError("corrupt", f"Parquet: {error}") from None
