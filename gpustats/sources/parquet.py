"""Parquet files: encoded images in a binary column, in Hugging Face's struct of bytes and path, or paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files import File
from gpustats.sources.manifest import Root
from gpustats.sources.options import SourceOptions, missing_extra
from gpustats.sources.parquet_footer import find_columns
from gpustats.sources.parquet_pages import values
from gpustats.sources.tables import choose_columns, table_samples

__all__ = ["ParquetSource"]

_BATCH_BYTES = 1 << 20
_READ_BUFFER = 1 << 20
_ROWS = 1024


class ParquetSource(ShardSource):
    """The images of one Parquet file, streamed within row groups.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `column`, `group` and `root` count.
    """

    takes = frozenset({"column", "group", "root", "storage_options"})

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._options = options
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise missing_extra(file.label, "Parquet", "pyarrow", "parquet") from None

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the rows."""
        import pyarrow as pa

        with self.file.open() as stream:
            try:
                yield from self._rows(stream)
            except (pa.ArrowException, UnicodeDecodeError) as error:
                raise ImageError("corrupt", f"Parquet: {error}") from None
            except OSError as error:  # Arrow's name for a page that cannot be decompressed, too
                raise _reason(error) from None

    def _rows(self, stream: BinaryIO) -> Iterator[Sample | Failure]:
        import pyarrow.parquet as pq

        # The open file and not its path, in which Arrow sees URLs. A read buffer makes Arrow read a column chunk page
        # by page instead of whole.
        with pq.ParquetFile(stream, buffer_size=_READ_BUFFER, pre_buffer=False) as table:
            columns = choose_columns(table.schema_arrow, self._options.column, self._options.group)
            found = find_columns(stream, columns.encoded) if columns.layout != "path" else []
            root = Root(self.file, self._options)
            max_bytes = self._options.max_bytes
            few = _rows_per_batch(table.metadata)
            row = 0
            for number in range(table.num_row_groups):
                images, read, size = None, columns.read, few
                if number < len(found) and (image := found[number]) is not None:
                    images = values(stream, image, max_bytes)
                    read, size = columns.beside, _ROWS
                for batch in table.iter_batches(size, row_groups=[number], columns=read, use_threads=False):
                    yield from table_samples(batch, columns, self.key, row, root.item, max_bytes, images)
                    row += batch.num_rows
            if row != table.metadata.num_rows:
                total = table.metadata.num_rows
                raise ImageError("corrupt", f"Parquet: the row groups hold {row:,} rows and not {total:,}")

    def count(self) -> int | None:
        """Return the number of rows, from the file's footer."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.file.path is None:
            return None
        try:
            with self.file.open() as stream:
                return int(pq.read_metadata(stream).num_rows)
        except (pa.ArrowException, OSError):
            return None


def _reason(error: OSError) -> ImageError:
    if error.errno is not None:
        return ImageError("unreadable", f"Parquet: {error}")
    if "decrypt" in str(error):
        return ImageError("unsupported", f"Parquet: encrypted columns are not read ({error})")
    return ImageError("corrupt", f"Parquet: {error}")


def _rows_per_batch(metadata: Any) -> int:
    total = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    rows = max(metadata.num_rows, 1)
    return int(min(max(_BATCH_BYTES * rows // max(total, 1), 1), _ROWS))
