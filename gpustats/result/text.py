"""A result as plain text, at most a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gpustats.failures import FailureLog, printable

__all__ = [
    "FAILURES_SHOWN",
    "GroupTable",
    "counted",
    "csv",
    "markdown",
    "normalize_line",
    "provenance",
    "skipped",
    "table",
    "valid",
]

FAILURES_SHOWN = 5
PLACES_SHOWN = 4


class GroupTable(NamedTuple):
    """The largest groups: the names of columns, rows of texts, and how many groups there are."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    groups: int

    @property
    def rest(self) -> str:
        """What is said of the groups that are not shown, "" where there are none."""
        more = self.groups - len(self.rows)
        return f"... and {more:,} more: stats.groups" if more else ""


def normalize_line(mean: Sequence[float], std: Sequence[float]) -> str:
    """Return the ready-to-paste torchvision line for a mean and std on [0, 1]."""
    first, second = (", ".join(f"{value:.6f}" for value in values) for values in (mean, std))
    return f"transforms.Normalize(mean=[{first}], std=[{second}])"


def skipped(counts: Mapping[str, int]) -> str:
    """Return what a source passed over, in words."""
    words = {
        "non_image": "other than images",
        "image": "images of another extension",
        "folder": "folders",
        "linked_folder": "folders seen before",
        "repeated": "named again",
        "repeated_other_group": "named again with another group (the first one counts)",
    }
    return ", ".join(f"{n:,} {words.get(kind, kind.replace('_', ' '))}" for kind, n in sorted(counts.items()))


def counted(images: int, pixels: int, widths: tuple[int, int], heights: tuple[int, int]) -> str:
    """Return how many images and pixels there are, and the range of their sizes."""
    sizes = f", {_span(*widths)} x {_span(*heights)} (width x height)" if images else ""
    return f"{images:,} image{'' if images == 1 else 's'}, {pixels:,} pixels{sizes}"


def valid(shares: Sequence[float], channels: Sequence[str]) -> str:
    """Return how much of each channel counts, in words."""
    if len(set(shares)) == 1:
        return f"{shares[0]:.4%} of the pixels are valid; the others are left out"
    listed = ", ".join(f"{name} {share:.4%}" for name, share in zip(channels, shares, strict=True))
    return f"valid pixels: {listed}; the others are left out"


def provenance(
    runs: Sequence[Mapping[str, Any]],
    complete: bool,
    left_out: Sequence[str],
    failures: FailureLog,
    skipped_counts: Mapping[str, int],
) -> list[str]:
    """Return how the numbers came about, a line each."""
    lines = [
        "read by " + ", ".join(f"{printable(str(run[k]))}" for k in ("engine", "device") if k in run)
        for run in runs[:1]
    ]
    lines += [
        f"images from {_places(run['images_from'])}" for run in runs[:1] if isinstance(run.get("images_from"), dict)
    ]
    if len(runs) > 1:
        lines.append(f"pooled from {len(runs)} runs")
    if left_out:
        lines.append(f"left out, because not every pooled result has it: {', '.join(left_out)}")
    if not complete:
        lines.append("INCOMPLETE: the run was stopped before the end")
    if len(failures):
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(failures.counts.items()))
        lines.append(f"{len(failures):,} FAILED: {reasons}")
    if skipped_counts:
        lines.append(f"skipped: {skipped(skipped_counts)}")
    return lines


def _places(images: Mapping[str, int]) -> str:
    """Return where images were found, with their numbers where there are several places."""
    names = [f"{printable(name)}" + (f" ({n:,})" if len(images) > 1 else "") for name, n in images.items()]
    return ", ".join([*names[:PLACES_SHOWN], *(["..."] if len(names) > PLACES_SHOWN else [])])


def table(
    facts: Sequence[str],
    rows: Sequence[tuple[str, Any, str]],
    failures: FailureLog,
    channels: Sequence[str],
    groups: GroupTable | None = None,
) -> str:
    """Return facts, numbers, groups and the first failures.

    Parameters
    ----------
    facts : sequence of str
        Lines above the numbers.
    rows : sequence of (name, values, meaning)
        A value for each channel.
    failures : FailureLog
        Of the result.
    channels : sequence of str
        Names of the channels.
    groups : GroupTable, optional
        Where the result has groups.
    """
    lines = ["gpustats.Stats", *(f"  {fact}" for fact in facts)]
    if rows:
        lines.append("")
        lines.append("  " + " " * 24 + "".join(f"{name:>12}" for name in channels))
        for name, values, note in rows:
            lines.append(f"  {name:<24}" + "".join(f"{value:>12.7g}" for value in values) + f"   {note}".rstrip())
    if groups is not None:
        lines += ["", *_group_lines(groups)]
    listed = list(failures)
    if listed:
        lines.append("")
        lines += [f"  {failure}" for failure in listed[:FAILURES_SHOWN]]
        if len(failures) > FAILURES_SHOWN:
            lines.append(f"  ... and {len(failures) - FAILURES_SHOWN:,} more: stats.failures")
    return "\n".join(lines)


def csv(facts: Sequence[str], rows: Sequence[tuple[str, Any, str]], channels: Sequence[str]) -> str:
    """Return the numbers as comma-separated values, each with all digits; the parameters are those of `table`.

    Lines that start with ``#`` hold the facts.
    """
    lines = [f"# {fact}" for fact in facts] + [",".join(("number", *channels))]
    return "\n".join(lines + [",".join((name, *map(repr, values.tolist()))) for name, values, _ in rows])


def markdown(facts: Sequence[str], rows: Sequence[tuple[str, Any, str]], channels: Sequence[str]) -> str:
    """Return facts and numbers in Markdown; the parameters are those of `table`."""
    cells = [("", *channels, ""), ("---", *["---:"] * len(channels), "---")]
    cells += [(f"`{name}`", *(f"{value:.7g}" for value in values), note) for name, values, note in rows]
    lines = [f"- {fact}" for fact in facts] + [""] + [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join(lines)


def _group_lines(groups: GroupTable) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        name, images, pixels, *numbers = cells
        name = name if len(name) <= _NAME else name[: _NAME - 3] + "..."
        return f"  {name:<{_NAME}}{images:>10}{pixels:>16}" + "".join(f"{number:>10}" for number in numbers)

    lines = [line(groups.head), *map(line, groups.rows)]
    return [*lines, f"  {groups.rest}"] if groups.rest else lines


_NAME = 24  # characters that a name of a group has in a table


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}-{high}"
