"""The limit as libjpeg-turbo's own benchmark has it: `tjbench` decodes each JPEG from memory, without Python.

The rate is tjbench's own, so neither its start nor reading the file counts. It is that of the libjpeg-turbo which the
system installed; simplejpeg brings another version.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

NAME = "limit: tjbench, decode from memory"
NEEDS = ("program:tjbench",)

_OPTIONS = ("-rgb", "-accuratedct", "-nowrite", "-quiet", "-benchtime", "0.01", "-warmup", "0")


def run(paths: list[str], workers: int) -> float:
    """As many processes at a time as there are workers, which share the sum of the seconds."""
    with ThreadPoolExecutor(workers) as threads:
        return sum(threads.map(_decode_seconds, paths)) / workers


def _decode_seconds(path: str) -> float:
    """The last line of the table ends in width, height, two columns that do not apply, and megapixels/s."""
    done = subprocess.run(["tjbench", path, *_OPTIONS], capture_output=True, text=True, check=True)
    *_, width, height, _, _, rate = done.stdout.split()
    return int(width) * int(height) / (float(rate) * 1e6)
