"""ImageMagick: `identify` with the mean and standard deviation of each channel, several processes at a time."""

from __future__ import annotations

import math
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers import Answer

NAME = "ImageMagick identify"
NEEDS = ("program:magick|identify",)
_FORMAT = "%w %h " + " ".join(f"%[fx:{what}.{c}]" for what in ("mean", "standard_deviation") for c in "rgb") + "\n"


def run(paths: list[str], workers: int) -> Answer:
    """One call for 32 files, as many calls at a time as there are workers."""
    program = [shutil.which("magick") or "magick", "identify"] if shutil.which("magick") else ["identify"]

    def some(part: list[str]) -> list[list[float]]:
        command = [*program, "-colorspace", "sRGB", "-format", _FORMAT, *part]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [[float(x) for x in line.split()] for line in done.stdout.splitlines()]

    parts = [paths[i : i + 32] for i in range(0, len(paths), 32)]
    with ThreadPoolExecutor(workers) as threads:
        rows = [row for part in threads.map(some, parts) for row in part]
    count = sum(row[0] * row[1] for row in rows)
    mean = [sum(row[0] * row[1] * row[2 + c] for row in rows) / count for c in range(3)]
    square = [sum(row[0] * row[1] * (row[2 + c] ** 2 + row[5 + c] ** 2) for row in rows) / count for c in range(3)]
    return Answer(mean, [math.sqrt(q - m * m) for m, q in zip(mean, square, strict=True)], "pooled")
