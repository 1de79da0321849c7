"""The groups of a result: each a result of its own, made when it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.statistics.grouped import Grouped
from gpustats.statistics.totals import Totals

__all__ = ["NO_GROUP", "SHOWN", "Groups", "read_groups", "rows_of"]

NO_GROUP = "(no group)"
"""What images without a group are called where people read."""

SHOWN = 10
"""Groups that a table shows, those with the most images."""

_TABLE_CHANNELS = 3


class Groups(Mapping[str, Any]):
    """Results by the name of a group, ``""`` for images that have none; empty where nothing was grouped.

    Attributes
    ----------
    by : str or None
        What was asked for: ``"folder"``, ``"label"``, a column, the name of a function. None where nothing was.
    """

    def __init__(self, grouped: Grouped | None, stats_of: Callable[[Totals], Any]) -> None:
        self.by = None if grouped is None else grouped.by
        self._grouped = grouped
        self._stats_of = stats_of

    def __getitem__(self, name: str) -> Any:
        if self._grouped is None:
            raise KeyError(f"{name!r}: there are no groups; compute with group_by='folder', 'label' or a column")
        if name not in self._grouped:
            raise KeyError(f"there is no group {name!r}; the first are {', '.join(map(repr, self._first(5)))}")
        return self._stats_of(self._grouped[name])

    def __iter__(self) -> Iterator[str]:
        return iter(()) if self._grouped is None else iter(sorted(self._grouped))

    def __len__(self) -> int:
        return 0 if self._grouped is None else len(self._grouped)

    def __repr__(self) -> str:
        if self._grouped is None:
            return "no groups"
        more = ", ..." if len(self) > 5 else ""
        return f"{len(self):,} groups by {printable(self.by or '')}: {', '.join(map(repr, self._first(5)))}{more}"

    def _first(self, count: int) -> list[str]:
        return [] if self._grouped is None else self._grouped.largest(count)

    def to_dict(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield name and numbers of every group, in plain containers."""
        for name in self:
            stats = self[name]
            yield (
                name,
                {
                    "images": stats.n_images,
                    "pixels": stats.n_pixels,
                    "mean": stats.mean.tolist(),
                    "std": stats.std.tolist(),
                    "totals": stats.totals.to_dict(),
                },
            )


def rows_of(groups: Groups) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table of the largest groups: the name, images, pixels, mean and std."""
    head = [f"group by {printable(groups.by or '')}", "images", "pixels"]
    rows = []
    for name in groups._first(SHOWN):
        stats = groups[name]
        row = [printable(name) if name else NO_GROUP, f"{stats.n_images:,}", f"{stats.n_pixels:,}"]
        if len(stats.channels) <= _TABLE_CHANNELS:
            row += [f"{value:.5g}" for value in (*stats.mean, *stats.std)]
            head = head[:3] + [f"{what} {channel}" for what in ("mean", "std") for channel in stats.channels]
        rows.append(row)
    return head, rows


def read_groups(data: Any, whole: Totals) -> Grouped:
    """Read the groups of a saved result.

    Raises
    ------
    DataError
        Where one is damaged, or where they do not add up to the whole.
    """
    try:
        grouped = Grouped(whole.statistics, str(data["by"]))
        for name, group in data["groups"].items():
            totals = Totals.from_dict(group["totals"])
            if totals.statistics != whole.statistics or totals.kind != whole.kind:
                raise DataError(f"the group {json.dumps(name):.80} is not of the same images as the whole")
            grouped.add(name, totals)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the groups are incomplete or damaged: {error!r}") from None
    together = grouped.whole()
    same = ("images", "pixels", "key_hash") if not whole.exact else ("images", "pixels", "key_hash", "parts")
    if any(getattr(together, name) != getattr(whole, name) for name in same):
        raise DataError("the groups do not add up to the whole: the file was changed or damaged")
    return grouped
