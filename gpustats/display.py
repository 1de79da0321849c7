"""One readable screen of a result, as text and as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from gpustats.failures import printable

if TYPE_CHECKING:
    from gpustats.stats import Stats

__all__ = ["html", "normalize_line", "skipped", "text"]

_FAILURES_SHOWN = 5


def normalize_line(stats: Stats) -> str:
    """Return the ready-to-paste torchvision line with the pooled mean and std on [0, 1]."""
    unit = stats.scaled(1)
    mean, std = (", ".join(f"{value:.6f}" for value in values) for values in (unit.mean, unit.std))
    return f"transforms.Normalize(mean=[{mean}], std=[{std}])"


def skipped(counts: Mapping[str, int]) -> str:
    """Return what a source passed over, in words."""
    words = {"non_image": "other than images", "hidden": "hidden", "linked_folder": "folders seen before"}
    return ", ".join(f"{n:,} {words.get(kind, kind.replace('_', ' '))}" for kind, n in sorted(counts.items()))


def _rows(stats: Stats) -> Iterator[tuple[str, Any, str]]:
    per_image = stats.per_image
    yield "mean", stats.mean, "all pixels pooled"
    yield "std", stats.std, "all pixels pooled, ddof=0: what Normalize should get"
    yield "per_image.mean", per_image.mean, "average of the images' means"
    yield "per_image.std", per_image.std, "average of the images' stds, ddof=0"
    yield "per_image.std_unbiased", per_image.std_unbiased, "the same with ddof=1 (torch.std)"
    yield "per_image.rms_std", per_image.rms_std, "root of the average variance"
    yield "std_of_means", stats.std_of_means, "how much images differ"
    yield "min", stats.min, ""
    yield "max", stats.max, ""


def _facts(stats: Stats) -> Iterator[str]:
    t = stats.totals
    images = f"{t.images:,} image{'' if t.images == 1 else 's'}"
    sizes = (
        f", {_span(t.width_min, t.width_max)} x {_span(t.height_min, t.height_max)} (width x height)"
        if t.images
        else ""
    )
    yield f"{images}, {t.pixels:,} pixels{sizes}"
    if stats.exact:
        scale = f"values on [0, {stats.scale}]"
    else:
        factor = "" if stats.scale == 1 else f", times {stats.scale}"
        scale = f"float values as they are{factor} (float64 sums, not bit-exact)"
    yield f"{stats.definition.color_order}, {scale}, transform: {stats.definition.transform}"
    for run in stats.runs[:1]:
        yield "read by " + ", ".join(f"{printable(str(run[k]))}" for k in ("engine", "device") if k in run)
    if len(stats.runs) > 1:
        yield f"pooled from {len(stats.runs)} runs"
    if not stats.complete:
        yield "INCOMPLETE: the run was stopped before the end"
    if len(stats.failures):
        yield f"{len(stats.failures):,} FAILED: " + ", ".join(
            f"{n:,} {r}" for r, n in sorted(stats.failures.counts.items())
        )
    if stats.skipped:
        yield f"skipped: {skipped(stats.skipped)}"


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}-{high}"


def text(stats: Stats) -> str:
    """Return the result as a table of plain text, at most a screen."""
    lines = ["gpustats.Stats", *(f"  {fact}" for fact in _facts(stats))]
    if stats.n_images:
        lines.append("")
        lines.append("  " + " " * 24 + "".join(f"{name:>12}" for name in stats.channels))
        for name, values, note in _rows(stats):
            lines.append(f"  {name:<24}" + "".join(f"{value:>12.7g}" for value in values) + f"   {note}".rstrip())
    failures = list(stats.failures)
    if failures:
        lines.append("")
        lines += [f"  {failure}" for failure in failures[:_FAILURES_SHOWN]]
        if len(stats.failures) > _FAILURES_SHOWN:
            lines.append(f"  ... and {len(stats.failures) - _FAILURES_SHOWN:,} more: stats.failures")
    return "\n".join(lines)


def html(stats: Stats) -> str:
    """Return the result as an HTML fragment for notebooks; every name from outside is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in stats.channels)
    body = "".join(
        f"<tr><th style='text-align:left'>{name}</th>"
        + "".join(f"<td>{value:.7g}</td>" for value in values)
        + f"<td style='text-align:left'>{escape(note)}</td></tr>"
        for name, values, note in (_rows(stats) if stats.n_images else ())
    )
    facts = "<br>".join(escape(fact) for fact in _facts(stats))
    failures = "".join(f"<li>{escape(str(f))}</li>" for f in list(stats.failures)[:_FAILURES_SHOWN])
    return (
        f"<div><b>gpustats.Stats</b><br>{facts}"
        f"<table><thead><tr><th></th>{head}<th></th></tr></thead><tbody>{body}</tbody></table>"
        + (f"<ul>{failures}</ul>" if failures else "")
        + "</div>"
    )
