"""Resize and crop: gpustats with a recipe beside torchvision's transforms in a loop, on the same files, interleaved."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.cpu import spaced
from benchmarks.files import image_paths
from benchmarks.process import Process
from benchmarks.report import Table, spread
from benchmarks.timing import interleaved, ratio, summary
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run"]

OURS, PLAIN, LOOP = "gpustats_recipe", "gpustats_cpu", "torchvision_recipe"
_FILES = 300
_SAME = 1e-6
"""torch adds in float32."""


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 9) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images.
    out : Path
        Not used.
    tiny : bool
        One round over the files as they are.
    rounds : int
        Interleaved rounds.
    """
    rounds = 1 if tiny else rounds
    files = spaced(image_paths(data), _FILES)
    cores = usable_cpus()
    skipped = {name: reason for name in (LOOP,) if (reason := peers.missing(name))}
    with ExitStack() as stack:
        running = {
            name: (stack.enter_context(Process(name, sys.executable)), peers.settings(name, cores)[-1])
            for name in (OURS, PLAIN, LOOP)
            if name not in skipped
        }
        answers = {name: process.run(files, workers) for name, (process, workers) in running.items()}
        for name, answer in answers.items():
            if "error" in answer:
                raise SystemExit(f"benchmarks recipe: {name}: {answer['error']}")
        if LOOP in answers:
            ours, theirs = answers[OURS], answers[LOOP]
            pairs = zip(ours["mean"] + ours["std"], theirs["mean"] + theirs["std"], strict=True)
            if max(abs(a - b) for a, b in pairs) > _SAME:
                raise SystemExit(f"benchmarks recipe: {ours} is not {theirs}; nothing is timed")
        works: dict[str, Any] = {
            name: lambda process=process, workers=workers: process.seconds(files, workers)
            for name, (process, workers) in running.items()
        }
        times = interleaved(works, rounds, measure=lambda work: float(work()))
    rows = {
        name: {
            "name": peers.load(name).NAME,
            "images_per_s": summary([len(files) / t for t in seconds]),
            "gpustats_is_faster_by": ratio(seconds, times[OURS]),
        }
        for name, seconds in times.items()
    }
    return {"cores": cores, "files": len(files), "rounds": rounds, "rows": rows, "skipped": skipped}


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    return [
        Table(
            f"Resize 256, crop 224: {result['files']} images, {result['cores']} threads",
            ("", "images/s", "gpustats with resize and crop is faster by"),
            [
                (row["name"], spread(row["images_per_s"]), spread(row["gpustats_is_faster_by"], 2))
                for row in result["rows"].values()
            ],
            [
                f"Median (smallest–largest) of {result['rounds']} interleaved rounds; both give the same mean and std.",  # noqa: RUF001
                *(f"Not measured: {name}: {reason}." for name, reason in result["skipped"].items()),
            ],
        )
    ]
