"""A million files, really read: the images of a folder under a million names, with rate and memory over time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.child import run_child
from benchmarks.files import image_paths, link_images
from benchmarks.report import Lines, Table
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run", "settled_rss"]


def run(data: Path, out: Path, *, tiny: bool = False, files: int = 1_000_000) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images.
    out : Path
        The links are made in here where the images lie on the same file system, and are removed afterwards.
    tiny : bool
        30 files instead.
    files : int
        How many names to make.
    """
    files = 30 if tiny else files
    paths = image_paths(data)
    with tempfile.TemporaryDirectory(dir=out) as temporary:
        link_images(Path(temporary, "files"), paths, files)
        result = run_child(Path(temporary, "files"), usable_cpus(), every=0.05 if tiny else max(0.1, files / 200_000))
    if result["images"] != files:
        raise SystemExit(f"benchmarks million: {result['images']:,} of {files:,} images were measured")
    return {"distinct_images": len(paths), "threads": usable_cpus(), **result}


def settled_rss(result: dict[str, Any]) -> tuple[float, float]:
    """Return the smallest and largest RSS, in MiB, after a tenth of the time; zeros where none was taken."""
    tail = [rss for seconds, _, rss in result["curve"] if rss is not None and seconds > result["seconds"] / 10] or [0.0]
    return min(tail), max(tail)


def report(result: dict[str, Any]) -> list[Table | Lines]:
    """Lay the result out."""
    low, high = settled_rss(result)
    return [
        Table(
            f"{result['images']:,} files ({result['distinct_images']:,} images, hard-linked), "
            f"{result['threads']} threads",
            ("", ""),
            [
                ("seconds", f"{result['seconds']:,.1f}"),
                ("images/s", f"{result['images'] / result['seconds']:,.0f}"),
                ("peak RSS, MB", f"{result['peak_rss_mb']:,.0f}"),
                ("RSS after a tenth of the time, smallest and largest, MB", f"{low:,.0f} to {high:,.0f}"),
            ],
        ),
        Lines(
            "Memory while the files are read",
            "images done, thousands",
            "RSS, MB",
            {"gpustats": [(images / 1e3, rss) for _, images, rss in result["curve"] if rss is not None]},
        ),
    ]
