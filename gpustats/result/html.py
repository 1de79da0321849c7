"""A result as an HTML fragment for notebooks; every name from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from gpustats.failures import FailureLog
from gpustats.result.text import FAILURES_SHOWN, GroupTable

__all__ = ["table"]


def table(
    facts: Sequence[str],
    rows: Sequence[tuple[str, Any, str]],
    failures: FailureLog,
    channels: Sequence[str],
    groups: GroupTable | None = None,
) -> str:
    """Return facts, numbers, groups and failures; the parameters are those of `gpustats.result.text.table`."""
    head = "".join(f"<th>{escape(name)}</th>" for name in channels)
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        + "".join(f"<td>{value:.7g}</td>" for value in values)
        + f"<td style='text-align:left'>{escape(note)}</td></tr>"
        for name, values, note in rows
    )
    listed = "".join(f"<li>{escape(str(failure))}</li>" for failure in list(failures)[:FAILURES_SHOWN])
    return (
        f"<div><b>gpustats.Stats</b><br>{'<br>'.join(escape(fact) for fact in facts)}"
        f"<table><thead><tr><th></th>{head}<th></th></tr></thead><tbody>{body}</tbody></table>"
        + (_group_table(groups) if groups is not None else "")
        + (f"<ul>{listed}</ul>" if listed else "")
        + "</div>"
    )


def _group_table(groups: GroupTable) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in groups.head)
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in groups.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{escape(groups.rest)}"
