"""A result as plain text, at most a screen and 80 columns wide."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from gpustats.failures import FailureLog, printable
from gpustats.wording import amount

__all__ = [
    "FAILURES_SHOWN",
    "WIDTH",
    "GroupTable",
    "counted",
    "csv",
    "duplicates",
    "formatted",
    "listed",
    "markdown",
    "normalize_line",
    "places",
    "provenance",
    "skipped",
    "table",
    "valid",
]

FAILURES_SHOWN = 5
DUPLICATES_SHOWN = 3
PLACES_SHOWN = 4
REMARKS_SHOWN = 5
WIDTH = 80

_NAMES = 26  # columns that the names of the numbers take
_DIGITS = 8  # of the largest number
_CHANNELS_SHOWN = 15
_SKIPPED = {
    "non_image": ("file that is no image", "files that are no images"),
    "image": ("image of another extension", "images of another extension"),
    "folder": ("folder", ""),
    "dropped_last": ("that did not fill a batch",) * 2,
    "repeated": ("named again", "named again"),
    "repeated_other_group": ("named again with another group (the first one counts)",) * 2,
    "hidden": ("hidden name", ""),
    "linked_folder": ("folder seen before", "folders seen before"),
    "reduced_page": ("overview or mask in a TIFF", "overviews and masks in TIFFs"),
    "replaced": ("replaced member", ""),
    "link": ("link", ""),
    "special": ("special file", ""),
}


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
    """Return what a source passed over, in words.

    >>> skipped({"non_image": 2, "hidden": 1})
    '1 hidden name, 2 files that are no images'
    """
    return ", ".join(amount(n, *_SKIPPED.get(kind, [kind.replace("_", " ")] * 2)) for kind, n in sorted(counts.items()))


def counted(images: int, pixels: int, widths: tuple[int, int], heights: tuple[int, int]) -> str:
    """Return how many images and pixels there are, and the range of their sizes."""
    sizes = f", {_span(*widths)} x {_span(*heights)} (width x height)" if images else ""
    return f"{amount(images, 'image')}, {amount(pixels, 'pixel')}{sizes}"


def valid(shares: Sequence[float], channels: Sequence[str]) -> str:
    """Return how much of each channel counts, in words."""
    if len(set(shares)) == 1:
        return f"{shares[0]:.4%} of the pixels are valid; the others are left out"
    listed = ", ".join(f"{name} {share:.4%}" for name, share in zip(channels, shares, strict=True))
    return f"valid pixels: {listed}; the others are left out"


def duplicates(images: int, copies: int, listed: Sequence[Sequence[str]]) -> list[str]:
    """Return which images have the same content, a line for each of the first sets."""
    if not copies:
        return [f"no duplicates among {amount(images, 'image')}"]
    lines = [f"duplicates: {copies:,} of {amount(images, 'image')} {'is a copy' if copies == 1 else 'are copies'}"]
    for keys in listed[:DUPLICATES_SHOWN]:
        more = " = ..." if len(keys) > DUPLICATES_SHOWN else ""
        lines.append("  " + " = ".join(map(printable, keys[:DUPLICATES_SHOWN])) + more)
    if len(listed) > DUPLICATES_SHOWN:
        lines.append("  ...: stats.duplicates")
    return lines


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
        f"images from {places(run['images_from'])}" for run in runs[:1] if isinstance(run.get("images_from"), dict)
    ]
    lines += [kinds_of(run) for run in runs[:1] if isinstance(run.get("kinds"), dict)]
    remarks = (remark for run in runs if isinstance(run.get("remarks"), list) for remark in run["remarks"])
    lines += [f"NOTE: {printable(str(remark))}" for remark in islice(dict.fromkeys(remarks), REMARKS_SHOWN)]
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


def kinds_of(run: Mapping[str, Any]) -> str:
    """Return of which kinds the images of a run were, of which a result has one."""
    failed = run.get("images_failed")
    more = f"; {failed:,} FAILED, of no kind" if isinstance(failed, int) and failed else ""
    return f"one of the kinds {places(run['kinds'])}{more}"


def places(images: Mapping[str, int]) -> str:
    """Return where images were found, with their numbers where there are several places."""
    names = [f"{printable(name)}" + (f" ({n:,})" if len(images) > 1 else "") for name, n in images.items()]
    return ", ".join([*names[:PLACES_SHOWN], *(["..."] if len(names) > PLACES_SHOWN else [])])


def table(
    facts: Sequence[str],
    rows: Sequence[tuple[str, Any, str]],
    channels: Sequence[str],
    groups: GroupTable | None = None,
    title: str = "gpustats.Stats",
) -> str:
    """Return facts, numbers and groups.

    Parameters
    ----------
    facts : sequence of str
        Lines above the numbers.
    rows : sequence of (name, values, meaning)
        A value for each channel. The meaning is left out where it does not fit.
    channels : sequence of str
        Names of the channels; of many, the first are shown.
    groups : GroupTable, optional
        Where the result has groups.
    title : str
        The first line.
    """
    lines = [title]
    for fact in facts:
        lines += textwrap.wrap(
            fact, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    if not rows:
        return "\n".join(lines)
    cells = formatted([values for _, values, _ in rows])
    shown = channels[:_CHANNELS_SHOWN]
    size = max(len(cells[0][0]), *map(len, shown)) + 2
    together = max((WIDTH - _NAMES) // size, 1)
    for start in range(0, len(shown), together):
        block = slice(start, min(start + together, len(shown)))
        lines += ["", " " * _NAMES + "".join(f"{name:>{size}}" for name in shown[block])]
        numbers = [
            f"  {name:<{_NAMES - 2}}" + "".join(f"{cell:>{size}}" for cell in line[block])
            for (name, _, _), line in zip(rows, cells, strict=True)
        ]
        noted = [f"{line}  {note}" for line, (_, _, note) in zip(numbers, rows, strict=True)]
        lines += [line.rstrip() for line in (noted if max(map(len, noted)) <= WIDTH else numbers)]
    if len(channels) > len(shown):
        lines.append(f"  ... and {amount(len(channels) - len(shown), 'more channel')}: stats.mean, stats.std")
    if groups is not None:
        lines += ["", *_group_lines(groups)]
    return "\n".join(lines)


def listed(failures: FailureLog) -> str:
    """Return the first failures, a line each; "" where there is none."""
    lines = [f"  {failure}" for failure in failures.listed[:FAILURES_SHOWN]]
    if len(failures) > FAILURES_SHOWN:
        lines.append(f"  ... and {len(failures) - FAILURES_SHOWN:,} more: stats.failures")
    return "\n".join(lines)


def formatted(rows: Sequence[Sequence[float]]) -> list[list[str]]:
    """Return numbers as text of one length, with the decimal points in the same place.

    >>> formatted([[0.5, 1.0], [0.25, 3e-8]])
    [['0.5000000', '1.0000000'], ['0.2500000', '3.00e-08 ']]
    """
    largest = max((abs(value) for row in rows for value in row if math.isfinite(value)), default=0.0)
    digits = len(f"{largest:.0f}")
    decimals = max(_DIGITS - digits, 0)

    def parts(value: float) -> tuple[str, str]:
        if not math.isfinite(value):
            text = str(value)
        elif digits > _DIGITS + 1:
            text = f"{value:.6e}"
        elif 0 < abs(value) < 10.0 ** (2 - decimals):  # fewer than three digits would be left
            text = f"{value:.2e}"
        else:
            text = f"{value:.{decimals}f}"
        whole, point, rest = text.partition(".")
        return whole, point + rest

    split = [[parts(float(value)) for value in row] for row in rows]
    before, after = (max((len(cell[i]) for row in split for cell in row), default=0) for i in (0, 1))
    return [[f"{whole:>{before}}{rest:<{after}}" for whole, rest in row] for row in split]


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
    """Return the groups, a line each; the pixels are left out where they do not fit, and long names are cut."""
    names, images, pixels, *numbers = zip(groups.head, *groups.rows, strict=True)

    def room(columns: Sequence[Sequence[str]]) -> int:
        return WIDTH - 2 - sum(2 + max(map(len, column)) for column in columns)

    columns = [images, pixels, *numbers]
    if room(columns) < max(map(len, names)):
        columns.remove(pixels)
    size = max(min(room(columns), max(map(len, names))), _NAME)
    cells = [[f"{cell:>{2 + max(map(len, column))}}" for cell in column] for column in columns]
    lines = [
        f"  {name if len(name) <= size else name[: size - 3] + '...':<{size}}" + "".join(line)
        for name, *line in zip(names, *cells, strict=True)
    ]
    return [*lines, f"  {groups.rest}"] if groups.rest else lines


_NAME = 12  # characters that a name of a group has at least


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}-{high}"
