"""One run of `gpustats.compute` in a process of its own: its rate and its memory, as one line of JSON.

python -m benchmarks.child FOLDER WORKERS [SECONDS BETWEEN SAMPLES]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import gpustats

__all__ = ["rss_mb", "run_child"]


def run_child(folder: Path, workers: int, every: float = 0.0) -> dict[str, Any]:
    """Compute the statistics of a folder in a new process.

    Returns
    -------
    dict
        ``images``, ``seconds``, ``startup_seconds`` (of a first image, which loads the compiled code; not in the
        seconds), ``peak_rss_mb`` and ``curve``: every so often the seconds, images done and RSS in MB.
    """
    command = [sys.executable, "-m", "benchmarks.child", str(folder), str(workers), str(every)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).resolve().parents[1]
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def rss_mb(field: str) -> float | None:
    """Return the resident memory of this process now (VmRSS) or at most so far (VmHWM), in MiB.

    Where there is no /proc the peak is that of `getrusage`, which on Linux would include the parent's at the start.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    if field == "VmHWM" and os.name == "posix":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
    return None


def _main(folder: str, workers: int, every: float) -> None:
    done = 0
    curve: list[tuple[float, int, float | None]] = []
    finished = threading.Event()

    def advance(images: int) -> None:
        nonlocal done
        done += images

    def watch() -> None:
        last = 0.0
        while not finished.wait(every):
            now = time.perf_counter() - started
            curve.append((round(now, 2), done, rss_mb("VmRSS")))
            if now - last >= 10:
                last = now
                print(f"{done:,} images, {done / now:,.0f} images/s", file=sys.stderr, flush=True)

    started = time.perf_counter()
    gpustats.compute(np.zeros((8, 8, 3), np.uint8), device="cpu", progress=False)
    startup = time.perf_counter() - started
    started = time.perf_counter()
    if every:
        threading.Thread(target=watch, daemon=True).start()
    stats = gpustats.compute(folder, device="cpu", workers=workers, progress=advance)
    seconds = time.perf_counter() - started
    finished.set()
    if every and not curve:
        curve.append((round(seconds, 2), done, rss_mb("VmRSS")))
    print(
        json.dumps(
            {
                "images": stats.n_images,
                "seconds": seconds,
                "startup_seconds": startup,
                "peak_rss_mb": rss_mb("VmHWM"),
                "curve": curve,
            }
        )
    )


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
