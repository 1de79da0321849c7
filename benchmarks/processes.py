"""Threads against a process for each worker (``isolate=True``), one worker against all: small files and photographs.

A rate is that of a long run: what the larger of two sets takes more than the smaller one, for the images that it has
more. Start-up is what the smaller one takes beyond its images at that rate. CPU time does not depend on what else the
machine does; that of the process of the run bounds how many processes it can keep busy.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gpustats
from benchmarks.format_cases import CASES
from benchmarks.formats import write
from benchmarks.report import Table, spread
from benchmarks.timing import interleaved, ratio, summary
from gpustats.limits.machine import usable_cpus

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["report", "run"]

_SETS = (
    ("JPEG", 32, 32, (20_000, 60_000)),
    ("PNG", 32, 32, (20_000, 60_000)),
    ("JPEG", 375, 500, (500, 2_500)),
)
"""Format, height, width, and the files of the two sets."""

_KINDS = ("thread", "threads"), ("process", "processes")


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 5) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data, out : Path
        Not used: the images are made here, and nothing but the result is left.
    tiny : bool
        One round over a few images.
    rounds : int
        Rounds of each set.
    """
    cores = usable_cpus()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, height, width, counts in _SETS:
            few, many = (4, 8) if tiny else counts
            folders = {count: Path(temporary, f"{name}-{width}x{height}-{count}") for count in (few, many)}
            for count, folder in folders.items():
                write(folder, CASES[name], height, width, count)
            rows.append(
                {
                    "format": name,
                    "width": width,
                    "height": height,
                    "files": [few, many],
                    **_measured(folders, few, many, cores, 1 if tiny else rounds),
                }
            )
    return {"workers": cores, "rounds": 1 if tiny else rounds, "rows": rows}


def _measured(folders: dict[int, Path], few: int, many: int, cores: int, rounds: int) -> dict[str, Any]:
    cpu: dict[tuple[str, int], list[tuple[float, float]]] = {}
    works: dict[str, Callable[[], None]] = {}
    (one_thread, threads), (one_process, processes) = (
        (f"1 {one}", f"{cores} {several}" if cores > 1 else f"1 {one}") for one, several in _KINDS
    )
    methods = {one_thread: (1, False), threads: (cores, False), one_process: (1, True), processes: (cores, True)}

    def compute(method: str, count: int) -> None:
        before = _cpu_seconds()
        workers, isolate = methods[method]
        stats = gpustats.compute(folders[count], device="cpu", workers=workers, isolate=isolate, progress=False)
        if stats.n_images != count:
            raise SystemExit(f"benchmarks processes: {stats.n_images:,} of {count:,} images were measured")
        own, children = (after - earlier for after, earlier in zip(_cpu_seconds(), before, strict=True))
        cpu.setdefault((method, count), []).append((own, children))

    for method in methods:
        for count in (few, many):
            works[f"{method}, {count}"] = partial(compute, method, count)
    seconds = interleaved(works, rounds)
    more = many - few
    # The time of one image; on a machine that others use, too, a short run can take longer than a long one.
    each = {
        method: [
            max(long - short, 1e-9) / more
            for short, long in zip(seconds[f"{method}, {few}"], seconds[f"{method}, {many}"], strict=True)
        ]
        for method in methods
    }
    return {
        "images_per_s": {method: summary([1 / t for t in times]) for method, times in each.items()},
        "start_seconds": {
            method: summary([t - few * e for t, e in zip(seconds[f"{method}, {few}"], each[method], strict=True)])
            for method in methods
        },
        "cpu_us": {
            method: {
                who: statistics.median(
                    (long[place] - short[place]) / more * 1e6
                    for short, long in zip(cpu[method, few], cpu[method, many], strict=True)
                )
                for place, who in enumerate(("run", "processes"))
            }
            for method in methods
        },
        "all_processes_faster_than": {
            method: ratio(each[method], each[processes]) for method in (one_process, one_thread, threads)
        },
        "all_threads_faster_than_one": ratio(each[one_thread], each[threads]),
    }


def _cpu_seconds() -> tuple[float, float]:
    """Return the CPU time of this process so far, and that of processes that it started and that ended."""
    if resource is None:
        return 0.0, 0.0
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own, children = (usage.ru_utime + usage.ru_stime for usage in used)
    return own, children


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    rows = result["rows"]
    methods = list(rows[0]["images_per_s"])
    faster = list(rows[0]["all_processes_faster_than"])
    return [
        Table(
            "Threads and processes, images/s of a long run",
            ("", *methods),
            [(_label(row), *(spread(row["images_per_s"][method]) for method in methods)) for row in rows],
            [f"Median (smallest–largest) of {result['rounds']} interleaved rounds."],  # noqa: RUF001
        ),
        Table(
            f"How many times as fast as others {methods[-1]} are",
            ("", *(f"as {method}" for method in faster), f"for comparison: {faster[-1]} as {faster[-2]}"),
            [
                (
                    _label(row),
                    *(spread(row["all_processes_faster_than"][method], 2) for method in faster),
                    spread(row["all_threads_faster_than_one"], 2),
                )
                for row in rows
            ],
            ["Ratios within a round."],
        ),
        Table(
            "CPU time of an image, microseconds",
            ("", *(f"{method}: {who}" for method in methods for who in ("run", "processes"))),
            [
                (_label(row), *(f"{value:.1f}" for method in methods for value in row["cpu_us"][method].values()))
                for row in rows
            ],
            ["Of the process that runs, and of those that it starts."],
        ),
        Table(
            "Start-up, seconds",
            ("", *methods),
            [(_label(row), *(spread(row["start_seconds"][method], 2) for method in methods)) for row in rows],
            ["Libraries of the process that runs are loaded already, but in its first round."],
        ),
    ]


def _label(row: dict[str, Any]) -> str:
    few, many = row["files"]
    return f"{row['format']} {row['width']} x {row['height']}, {few:,} and {many:,} files"
