"""The host side of the GPU engine alone: how many images a second it could feed and account for with a GPU of no cost.

The engine is the real one, called through `gpustats.compute(device="gpu")`; `benchmarks.stub_gpu` says what is taken
out of it. The files are hard links on disk, in the page cache. Every run is a process of its own, warmed up on a few
images. The interpreter lock is what bounds this rate whatever the number of cores:

- *Bound*: CPU time of all Python threads; the lock cannot be held longer than this takes.
- *Estimate*: the bound less the CPU time of open, fstat, read and close, which let go of the lock, in a plain loop over
  the same files.
- *Sampler*: py-spy, as in `benchmarks.interpreter_lock`.

With `--compare CHECKOUT` a second version of gpustats is measured by the same code, in turn with this one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.files import JPEG_SUFFIXES, image_paths, link_images
from benchmarks.interpreter_lock import samples_with_lock
from benchmarks.machine import commit_of
from benchmarks.report import Table, spread
from benchmarks.timing import summary
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run"]

_HERE = Path(__file__).resolve().parents[1]
_MODES = ("files", "files, checkpoint")
_WARM_UP = 20
_SAMPLED_STACKS = r"\bmeasured_(thread|main) \("


def run(
    data: Path, out: Path, *, tiny: bool = False, files: int = 20_000, rounds: int = 5, compare: Path | None = None
) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of JPEGs.
    out : Path
        The links are made in here where the images lie on the same file system, and are removed afterwards.
    tiny : bool
        Once over few images.
    files : int
        How many names to make.
    rounds : int
        Runs of each kind, in turn.
    compare : Path, optional
        Another checkout of gpustats.
    """
    if tiny:
        files, rounds = 60, 1
    paths = image_paths(data, JPEG_SUFFIXES)
    if not paths:
        raise SystemExit(f"benchmarks host: no JPEGs in {data}")
    checkouts = {"this": _HERE, **({"compared": compare.resolve()} if compare else {})}
    with tempfile.TemporaryDirectory(dir=out) as temporary:
        folder, warm_up = Path(temporary, "files"), Path(temporary, "few")
        link_images(folder, paths, files)
        link_images(warm_up, paths, min(_WARM_UP, files))
        linked = sorted(str(path) for path in folder.rglob("*.*"))
        bare = [1e6 * _bare_calls(linked) / files for _ in range(rounds + 1)][1:]  # the first fills the page cache
        runs: dict[str, dict[str, list[dict[str, Any]]]] = {name: {mode: [] for mode in _MODES} for name in checkouts}
        works = [(name, mode) for name in checkouts for mode in _MODES]
        for index in range(rounds):
            first = index % len(works)
            for name, mode in works[first:] + works[:first]:
                checkpoint = Path(temporary, "checkpoint") if mode != "files" else None
                runs[name][mode].append(_child(checkouts[name], folder, warm_up, checkpoint, files))
                if checkpoint is not None:
                    for path in checkpoint.parent.glob("checkpoint*"):
                        path.unlink()
        sampled = {name: _samples(checkout, folder, warm_up, files, rounds) for name, checkout in checkouts.items()}
    return {
        "files": files,
        "distinct_images": len(paths),
        "rounds": rounds,
        "cores": usable_cpus(),
        "bare_calls_us": summary(bare),
        "versions": {
            name: {
                "commit": commit_of(checkouts[name]),
                "modes": {mode: _summed_up(measured, statistics.median(bare)) for mode, measured in modes.items()},
                "sampler": sampled[name],
            }
            for name, modes in runs.items()
        },
    }


def _command(checkout: Path, folder: Path, warm_up: Path, checkpoint: Path | None) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.host_child", str(checkout), str(folder), str(warm_up)]
    return [*command, str(checkpoint)] if checkpoint else command


def _child(checkout: Path, folder: Path, warm_up: Path, checkpoint: Path | None, files: int) -> dict[str, Any]:
    done = subprocess.run(
        _command(checkout, folder, warm_up, checkpoint), stdout=subprocess.PIPE, text=True, check=True, cwd=_HERE
    )
    result: dict[str, Any] = json.loads(done.stdout)
    if result["images"] != files:
        raise SystemExit(f"benchmarks host: {result['images']:,} of {files:,} images were measured")
    if result["batches_retried"]:
        raise SystemExit(f"benchmarks host: {result['batches_retried']:,} batches went to the CPU, so no rate is shown")
    return result


def _bare_calls(paths: Sequence[str]) -> float:
    """CPU seconds of the calls for reading a file that let go of the lock, with nothing around them."""
    started = time.process_time()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.read(descriptor, os.fstat(descriptor).st_size + 1)
        os.close(descriptor)
    return time.process_time() - started


def _summed_up(runs: Sequence[Mapping[str, Any]], bare_us: float) -> dict[str, Any]:
    """Return medians and ranges of the runs of one kind; times in microseconds of CPU an image."""

    def an_image(seconds: Sequence[float]) -> dict[str, float]:
        return summary([1e6 * value / run["images"] for value, run in zip(seconds, runs, strict=True)])

    bounds = [sum(user + system for user, system in run["threads"].values()) for run in runs]
    names = sorted({name for run in runs for name in run["threads"]})
    bound = an_image(bounds)
    return {
        "images_per_s": summary([run["images"] / run["seconds"] for run in runs]),
        "user_us": an_image([run["user_seconds"] for run in runs]),
        "system_us": an_image([run["system_seconds"] for run in runs]),
        "lock_bound_us": bound,
        "lock_estimate_us": {name: value - bare_us for name, value in bound.items()},
        "threads_us": {name: an_image([sum(run["threads"].get(name, (0.0, 0.0))) for run in runs]) for name in names},
        "waits_s": runs[-1]["waits"],
        "images_by_decoder": runs[-1]["by_decoder"],
    }


def _samples(checkout: Path, folder: Path, warm_up: Path, images: int, rounds: int) -> dict[str, Any]:
    """Sample runs of each kind; return the summary of what was found, or why nothing was."""
    found: dict[str, Any] = {}
    for mode in _MODES:
        checkpoint = folder.parent / "checkpoint" if mode != "files" else None
        runs = []
        for _ in range(rounds):
            run = _sampled(_command(checkout, folder, warm_up, checkpoint), images)
            if "skipped" in run:
                return run
            runs.append(run["us_an_image"])
            for path in folder.parent.glob("checkpoint*"):
                path.unlink()
        found[mode] = summary(runs)
    return found


def _sampled(command: Sequence[str], images: int) -> dict[str, Any]:
    held = samples_with_lock(command, _SAMPLED_STACKS)
    held.pop("output", None)
    if "skipped" not in held:
        held["us_an_image"] = 1e6 * held["samples_with_lock"] / held["samples_a_second"] / images
    return held


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    rows, threads = [], []
    names = [name for v in result["versions"].values() for mode in v["modes"].values() for name in mode["threads_us"]]
    names = list(dict.fromkeys(names))
    for name, version in result["versions"].items():
        label = version["commit"] or name
        for mode, measured in version["modes"].items():
            sampled = version["sampler"].get(mode)
            rows.append(
                (
                    label,
                    mode,
                    spread(measured["images_per_s"]),
                    *(
                        spread(measured[key], 1)
                        for key in ("user_us", "system_us", "lock_bound_us", "lock_estimate_us")
                    ),
                    spread(sampled, 1) if sampled else "",
                )
            )
            by_thread = measured["threads_us"]
            threads.append((label, mode, *(spread(by_thread[n], 1) if n in by_thread else "" for n in names)))
    notes = [
        f"Median (smallest–largest) of {result['rounds']} rounds over {result['files']:,} hard links of "  # noqa: RUF001
        f"{result['distinct_images']:,} files on {result['cores']} cores; decode and reduction are stubs. The lock is "
        "held no longer than the CPU time of all Python threads (bound); the estimate is the bound less open, fstat, "
        f"read and close, which take {spread(result['bare_calls_us'], 1)} µs.",
        *(
            f"Sampler: {version['sampler']['skipped']}."
            for version in result["versions"].values()
            if "skipped" in version["sampler"]
        ),
    ]
    return [
        Table(
            "Host side of the GPU engine",
            ("commit", "source", "images/s", "user µs", "system µs", "lock, bound µs", "estimate µs", "sampler µs"),
            rows,
            notes,
        ),
        Table("CPU time by Python thread, µs an image", ("commit", "source", *names), threads),
    ]
