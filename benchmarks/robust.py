"""What robustness costs and holds: ``python -m benchmarks.robust [bad] [kills] [overhead] [isolate] [memory]``.

Each part prints one JSON object. Files are synthetic (`gpustats.datasets.demo`) or, with ``--images FOLDER``, hard
links to real JPEGs. Rates are medians of interleaved runs with the files in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import gpustats
from benchmarks.report import Table, spread
from benchmarks.timing import interleaved, ratio, summary
from gpustats.datasets.demo import natural_image, write_images
from gpustats.limits.machine import usable_cpus
from tests import badfiles

Run = Callable[[], gpustats.Stats]


def photographs(folder: Path, count: int, images: Path | None) -> None:
    """Fill `folder` with `count` JPEGs in ten subfolders: links to `images` or to 200 synthetic ones."""
    if images is None:
        images = folder.parent / "synthetic"
        if not images.exists():
            write_images(images, 200)
    files = sorted(path for path in images.rglob("*") if path.is_file())
    for i in range(count):
        target = folder / f"class_{i % 10}" / f"{i:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(files[i % len(files)], target)
        except OSError:  # another drive
            shutil.copyfile(files[i % len(files)], target)


def compute(folder: Path, **options: Any) -> gpustats.Stats:
    """Compute on the CPU without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gpustats.ImagesFailedWarning)
        return gpustats.compute(folder, device="cpu", progress=False, **options)


def timed(runs: dict[str, Run], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the seconds of each of `runs` in interleaved rounds: by the clock on the wall, and of CPU time."""
    cpu: dict[str, list[float]] = {name: [] for name in runs}

    def both(run: Callable[[], Any]) -> float:
        name = next(name for name, other in runs.items() if other is run)
        started, used = time.perf_counter(), time.process_time()
        run()
        cpu[name].append(time.process_time() - used)
        return time.perf_counter() - started

    return interleaved(runs, rounds, measure=both), cpu


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Four digits are more than these runs can tell."""
    return {name: round(value, 4) for name, value in values.items()}


def bad(work: Path, count: int, rounds: int, images: Path | None) -> dict[str, Any]:
    """A folder with one file in ten bad in every way against the same folder without them."""
    clean, dirty = work / "clean", work / "dirty"
    photographs(clean, count * 9 // 10, images)
    shutil.copytree(clean, dirty, copy_function=os.link)
    kinds = badfiles.everything()
    reasons = {}
    for i in range(count - count * 9 // 10):
        name = list(kinds)[i % len(kinds)]
        data, reason = kinds[name]
        path = dirty / f"class_{i % 10}" / f"{i:05d}_bad_{name}"
        path.write_bytes(data)
        reasons[path.relative_to(dirty).as_posix()] = reason
    expected, found = compute(clean), compute(dirty)
    seconds, _ = timed({"clean": lambda: compute(clean), "dirty": lambda: compute(dirty)}, rounds)
    files = {"clean": count * 9 // 10, "dirty": count}
    return {
        "images": count,
        "bad": len(reasons),
        "kinds_of_bad": len(kinds),
        "integers_of_the_good_ones_exact": found.totals == expected.totals,
        "wrong_reasons": [str(f) for f in found.failures if reasons.get(f.key) != f.reason],
        "bad_ones_listed": len(found.failures) == len(reasons),
        "files_a_second": {name: rounded(summary([files[name] / t for t in seconds[name]])) for name in seconds},
        "good_images_a_second_ratio": rounded(ratio(seconds["clean"], seconds["dirty"])),
    }


_RUN = """
import sys, gpustats
left = int(sys.argv[3])  # images that earlier runs have stored
def tell(images):
    global left
    if left >= 0 and left < images:
        print("reads", flush=True)
    left -= images
gpustats.compute(sys.argv[1], device="cpu", checkpoint=sys.argv[2], progress=tell)
"""


def kills(work: Path, count: int, rounds: int, images: Path | None) -> dict[str, Any]:
    """One run, killed `rounds` times and continued each time: one kill in five while it starts, the others later."""
    folder, checkpoint = work / "photos", work / "run.gpustats"
    photographs(folder, count, images)
    for name, (data, _) in badfiles.damaged().items():
        (folder / name).write_bytes(data)
    started = time.perf_counter()
    expected = compute(folder)
    whole = time.perf_counter() - started
    dice = random.Random(1)
    done, killed = [0], 0
    for turn in range(rounds):
        command = [sys.executable, "-W", "ignore", "-c", _RUN, str(folder), str(checkpoint), str(done[-1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            if turn % 5 == 4:
                time.sleep(dice.uniform(0, 1))
            else:
                process.stdout.readline()
                time.sleep(dice.uniform(0, 2 * whole / rounds))
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += process.returncode == -signal.SIGKILL
        probe = work / "probe"  # a copy, so that looking changes nothing
        for suffix in ("", "-wal"):
            source = Path(f"{checkpoint}{suffix}")
            target = Path(f"{probe}{suffix}")
            target.unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, target)
        done.append(_stored(probe))
    resumed = compute(folder, checkpoint=checkpoint)
    return {
        "files": count + len(badfiles.damaged()),
        "seconds_of_a_whole_run": round(whole, 3),
        "kills": killed,
        "stored_after_each_kill": done[1:],
        "identical_integers": resumed.totals == expected.totals,
        "identical_failures": resumed.failures == expected.failures,
        "reused_at_the_end": resumed.runs[0]["checkpoint"]["images_reused"],
    }


def _stored(path: Path) -> int:
    import sqlite3
    from contextlib import closing

    try:
        with closing(sqlite3.connect(path)) as database:
            total, distinct = database.execute("SELECT count(*), count(DISTINCT key) FROM images").fetchone()
    except sqlite3.OperationalError:
        return 0  # killed before the file was made
    assert total == distinct
    return int(total)


def overhead(work: Path, count: int, rounds: int, images: Path | None) -> dict[str, Any]:
    """A run with a checkpoint against one without."""
    folder = work / "photos"
    photographs(folder, count, images)
    compute(folder)

    def kept(changed: str) -> gpustats.Stats:
        checkpoint = work / f"{changed}.gpustats"
        checkpoint.unlink(missing_ok=True)
        return compute(folder, checkpoint=checkpoint, changed=changed)

    runs: dict[str, Run] = {
        "without": lambda: compute(folder),
        "with": lambda: kept("mtime"),
        "with_hash": lambda: kept("hash"),
    }
    seconds, cpu = timed(runs, rounds)
    size = (work / "mtime.gpustats").stat().st_size
    started = time.perf_counter()
    compute(folder, checkpoint=work / "hash.gpustats", changed="hash")
    return {
        "images": count,
        "rounds": rounds,
        "seconds": {name: rounded(summary(values)) for name, values in seconds.items()},
        "with_to_without": rounded(ratio(seconds["with"], seconds["without"])),
        "with_to_without_in_cpu_time": rounded(ratio(cpu["with"], cpu["without"])),
        "with_hash_to_without": rounded(ratio(seconds["with_hash"], seconds["without"])),
        "bytes_an_image": round(size / count, 1),
        "second_run_by_hash_seconds": round(time.perf_counter() - started, 3),
    }


def isolate(work: Path, count: int, rounds: int, images: Path | None) -> dict[str, Any]:
    """Decoding in processes against threads."""
    folder = work / "photos"
    photographs(folder, count, images)
    expected = compute(folder)
    same = compute(folder, isolate=True).totals == expected.totals
    seconds, _ = timed({"threads": lambda: compute(folder), "processes": lambda: compute(folder, isolate=True)}, rounds)
    empty = work / "one"
    photographs(empty, 1, images)
    starts, _ = timed({"threads": lambda: compute(empty), "processes": lambda: compute(empty, isolate=True)}, rounds)
    start = statistics.median(starts["processes"]) - statistics.median(starts["threads"])
    running = [value - start for value in seconds["processes"]]
    return {
        "images": count,
        "identical_integers": same,
        "seconds": {name: rounded(summary(values)) for name, values in seconds.items()},
        "processes_to_threads": rounded(ratio(seconds["processes"], seconds["threads"])),
        "start_seconds": round(start, 3),
        "processes_to_threads_once_started": rounded(ratio(running, seconds["threads"])),
    }


_PEAK = """
import json, sys, warnings
import gpustats
from benchmarks.child import rss_mb
warnings.simplefilter("ignore")
stats = gpustats.compute(sys.argv[1], device="cpu", memory=sys.argv[2], workers=int(sys.argv[3]), progress=False)
failures = stats.failures
print(json.dumps([rss_mb("VmHWM"), stats.n_images, dict(failures.counts), [str(f) for f in failures]]))
"""


def memory(work: Path, count: int, rounds: int, images: Path | None) -> dict[str, Any]:
    """Peak memory on bombs and images of 100 megapixels, for several limits and numbers of threads."""
    folder = work / "huge"
    folder.mkdir()
    for name, (data, _) in badfiles.bombs().items():
        (folder / name).write_bytes(data)
    tile = natural_image(np.random.default_rng(0), 1000, 1000)
    huge = Image.fromarray(np.tile(tile, (10, 10, 1)))
    files: list[tuple[str, dict[str, Any]]] = [
        ("a.jpg", {}),
        ("b.jpg", {"progressive": True}),
        ("c.jpg", {}),
        ("d.png", {"compress_level": 1}),
        ("e.tif", {"compression": "tiff_lzw"}),
        ("f.bmp", {}),
        ("g.jpg", {"quality": 95, "subsampling": 0}),
    ]
    for name, options in files:
        huge.save(folder / name, **options)
    photographs(folder / "small", count, images)
    found = []
    for limit, workers in (("2GB", 2), ("2GB", 8), ("4GB", 8), ("1GB", 4)):
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, str(folder), limit, str(workers)],
            capture_output=True,
            check=True,
            cwd=Path(__file__).resolve().parents[1],
        )
        peak_mib, n_images, reasons, failures = json.loads(done.stdout)
        peak = peak_mib * (1 << 20)
        found.append(
            {
                "memory": limit,
                "workers": workers,
                "peak_mb": round(peak / 1e6),
                "under": peak < float(limit[0]) * 1e9,
                "images": n_images,
                "failed": reasons,
                "huge_ones_refused": [f.partition(":")[0] for f in failures if "memory limit" in f],
            }
        )
    return {"bombs": len(badfiles.bombs()), "of_100_megapixels": len(files), "runs": found}


def main() -> None:
    """Run the parts named on the command line, all by default."""
    parts = {part.__name__: part for part in (bad, kills, overhead, isolate, memory)}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robust", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *parts], default=[])
    parser.add_argument("--images", type=Path, help="a folder of JPEGs to link to instead of synthetic ones")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5, help="of a comparison; kills are 25 unless given")
    options = parser.parse_args()
    for name in options.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            rounds = 25 if name == "kills" and options.rounds == 5 else options.rounds
            result = parts[name](Path(folder), options.count, rounds, options.images)
        print(json.dumps({"part": name, "cores": usable_cpus(), **result}, indent=1), flush=True)


def run(data: Path, out: Path, *, tiny: bool = False, count: int = 2000, rounds: int = 5) -> dict[str, Any]:
    """Run every part as a suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images to link to.
    out : Path
        Not used.
    tiny : bool
        Once over few images, without the images of 100 megapixels.
    count, rounds : int
        Images and rounds of a comparison. Kills are 25, of a run over ten times the images; what a checkpoint costs is
        less than the rounds differ, and gets three times the rounds.
    """
    parts = {
        bad: (count, rounds),
        kills: (10 * count, 25),
        overhead: (count, 3 * rounds),
        isolate: (count, rounds),
        memory: (count, rounds),
    }
    if tiny:
        parts = dict.fromkeys((bad, kills, overhead, isolate), (40, 1))
    result: dict[str, Any] = {"cores": usable_cpus()}
    for part, (images, repeated) in parts.items():
        with tempfile.TemporaryDirectory() as folder:
            result[part.__name__] = part(Path(folder), images, repeated, data)
    return result


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out: each part as it is, and its lists of runs as tables of their own."""
    tables = []
    for name, part in result.items():
        if not isinstance(part, dict):
            continue
        title = str(globals()[name].__doc__).partition("\n")[0]
        tables.append(Table(title, ("", ""), list(_rows(part))))
        for key, value in part.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                columns = [column.replace("_", " ") for column in value[0]]
                cells = [tuple(_shown(cell) for cell in run.values()) for run in value]
                tables.append(Table(f"{title} ({key})", columns, cells))
    return tables


def _rows(part: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in part.items():
        name = before + key.replace("_", " ")
        if isinstance(value, dict) and "median" not in value:
            yield from _rows(value, f"{name}: ")
        elif not (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield name, _shown(value)


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and "median" in value:
        return spread(value, 3 if value["median"] < 100 else 0)
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value


if __name__ == "__main__":
    main()
