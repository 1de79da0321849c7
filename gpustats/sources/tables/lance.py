"""Lance datasets: their columns are those of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Entry, Part, Sample, ShardSource
from gpustats.sources.files.file import File
from gpustats.sources.files.root import Root
from gpustats.sources.options import SourceOptions, missing_extra
from gpustats.sources.tables.columns import choose_columns
from gpustats.sources.tables.rows import table_samples

__all__ = ["LanceSource"]

_ROWS = 32
_BATCHES_AHEAD = 2


class LanceSource(ShardSource):
    """The images of the newest version of a Lance dataset on this machine; its fragments are parts.

    Parameters
    ----------
    file : File
        The dataset's folder.
    key : str
        See `ShardSource`.
    options : SourceOptions
        `column`, `group` and `root` count.
    fragment : (int, int, int), optional
        Read one fragment of a version: the version, the fragment's place and the number of its first row.
    """

    counts_images = True

    def __init__(
        self, file: File, key: str, options: SourceOptions, fragment: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__(file, key)
        self._options = options
        self._fragment = fragment
        try:
            import lance  # noqa: F401
        except ImportError:
            raise missing_extra(file.label, "Lance", "pylance", "lance") from None

    def container(self) -> None:
        """Return None: a dataset is many files."""

    def parts(self) -> Iterator[Entry]:
        """Yield the fragments as parts where there are several, else the rows."""
        return super().parts() if self._fragment is not None else self._fragments()

    def _fragments(self) -> Iterator[Entry]:
        try:
            data = self._open(None)
            one_each = self._one_each(data)
            rows = [fragment.count_rows() for fragment in data.get_fragments()]
        except ImageError as error:
            yield Failure(self.key, error.reason, str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever the package raises, the dataset is named
            yield Failure(self.key, "corrupt", f"Lance: {error}")
            return
        start = 0
        for place, count in enumerate(rows):
            arguments = (self.file, self.key, self._options, (data.version, place, start))
            yield Part(self.key, LanceSource, arguments, count if one_each else None)
            start += count

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the rows of the fragment."""
        assert self._fragment is not None
        version, place, row = self._fragment
        try:
            data = self._open(version)
            columns = choose_columns(data.schema, self._options.column, self._options.group)
            self.notes.offer({entry.name: entry.type for entry in data.schema}, columns.group)
            root = Root(self.file, self._options)
            for batch in data.get_fragments()[place].to_batches(
                columns=columns.read, batch_size=_ROWS, batch_readahead=_BATCHES_AHEAD
            ):
                for sample in table_samples(batch, columns, self.key, row, root.item, self._options):
                    self.notes.choose("column", columns.image)
                    yield sample
                row += batch.num_rows
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the package raises, the fragment is named
            raise ImageError("corrupt", f"Lance: fragment {place}: {error}") from None

    def count(self) -> int | None:
        """Return the number of rows; None where a row may hold several images."""
        try:
            data = self._open(None)
            return int(data.count_rows()) if self._one_each(data) else None
        except Exception:  # noqa: BLE001 - reading meets it again and names it
            return None

    def _open(self, version: int | None) -> Any:
        import lance

        return lance.dataset(self.file.label, version=version)

    def _one_each(self, data: Any) -> bool:
        return choose_columns(data.schema, self._options.column, self._options.group).layout != "list"
