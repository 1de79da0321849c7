"""Markdown and plots from the JSON of a suite; nothing is measured here."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Bars", "Lines", "Table", "draw", "markdown", "spread", "write_whole"]


@dataclass
class Table:
    """A table with a title above and remarks below."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]]
    notes: Sequence[str] = ()


@dataclass
class Bars:
    """Horizontal bars: name, median, smallest, largest; `mark` names the bars that are ours."""

    title: str
    axis: str
    bars: list[tuple[str, float, float, float]]
    mark: Sequence[str] = ()


@dataclass
class Lines:
    """Curves over a common axis."""

    title: str
    x_axis: str
    y_axis: str
    curves: dict[str, list[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False


@dataclass
class _Generic:
    lines: list[str] = field(default_factory=list)

    def add(self, name: str, value: Any, depth: int = 2) -> None:
        if isinstance(value, dict):
            self.lines += [f"{'#' * min(depth, 5)} {name}", ""] if depth > 1 else []
            scalars = {k: v for k, v in value.items() if not isinstance(v, dict | list)}
            if scalars:
                self.lines += markdown(Table("", ("", ""), [(k, _number(v)) for k, v in scalars.items()]))
            for key, part in value.items():
                if key not in scalars:
                    self.add(key, part, depth + 1)
        elif value and all(isinstance(row, dict) for row in value):
            flat = [_flat(row) for row in value]
            columns = list(dict.fromkeys(key for row in flat for key in row))
            self.lines += [f"{'#' * min(depth, 5)} {name}", ""]
            self.lines += markdown(Table("", columns, [[_number(row.get(c, "")) for c in columns] for row in flat]))
        else:
            self.lines += [f"{name}: {', '.join(_number(v) for v in value)}", ""]


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old text or the new one, also where this process is killed."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def draw(path: Path, suites: dict[str, str], *, plots: bool = True) -> list[Path]:
    """Write Markdown, and PNG plots where matplotlib is installed, beside the JSON of a suite.

    Parameters
    ----------
    path : Path
        The JSON.
    suites : dict of str to str
        Suite names and the modules that may have a `report(result)` for them; without one, the JSON is laid out as
        it is.
    plots : bool
        Whether to draw; the tables are written in any case.

    Returns
    -------
    list of Path
        What was written.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    suite, result = document["suite"], document["result"]
    module = importlib.import_module(suites[suite])
    lines = [f"# Benchmark: {suite}", ""]
    written: list[Path] = []
    if hasattr(module, "report"):
        count = 0
        for part in module.report(result):
            if isinstance(part, Table):
                lines += [f"## {part.title}", "", *markdown(part)]
            elif plots:
                target = path.with_name(f"{path.stem}-{count}.png" if count else f"{path.stem}.png")
                count += 1
                if _plot(part, target):
                    written.append(target)
                    lines += [f"![{part.title}]({target.name})", ""]
                else:
                    lines += [f"Not drawn, for matplotlib is not installed: {part.title}.", ""]
    else:
        generic = _Generic()
        generic.add(suite, result, 1)
        lines += generic.lines
    lines += ["## Machine", "", *markdown(Table("", ("", ""), _machine_rows(document["machine"])))]
    lines += [f"Run again: `{document['command']}`", ""]
    target = path.with_suffix(".md")
    write_whole(target, "\n".join(lines))
    return [target, *written]


def spread(values: dict[str, float], digits: int = 0, scale: float = 1.0) -> str:
    """Median with the smallest and largest in brackets."""
    median, low, high = (f"{values[k] * scale:,.{digits}f}" for k in ("median", "min", "max"))
    return f"{median} ({low}–{high})"  # noqa: RUF001 - a range takes an en dash


def _machine_rows(machine: dict[str, Any]) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = []
    for key, value in machine.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        rows.append((key.replace("_", " "), "" if value is None else value))
    return rows


def markdown(table: Table) -> list[str]:
    """Return the lines of a table and its remarks."""
    lines = ["| " + " | ".join(table.columns) + " |"]
    lines.append("|" + "|".join(" --- " if i == 0 else " ---: " for i in range(len(table.columns))) + "|")
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in table.rows]
    lines.append("")
    for note in table.notes:
        lines += [note, ""]
    return lines


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _plot(part: Bars | Lines, target: Path) -> bool:
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    if isinstance(part, Bars):
        figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.32 * len(part.bars)))
        names = [bar[0] for bar in part.bars]
        medians = [bar[1] for bar in part.bars]
        errors = [[max(m - low, 0) for _, m, low, _ in part.bars], [max(high - m, 0) for _, m, _, high in part.bars]]
        colours = ["#d95f02" if name in part.mark else "#7f9fbf" for name in names]
        axes.barh(names, medians, xerr=errors, color=colours, ecolor="#444444", capsize=2)
        for i, median in enumerate(medians):
            axes.text(
                median, i, f" {median:,.0f} ", va="center", ha="left", fontsize=8, bbox={"fc": "w", "lw": 0, "pad": 0.5}
            )
        axes.invert_yaxis()
        axes.set_xlabel(part.axis)
        axes.margins(x=0.12)
    else:
        figure, axes = pyplot.subplots(figsize=(8, 4))
        for name, points in part.curves.items():
            axes.plot(*zip(*points, strict=True), marker="o" if len(points) < 40 else None, label=name)
        if part.log_x:
            axes.set_xscale("log")
        if part.log_y:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(part.x_axis)
        axes.set_ylabel(part.y_axis)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    axes.set_title(part.title, fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(target, dpi=110, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)
    return True
