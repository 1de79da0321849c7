"""Scaling: rate and memory against the number of files, the number of threads and the size of the images.

Every run is a process of its own, since memory is measured; the files are hard links, removed afterwards.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.child import run_child
from benchmarks.files import link_images, write_sized
from benchmarks.report import Lines, Table, spread
from benchmarks.timing import interleaved, ratio, summary
from gpustats.resources import usable_cpus
from gpustats.sources import open_source

__all__ = ["report", "run"]

_SIZES = ((32, 32, 20_000), (64, 64, 20_000), (256, 256, 4_000), (375, 500, 1_500), (1080, 1920, 120), (2160, 3840, 30))


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 3) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images, for the threads; files and sizes use synthetic ones.
    out : Path
        Not used.
    tiny : bool
        Once over few images.
    rounds : int
        Rounds of the runs that are repeated.
    """
    rounds = 1 if tiny else rounds
    cores = usable_cpus()
    counts = (20, 40) if tiny else (1_000, 10_000, 200_000)
    sizes = ((32, 32, 20),) if tiny else _SIZES
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        originals = write_sized(folder / "small", 48, 48, 1000 if not tiny else 5)
        by_count = []
        for count in counts:
            target = folder / f"files{count}"
            link_images(target, originals, count)
            if not tiny:
                run_child(target, cores)  # directory entries and inodes into the cache
            run_ = run_child(target, cores)
            by_count.append({"files": count, **{k: run_[k] for k in ("seconds", "peak_rss_mb")}})
        real = folder / "data"
        paths = [s[2] for s in open_source(data).samples() if isinstance(s, tuple) and isinstance(s[2], str)]
        link_images(real, paths, len(paths) if tiny else max(1000, len(paths)))
        files = sum(1 for path in real.rglob("*") if path.is_file())
        steps = sorted({1, *(n for n in (2, 4, 8, 16, 32, 64) if n < cores), cores})
        times = interleaved(
            {str(n): partial(_seconds, real, n) for n in steps},
            rounds if tiny else rounds + 2,
            measure=lambda work: float(work()),
        )
        by_threads = [
            {
                "threads": int(n),
                "images_per_s": summary([files / t for t in values]),
                "faster_than_one_thread": ratio(times["1"], values),
            }
            for n, values in times.items()
        ]
        by_size = []
        for height, width, count in sizes:
            target = folder / f"size{height}x{width}"
            link_images(target, write_sized(folder / "originals", height, width, min(count, 10)), count)
            seconds = [run_child(target, cores)["seconds"] for _ in range(rounds)]
            by_size.append(
                {
                    "height": height,
                    "width": width,
                    "files": count,
                    "images_per_s": summary([count / t for t in seconds]),
                    "megapixels_per_s": summary([count * height * width / 1e6 / t for t in seconds]),
                }
            )
    return {"cores": cores, "rounds": rounds, "files": by_count, "threads": by_threads, "sizes": by_size}


def _seconds(folder: Path, workers: int) -> float:
    return float(run_child(folder, workers)["seconds"])


def report(result: dict[str, Any]) -> list[Table | Lines]:
    """Lay the result out."""
    first = result["files"][0]
    return [
        Table(
            f"Number of files (48 x 48 JPEGs, {result['cores']} threads)",
            ("files", "seconds", "images/s", "peak RSS, MB", f"more than with {first['files']:,}, MB"),
            [
                (
                    f"{row['files']:,}",
                    f"{row['seconds']:.2f}",
                    f"{row['files'] / row['seconds']:,.0f}",
                    "" if row["peak_rss_mb"] is None else f"{row['peak_rss_mb']:.1f}",
                    "" if row["peak_rss_mb"] is None else f"{row['peak_rss_mb'] - first['peak_rss_mb']:.1f}",
                )
                for row in result["files"]
            ],
            ["Start-up of the engine and loading of the compiled code are in the seconds."],
        ),
        Table(
            "Threads",
            ("threads", "images/s", "faster than one thread"),
            [
                (row["threads"], spread(row["images_per_s"]), spread(row["faster_than_one_thread"], 2))
                for row in result["threads"]
            ],
        ),
        Table(
            f"Size of the images ({result['cores']} threads)",
            ("width x height", "files", "images/s", "megapixels/s"),
            [
                (
                    f"{row['width']} x {row['height']}",
                    f"{row['files']:,}",
                    spread(row["images_per_s"]),
                    spread(row["megapixels_per_s"], 1),
                )
                for row in result["sizes"]
            ],
        ),
        Lines(
            "Size of the images",
            "megapixels an image",
            "megapixels/s",
            {
                "gpustats": [
                    (row["height"] * row["width"] / 1e6, row["megapixels_per_s"]["median"]) for row in result["sizes"]
                ]
            },
            log_x=True,
        ),
    ]
