"""Formats, depths and sizes: gpustats end to end beside OpenCV, Pillow, torchvision.io and decoders alone, on the same
threads.

Every set holds the same natural-looking images. In a round each of the methods goes over a set once; the ratios are
taken within a round.
"""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpustats
from benchmarks.files import image_paths, link_images
from benchmarks.format_cases import ALONE, CASES, IMAGECODECS, OPENCV, PILLOW, TIFFFILE, TORCHVISION, Case, others
from benchmarks.report import Table
from benchmarks.report import spread as shown
from benchmarks.timing import interleaved, ratio, summary
from gpustats.datasets.demo import natural_image
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run", "write"]

_SIZES = ((32, 32), (375, 500), (1500, 2000), (4320, 7680))
_MEGAPIXELS = 30  # a set
_ORIGINALS = 12
_LARGE, _ROUNDS_OF_LARGE = 10_000_000, 3
"""Pixels of an image from which there are fewer rounds, which take long."""

OURS, ONE = "gpustats", "gpustats, one thread"
_ORDER = (OURS, ALONE, IMAGECODECS, TIFFFILE, OPENCV, PILLOW, TORCHVISION, ONE)

_Work = tuple[Callable[[], Any], Callable[[Any], Any]]


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
    rounds = 1 if tiny else rounds
    rows = []
    skipped: dict[str, str] = {}
    cases = []
    for case in CASES.values():
        if case.needs and not importlib.util.find_spec(case.needs):
            skipped[case.name] = f"{case.needs} is not installed"
        else:
            cases.append(case)
    for height, width in _SIZES[:1] if tiny else _SIZES:  # images of one size are made once, and written in each format
        files = 4 if tiny else min(max(_MEGAPIXELS * 1_000_000 // (height * width), workers), 4000)
        of_size = min(rounds, _ROUNDS_OF_LARGE) if height * width > _LARGE else rounds
        for case in cases:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary, "images")
                write(folder, case, height, width, files)
                works = _works(folder, case, workers)
                skipped |= {f"{case.name} with {name}": reason for name, reason in _check(case, works).items()}
                times = interleaved({key: work for key, (work, _) in works.items()}, of_size)
            rows.append(
                {
                    "format": case.name,
                    "width": width,
                    "height": height,
                    "files": files,
                    "images_per_s": {key: summary([files / t for t in seconds]) for key, seconds in times.items()},
                    "faster_than": {key: ratio(seconds, times[OURS]) for key, seconds in times.items()},
                }
            )
    names = list(CASES)
    rows.sort(key=lambda row: names.index(row["format"]))
    return {"threads": workers, "rounds": rounds, "rows": rows, "skipped": skipped}


@functools.lru_cache(maxsize=1)
def _images(height: int, width: int, count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(height)
    return [natural_image(rng, height, width) for _ in range(count)]


def write(folder: Path, case: Case, height: int, width: int, files: int) -> None:
    """Make a set of files of one format and size, many names of a few images."""
    rng = np.random.default_rng(width)
    originals = folder.with_name("originals")
    originals.mkdir(exist_ok=True)
    paths = []
    count = min(_ORIGINALS, files, max(_MEGAPIXELS * 1_000_000 // (height * width), 1))
    for i, image in enumerate(_images(height, width, count)):
        paths.append(originals / f"{width}x{height}_{i}.{case.ending}")
        paths[-1].write_bytes(case.write(case.pixels(image, rng)))
    link_images(folder, paths, files)


def _works(folder: Path, case: Case, workers: int) -> dict[str, _Work]:
    """Return all methods, see `others`."""

    def ours(workers: int) -> _Work:
        mode = "RGB" if case.bits == 8 else "native"
        options: dict[str, Any] = {"mode": mode, "device": "cpu", "workers": workers, "progress": False}
        return partial(gpustats.compute, folder, **options), lambda stats: stats.mean

    return {OURS: ours(workers), ONE: ours(1), **others(case, image_paths(folder), workers)}


def _check(case: Case, works: dict[str, _Work]) -> dict[str, str]:
    """Run every method once, which loads its libraries; end where one gives another mean.

    What cannot read these files is taken out of the works, and returned with the reason.
    """
    expected = works[OURS][0]().mean
    failed = {}
    for name, (work, mean) in list(works.items()):
        try:
            found = mean(work())
        except Exception as error:  # a peer without the format is named, and not measured
            if name in (OURS, ONE, ALONE):
                raise
            del works[name]
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0][:100]
            continue
        if found is not None and np.abs(found - expected).max() > 5e-4:
            raise SystemExit(f"benchmarks formats: {name}: another mean for {case.name}; nothing is timed")
    return failed


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    measured = {name for row in result["rows"] for name in row["images_per_s"]}
    names = [name for name in _ORDER if name in measured]

    def cells(row: dict[str, Any], what: str, names: list[str], *digits: int) -> list[str]:
        return [shown(row[what][name], *digits) if name in row[what] else "" for name in names]

    return [
        Table(
            f"Formats and sizes, {result['threads']} threads, images/s",
            ("", *names),
            [(_label(row), *cells(row, "images_per_s", names)) for row in result["rows"]],
            [
                f"Median (smallest–largest) of {result['rounds']} interleaved rounds, of the largest images "  # noqa: RUF001
                f"of {min(result['rounds'], _ROUNDS_OF_LARGE)}.",
                *(f"Not measured: {name}: {reason}." for name, reason in result.get("skipped", {}).items()),
            ],
        ),
        Table(
            "How many times as fast gpustats is",
            ("", *names[1:]),
            [(_label(row), *cells(row, "faster_than", names[1:], 2)) for row in result["rows"]],
            [
                "Ratios within a round. A decoder alone reads and decodes the files and throws the pixels away: the "
                "first is the fastest that releases the interpreter lock. Images of 16 bits are measured as they are "
                'stored, with mode="native".'
            ],
        ),
    ]


def _label(row: dict[str, Any]) -> str:
    return f"{row['format']} {row['width']} x {row['height']}, {row['files']} files"
