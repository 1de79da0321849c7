"""How long Python holds the interpreter lock for an image: what decides how many cores the threads keep busy.

Three methods, since none is both exact and undisturbed:

- *Bound*: 1x1 JPEGs on one thread. Everything an image costs is left, Python, system calls and libjpeg's set-up, and
  the decoding and summing of pixels is not; the lock cannot be held longer than this takes.
- *Spinner*: a thread of pure Python counts beside one worker. The time in which it did not count, less its time in
  the run queue (Linux' schedstat), is what others held the lock, with every hand-over of the lock (a wake-up of a
  thread, several an image) on top. What a count takes is measured in the same round with the worker idle.
- *Sampler*: `py-spy record --gil` counts samples in which some thread of the process holds the lock. A thread that
  the system suspends while it holds the lock counts too, so this is only good on an idle machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpustats
from benchmarks.files import link_images, write_sized
from benchmarks.report import Table, spread
from benchmarks.timing import interleaved, summary
from gpustats.resources import usable_cpus
from gpustats.sources import open_source

__all__ = ["report", "run"]

_SWITCH_SECONDS = 1e-6


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 7) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images.
    out : Path
        Not used.
    tiny : bool
        Once over few images.
    rounds : int
        Rounds of each method.
    """
    rounds = 1 if tiny else rounds
    count = 40 if tiny else 5_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sets: dict[str, tuple[Path, int]] = {}
        for size in (1, 32):
            originals = write_sized(folder / "originals", size, size, 10)
            link_images(folder / f"{size}x{size}", originals, count)
            sets[f"{size}x{size}"] = (folder / f"{size}x{size}", count)
        sets["data"] = (data, sum(isinstance(sample, tuple) for sample in open_source(data).samples()))
        for path, _ in sets.values():
            _compute(path, 1)
        bound = {
            name: summary([1e6 * t / sets[name][1] for t in times])
            for name, times in interleaved(
                {name: lambda path=path: _compute(path, 1) for name, (path, _) in sets.items()}, rounds
            ).items()
        }
        spinner = _spinner(sets, rounds) if hasattr(os, "sched_getaffinity") else {"skipped": "needs Linux' schedstat"}
        threads = {
            name: {
                str(workers): summary([n / _timed(path, workers) for _ in range(rounds)])
                for workers in sorted({1, 2, usable_cpus()})
            }
            for name, (path, n) in sets.items()
        }
        sampler = _sampler(sets["32x32"][0] if tiny else data, sets["32x32" if tiny else "data"][1], tiny)
    return {
        "rounds": rounds,
        "whole_us": bound,
        "spinner_us": spinner,
        "sampler": sampler,
        "images_per_s_by_threads": threads,
    }


def _compute(path: Path, workers: int) -> None:
    gpustats.compute(path, device="cpu", workers=workers, progress=False)


def _timed(path: Path, workers: int) -> float:
    started = time.perf_counter()
    _compute(path, workers)
    return time.perf_counter() - started


def _spinner(sets: dict[str, tuple[Path, int]], rounds: int) -> dict[str, Any]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        works: dict[str, Callable[[], Any]] = {
            name: lambda path=path: _compute(path, 1) for name, (path, _) in sets.items()
        }
        measured: dict[str, list[float]] = {name: [] for name in (*works, "nothing")}
        for _ in range(rounds):
            wall, counted = _counted(lambda: time.sleep(0.2))
            cost = wall / counted
            for name, work in (*works.items(), ("nothing", lambda: time.sleep(0.2))):
                wall, counted = _counted(work)
                measured[name].append(wall - counted * cost)
    finally:
        sys.setswitchinterval(before)
    idle = summary(measured.pop("nothing"))
    return {
        "idle_ms": {key: value * 1e3 for key, value in idle.items()},
        **{name: summary([1e6 * t / sets[name][1] for t in times]) for name, times in measured.items()},
    }


def _counted(work: Callable[[], Any]) -> tuple[float, int]:
    """Run `work` beside a counting thread; return the seconds in which that thread could run, and its count."""
    stop = threading.Event()
    ready = threading.Event()
    result: list[tuple[float, int]] = []

    def spin() -> None:
        count = 0
        queued, begin = _queued(), time.perf_counter()
        ready.set()
        while not stop.is_set():
            count += 1
        result.append((time.perf_counter() - begin - (_queued() - queued), count))

    thread = threading.Thread(target=spin)
    thread.start()
    ready.wait()
    try:
        work()
    finally:
        stop.set()
        thread.join()
    return result[0]


def _queued() -> float:
    """Seconds that the calling thread was ready to run and did not."""
    with open(f"/proc/self/task/{threading.get_native_id()}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[1]) / 1e9


_SAMPLED = """
import sys, time, gpustats
path, workers, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
gpustats.compute(path, device="cpu", workers=workers, progress=False)
def measured():
    started = time.perf_counter()
    for _ in range(repeats):
        gpustats.compute(path, device="cpu", workers=workers, progress=False)
    return time.perf_counter() - started
print("measured_seconds", measured())
"""


def _sampler(path: Path, images: int, tiny: bool) -> dict[str, Any]:
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        return {"skipped": "py-spy is not installed"}
    repeats = 1 if tiny else max(1, 5_000 // images)
    rate = 500
    with tempfile.TemporaryDirectory() as temporary:
        script, stacks = Path(temporary, "sampled.py"), Path(temporary, "stacks.txt")
        script.write_text(_SAMPLED, encoding="utf-8")
        command = [program, "record", "--gil", "--nonblocking", "--rate", str(rate), "--format", "raw"]
        command += ["--output", str(stacks), "--", sys.executable, str(script), str(path), str(usable_cpus())]
        done = subprocess.run([*command, str(repeats)], capture_output=True, text=True, check=False)
        if done.returncode or not stacks.exists():
            return {"skipped": f"py-spy: {(done.stderr.strip().splitlines() or ['failed'])[-1][:200]}"}
        seconds = float(re.findall(r"measured_seconds (\S+)", done.stdout)[0])
        held = sum(
            int(line.rpartition(" ")[2])
            for line in stacks.read_text(encoding="utf-8").splitlines()
            if re.search(r"\bmeasured\b|\bwork \(", line)
        )
    return {
        "images": images * repeats,
        "seconds": seconds,
        "samples_a_second": rate,
        "samples_with_lock": held,
        "us_an_image": 1e6 * held / rate / (images * repeats),
    }


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    rows = []
    for name, values in result["whole_us"].items():
        spinner = result["spinner_us"].get(name)
        sampled = result["sampler"].get("us_an_image") if name == "data" else None
        rows.append(
            (
                name,
                spread(values, 1),
                spread(spinner, 1) if spinner else "",
                f"{sampled:.1f}" if sampled is not None else "",
            )
        )
    notes = [
        f"Median (smallest–largest) of {result['rounds']} rounds. On 1x1 images the first column is an upper bound of "  # noqa: RUF001
        "what the lock can be held for; the spinner's figure contains the wake-ups of threads that hand the lock over.",
    ]
    notes += [
        f"{n}: {result[k]['skipped']}."
        for n, k in (("Spinner", "spinner_us"), ("Sampler", "sampler"))
        if "skipped" in result[k]
    ]
    workers = list(next(iter(result["images_per_s_by_threads"].values())))
    return [
        Table(
            "Interpreter lock, µs an image",
            ("images", "all that an image costs, one thread", "spinner", "sampler"),
            rows,
            notes,
        ),
        Table(
            "Small images in threads, images/s",
            ("images", *(f"{n} thread{'s' * (n != '1')}" for n in workers)),
            [(name, *(spread(by[n]) for n in workers)) for name, by in result["images_per_s_by_threads"].items()],
        ),
    ]
