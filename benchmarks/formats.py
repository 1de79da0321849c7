"""Formats and sizes: gpustats end to end beside OpenCV, Pillow and the fastest decoder alone, on the same threads.

Every set holds the same natural-looking images. In a round each of the methods goes over a set once; the ratios are
taken within a round.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
from PIL import Image

import gpustats
from benchmarks.files import image_paths, link_images
from benchmarks.peers.limits import read, spread
from benchmarks.report import Table
from benchmarks.report import spread as shown
from benchmarks.timing import interleaved, ratio, summary
from gpustats.datasets.demo import natural_image
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run", "write"]

_FORMATS: dict[str, tuple[dict[str, Any], Callable[[bytes], Any]]] = {
    "JPEG": ({"quality": 90}, lambda data: simplejpeg.decode_jpeg(data, "RGB")),
    "PNG": ({}, imagecodecs.spng_decode),
    "WebP": ({"quality": 80}, imagecodecs.webp_decode),
    "TIFF": ({"compression": "tiff_lzw"}, imagecodecs.tiff_decode),
}
"""How the files are written, and the fastest decoder that releases the interpreter lock."""

_SIZES = ((32, 32), (375, 500), (1500, 2000))
_MEGAPIXELS = 30  # a set
_ORIGINALS = 12

OURS, ONE, OPENCV, PILLOW, ALONE = "gpustats", "gpustats, one thread", "OpenCV", "Pillow", "decoder alone"


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 9) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data, out : Path
        Not used: the images are made here, and nothing but the result is left.
    tiny : bool
        One round over a few small images.
    rounds : int
        Rounds of each set.
    """
    workers = usable_cpus()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in _FORMATS:
            for height, width in _SIZES[:1] if tiny else _SIZES:
                folder = Path(temporary, f"{name}-{width}x{height}")
                files = 4 if tiny else min(max(_MEGAPIXELS * 1_000_000 // (height * width), 2 * workers), 4000)
                write(folder, name, height, width, files)
                works = _works(folder, name, workers)
                _check(folder, works)
                times = interleaved({key: work for key, (work, _) in works.items()}, 1 if tiny else rounds)
                rows.append(
                    {
                        "format": name,
                        "width": width,
                        "height": height,
                        "files": files,
                        "images_per_s": {key: summary([files / t for t in seconds]) for key, seconds in times.items()},
                        "faster_than": {key: ratio(seconds, times[OURS]) for key, seconds in times.items()},
                    }
                )
    return {"threads": workers, "rounds": 1 if tiny else rounds, "rows": rows}


def write(folder: Path, name: str, height: int, width: int, files: int) -> None:
    """Make a set of files of one format and size, many names of a few images."""
    rng = np.random.default_rng(height)
    originals = folder.with_name("originals")
    originals.mkdir(exist_ok=True)
    paths = []
    for i in range(min(_ORIGINALS, files)):
        file = io.BytesIO()
        Image.fromarray(natural_image(rng, height, width)).save(file, name, **_FORMATS[name][0])
        paths.append(originals / f"{width}x{height}_{i}.{name.lower()}")
        paths[-1].write_bytes(file.getvalue())
    link_images(folder, paths, files)


def _works(folder: Path, name: str, workers: int) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Return the methods: what to measure, and how to get the mean of each channel from its answer, on [0, 1]."""
    paths = image_paths(folder)
    decode = _FORMATS[name][1]
    works: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        OURS: (partial(_compute, folder, workers), lambda stats: stats.mean),
        ONE: (partial(_compute, folder, 1), lambda stats: stats.mean),
        PILLOW: (partial(_pillow, paths, workers), lambda mean: mean),
        ALONE: (partial(spread, paths, workers, lambda: lambda path: decode(read(path))), lambda _: None),
    }
    if importlib.util.find_spec("cv2"):
        from benchmarks.peers import opencv

        works[OPENCV] = (partial(opencv.run, paths, workers), lambda answer: np.array(list(answer.mean)))
    return works


def _compute(folder: Path, workers: int) -> Any:
    return gpustats.compute(folder, device="cpu", workers=workers, progress=False)


def _pillow(paths: list[str], workers: int) -> Any:
    def one(path: str) -> Any:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        return len(pixels), pixels.sum(axis=0, dtype=np.uint64)

    with ThreadPoolExecutor(workers) as threads:
        found = list(threads.map(one, paths))
    return sum(total for _, total in found) / (255 * sum(count for count, _ in found))


def _check(folder: Path, works: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]) -> None:
    """Run every method once, which loads its libraries, and end where one gives another mean."""
    expected = works[OURS][0]().mean
    for name, (work, mean) in works.items():
        found = mean(work())
        if found is not None and np.abs(found - expected).max() > 5e-4:
            raise SystemExit(f"benchmarks formats: {name}: another mean for {folder.name}; nothing is timed")


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    names = [name for name in (OURS, ALONE, OPENCV, PILLOW, ONE) if name in result["rows"][0]["images_per_s"]]
    return [
        Table(
            f"Formats and sizes, {result['threads']} threads, images/s",
            ("", *names),
            [(_label(row), *(shown(row["images_per_s"][name]) for name in names)) for row in result["rows"]],
            [f"Median (smallest–largest) of {result['rounds']} interleaved rounds."],  # noqa: RUF001
        ),
        Table(
            "How many times as fast gpustats is",
            ("", *names[1:]),
            [(_label(row), *(shown(row["faster_than"][name], 2) for name in names[1:])) for row in result["rows"]],
            ["Ratios within a round. The decoder alone reads and decodes the files and throws the pixels away."],
        ),
    ]


def _label(row: dict[str, Any]) -> str:
    return f"{row['format']} {row['width']} x {row['height']}, {row['files']} files"
