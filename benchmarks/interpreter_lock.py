"""How long Python holds the interpreter lock for an image: what decides how many cores the threads keep busy.

Measured in CPU time, which other programs on the machine do not disturb:

- *Bound*: 1x1 JPEGs on one thread. Everything an image costs is left, Python, system calls and libjpeg's set-up, and
  the decoding and summing of pixels is not; the lock cannot be held longer than this takes.
- *Estimate*: the bound less the CPU time of the bare calls that let go of the lock while they work (open, fstat, read,
  close, the two of simplejpeg, the reduction), made in a plain loop over the same files.

And by sampling: `py-spy record --gil` counts samples in which some thread of the process holds the lock. A thread that
the system suspends while it holds the lock counts too, so this is only good on an idle machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

import gpustats
from benchmarks.files import image_paths, link_images, write_sized
from benchmarks.report import Table, spread
from benchmarks.timing import interleaved, summary
from gpustats.limits.machine import usable_cpus
from gpustats.sources import open_source
from gpustats.statistics.sums import moments_u8

__all__ = ["report", "run", "samples_with_lock"]


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
        works: dict[str, Callable[[], Any]] = {}
        for name, (path, _) in sets.items():
            works[name] = partial(_compute, path, 1)
            works[f"{name} bare"] = partial(_bare_calls, image_paths(path))
        times = interleaved(works, rounds, measure=_cpu_seconds)
        cpu_time = {
            name: {
                "whole": summary([1e6 * t / n for t in times[name]]),
                "bare_calls": summary([1e6 * t / n for t in times[f"{name} bare"]]),
                "estimate": summary(
                    [1e6 * (t - c) / n for t, c in zip(times[name], times[f"{name} bare"], strict=True)]
                ),
            }
            for name, (_, n) in sets.items()
        }
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
        "cpu_time_us": cpu_time,
        "sampler": sampler,
        "images_per_s_by_threads": threads,
    }


def _compute(path: Path, workers: int) -> None:
    gpustats.compute(path, device="cpu", workers=workers, progress=False)


def _cpu_seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _timed(path: Path, workers: int) -> float:
    started = time.perf_counter()
    _compute(path, workers)
    return time.perf_counter() - started


def _bare_calls(paths: list[str]) -> None:
    """The calls of an image that let go of the lock, one after the other, with nothing around them."""
    buffer: Any = np.empty(1 << 22, np.uint8)
    sums, limits = np.empty((2, 3), np.uint64), np.empty((2, 3), np.uint8)
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        size = os.fstat(descriptor).st_size
        data = os.read(descriptor, size + 1)
        os.close(descriptor)
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        if height * width * 3 > buffer.size:
            buffer = np.empty(height * width * 3, np.uint8)
        pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=buffer[: height * width * 3])
        moments_u8(pixels.reshape(-1), 3, sums[0], sums[1], limits[0], limits[1])


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
    repeats = 1 if tiny else max(1, 5_000 // images)
    with tempfile.TemporaryDirectory() as temporary:
        script = Path(temporary, "sampled.py")
        script.write_text(_SAMPLED, encoding="utf-8")
        command = [sys.executable, str(script), str(path), str(usable_cpus()), str(repeats)]
        held = samples_with_lock(command, r"\bmeasured\b|\bwork \(")
    if "skipped" in held:
        return held
    seconds = float(re.findall(r"measured_seconds (\S+)", held.pop("output"))[0])
    return {
        "images": images * repeats,
        "seconds": seconds,
        **held,
        "us_an_image": 1e6 * held["samples_with_lock"] / held["samples_a_second"] / (images * repeats),
    }


def samples_with_lock(command: Sequence[str], pattern: str, rate: int = 500) -> dict[str, Any]:
    """Run a Python program under py-spy; count the samples in which a thread holds the interpreter lock.

    Parameters
    ----------
    command : sequence of str
        The program, beginning with its interpreter; run in the root of this checkout.
    pattern : str
        A regular expression; only stacks in which it is found count.
    rate : int
        Samples a second.

    Returns
    -------
    dict
        ``samples_a_second``, ``samples_with_lock`` and ``output``, what the program printed; or ``skipped`` with the
        reason why nothing was measured.
    """
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        return {"skipped": "py-spy is not installed"}
    with tempfile.TemporaryDirectory() as temporary:
        stacks = Path(temporary, "stacks.txt")
        spying = [program, "record", "--gil", "--nonblocking", "--rate", str(rate), "--format", "raw"]
        done = subprocess.run(
            [*spying, "--output", str(stacks), "--", *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).resolve().parents[1],
        )
        if done.returncode or not stacks.exists():
            return {"skipped": f"py-spy: {(done.stderr.strip().splitlines() or ['failed'])[-1][:200]}"}
        held = sum(
            int(line.rpartition(" ")[2])
            for line in stacks.read_text(encoding="utf-8").splitlines()
            if re.search(pattern, line)
        )
    return {"samples_a_second": rate, "samples_with_lock": held, "output": done.stdout}


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    sampled = result["sampler"].get("us_an_image")
    rows: list[Sequence[Any]] = [
        (
            name,
            *(spread(values[key], 1) for key in ("whole", "bare_calls", "estimate")),
            f"{sampled:.1f}" if sampled is not None and name == "data" else "",
        )
        for name, values in result["cpu_time_us"].items()
    ]
    notes = [
        f"Median (smallest–largest) of {result['rounds']} rounds. All CPU time of a 1x1 image is an upper bound "  # noqa: RUF001
        "of what the lock can be held for, whatever the size of an image; the difference to the bare calls is an "
        "estimate, good on small images only: on large ones it is a small difference of large numbers.",
    ]
    if sampled is not None:
        notes.append(
            "The sampler also counts threads that the system suspended while they held the lock: it says nothing where "
            "the load below is above the number of cores."
        )
    if "skipped" in result["sampler"]:
        notes.append(f"Sampler: {result['sampler']['skipped']}.")
    workers = list(next(iter(result["images_per_s_by_threads"].values())))
    return [
        Table(
            "Interpreter lock, µs an image",
            ("images", "all CPU time (bound)", "bare calls", "difference (estimate)", "sampler"),
            rows,
            notes,
        ),
        Table(
            "Small images in threads, images/s",
            ("images", *(f"{n} thread{'s' * (n != '1')}" for n in workers)),
            [(name, *(spread(by[n]) for n in workers)) for name, by in result["images_per_s_by_threads"].items()],
        ),
    ]
