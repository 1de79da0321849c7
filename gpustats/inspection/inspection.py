"""What `gpustats.inspect` returns: what would be read, as an object, as text and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any

from gpustats.failures import FailureLog, printable
from gpustats.result.text import WIDTH, listed, places, skipped
from gpustats.sources.kinds import KINDS
from gpustats.wording import amount, bytes_of

__all__ = ["Inspection"]

_SHOWN = 10
_INDENT = 15


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a dataset holds and how it would be read.

    Attributes
    ----------
    source : str
        What was given.
    images : int
        Images that were found; a lower bound where `complete` is False.
    complete : bool
        Whether the whole source was listed or counted.
    bytes : int or None
        Bytes of the files that hold them, a lower bound where `complete` is False; None where they are not known.
    kinds : mapping of str to int
        Containers, tables and lists that were opened, by kind: ``{"tar": 12}``; empty for image files alone.
    images_from : mapping of str to int
        What was chosen as the image: ``{"column 'image'": 1000}``; see `gpustats.Stats.runs`.
    columns : mapping of str to str
        What there was to choose from in the first container, with types or shapes.
    group_from : str or None
        The column that names the group.
    groups : mapping of str to int
        Images by group, of the images that were listed one by one (`listed`).
    listed : int
        Images that were listed one by one; others were counted from footers and the like.
    forms : mapping of str to int
        Formats of the first images, from their headers: ``{"JPEG": 98, "PNG": 2}``.
    sizes : sequence of (int, int)
        Height and width of the first images, at most a hundred, from their headers.
    seconds : float or None
        An estimate of the time a run takes on the CPU; None where no image could be decoded.
    timed_on : str
        What the estimate is for: ``"cpu (2 threads)"``.
    skipped : mapping of str to int
        What was passed over, by kind.
    failures : FailureLog
        What cannot be read, as far as headers and names show.
    """

    source: str
    images: int
    complete: bool
    bytes: int | None
    kinds: Mapping[str, int] = field(default_factory=dict)
    images_from: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    group_from: str | None = None
    groups: Mapping[str, int] = field(default_factory=dict)
    listed: int = 0
    forms: Mapping[str, int] = field(default_factory=dict)
    sizes: Sequence[tuple[int, int]] = ()
    seconds: float | None = None
    timed_on: str = ""
    skipped: Mapping[str, int] = field(default_factory=dict)
    failures: FailureLog = field(default_factory=FailureLog)

    @property
    def rules(self) -> dict[str, str]:
        """What is taken for an image in each kind that was found, and when the user is asked."""
        return {
            KINDS[kind].title: f"{KINDS[kind].images}; asks where there are: {KINDS[kind].ask or 'no choice'}"
            for kind in self.kinds
            if KINDS[kind].images
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for JSON."""
        names = ("source", "images", "complete", "bytes", "listed", "group_from", "seconds", "timed_on")
        tables = ("kinds", "images_from", "columns", "groups", "forms", "skipped", "rules")
        return {
            **{name: getattr(self, name) for name in names},
            **{name: dict(getattr(self, name)) for name in tables},
            "sizes": [list(size) for size in self.sizes],
            "failures": self.failures.to_dict(),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON text."""
        return json.dumps(self.to_dict())

    def to_text(self) -> str:
        """Return a text of at most 80 columns, with at most ten groups and columns."""
        lines = [f"gpustats.inspect: {printable(self.source)}"]
        for name, text in self._facts():
            lines += textwrap.wrap(
                text,
                WIDTH,
                initial_indent=f"  {name:<{_INDENT - 2}}",
                subsequent_indent=" " * _INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        failures = listed(self.failures)
        return self.to_text() + (f"\n{failures}" if failures else "")

    def _facts(self) -> list[tuple[str, str]]:
        least = "" if self.complete else "at least "
        facts = [("images", f"{least}{amount(self.images, 'image')}")]
        if self.bytes is not None:
            facts.append(("size", f"{least}{bytes_of(self.bytes)} in files"))
        if self.kinds:
            opened = ", ".join(f"{KINDS[kind].title} ({number:,})" for kind, number in self.kinds.items())
            facts.append(("opened", opened))
        if self.columns:
            columns = [f"{printable(name)} {printable(kind)[:60]}".rstrip() for name, kind in self.columns.items()]
            facts.append(("there are", _several(columns)))
        if self.images_from:
            facts.append(("images from", places(self.images_from)))
        facts += self._first()
        facts += self._groups()
        if self.skipped:
            facts.append(("skipped", skipped(self.skipped)))
        if len(self.failures):
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.failures.counts.items()))
            facts.append(("WOULD FAIL", reasons))
        if self.seconds is not None:
            facts.append(("time", f"estimate: {least}about {_time(self.seconds)} on {self.timed_on}"))
        facts += [("rule", f"{title}: {rule}") for title, rule in self.rules.items()]
        return facts

    def _first(self) -> list[tuple[str, str]]:
        if not self.sizes:
            return []
        forms = ", ".join(f"{form} ({number:,})" for form, number in self.forms.items())
        heights, widths = ([size[axis] for size in self.sizes] for axis in (0, 1))
        commonest, number = Counter(self.sizes).most_common(1)[0]
        if number == len(self.sizes):
            sizes = f"all {commonest[1]} x {commonest[0]}"
        else:
            middle = f"median {median_low(widths)} x {median_low(heights)}"
            sizes = f"{min(widths)}-{max(widths)} x {min(heights)}-{max(heights)}, {middle}"
        return [(f"first {len(self.sizes):,}", f"{forms}; {sizes} (width x height)")]

    def _groups(self) -> list[tuple[str, str]]:
        groups = {name: number for name, number in self.groups.items() if number}
        if not any(groups):
            return []
        by = f" by {self.group_from}" if self.group_from else ""
        of = "" if self.listed == self.images + len(self.failures) else f", of the first {self.listed:,} images"
        largest = sorted(groups.items(), key=lambda group: (-group[1], group[0]))
        shown = [f"{printable(name)[:40] or '(none)'} ({number:,})" for name, number in largest]
        return [("groups", f"{len(groups):,}{by}{of}: {_several(shown)}")]


def _several(texts: Sequence[str]) -> str:
    return ", ".join([*texts[:_SHOWN], *(["..."] if len(texts) > _SHOWN else [])])


def _time(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
