"""What `group_by` asks for: the column that a source reads, or the function that names the group of a key."""

from __future__ import annotations

from collections.abc import Callable

from gpustats.errors import DataError, OptionError
from gpustats.failures import printable
from gpustats.sources import Source
from gpustats.statistics.grouped import Grouped
from gpustats.wording import named, option

__all__ = ["Grouping"]

_OF_THE_SOURCE = ("folder", "label")
_NO_FOLDERS = frozenset({"layout", "root", "feature"})
"""Options of tables, lists, records and arrays, whose images lie in no folder."""


class Grouping:
    """The option `group_by` of `gpustats.compute`, next to its option `group`.

    Parameters
    ----------
    by : str, callable or None
        As the user gave it.
    column : str, optional
        The option `group`.

    Attributes
    ----------
    column : str or None
        The column that names the group of an image.
    function : callable or None
        Says the group of a key.

    Raises
    ------
    ValueError
        For any other value, and where both options name a column.
    """

    def __init__(self, by: str | Callable[[str], object] | None, column: str | None = None) -> None:
        if by is not None and not callable(by) and (not isinstance(by, str) or not by):
            raise OptionError(
                f"{named('group_by')} should be 'folder', 'label', the name of a column, a function of the key or "
                f"None, got {by!r}"
            )
        self._by = by
        self.function = by if callable(by) else None
        self.column = column
        self._names_column = isinstance(by, str) and by not in _OF_THE_SOURCE
        if self._names_column and isinstance(by, str):
            if column not in (None, by):
                raise OptionError(
                    f"{option('group_by', by)} and {option('group', column)} name two columns; give one of them"
                )
            self.column = by

    @property
    def asked(self) -> bool:
        """Whether groups were asked for."""
        return self._by is not None

    def checked(self, open_source: Callable[[], Source]) -> Source:
        """Return the source, if it has such groups.

        Raises
        ------
        ValueError
            Where it has no such column, or its groups are no folders.
        """
        try:
            source = open_source()
        except DataError as error:
            if self._names_column and str(error).startswith(f"{option('group')} "):
                raise DataError(f"{option('group_by', self._by)} names a column: {error}") from None
            raise
        if self._by == "folder" and source.takes & _NO_FOLDERS:
            raise DataError(
                f"{option('group_by', 'folder')} is for folders and archives, and not for {printable(source.label)}; "
                "give 'label', the name of a column, or a function of the key"
            )
        return source

    def totals(self, statistics: tuple[str, ...]) -> Grouped | None:
        """Return an empty accumulator; None where no groups were asked for."""
        if not self.asked:
            return None
        name = self._by if isinstance(self._by, str) else getattr(self._by, "__name__", type(self._by).__name__)
        return Grouped(statistics, name)
