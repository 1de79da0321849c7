"""The reduction alone: arrays in memory, one thread, beside NumPy, OpenCV, a naive loop and the bandwidth of a read.

The first row is the image that the README speaks of, 500 x 375 x 3 of uint8; the others go from 1 megapixel to 1
gigapixel, as far as memory allows.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

import gpustats
from benchmarks.report import Bars, Table, spread
from benchmarks.timing import interleaved, ratio, seconds, summary
from gpustats.limits.machine import usable_memory
from gpustats.statistics import ALWAYS, STATISTICS, for_kind
from gpustats.statistics.base import Kind
from gpustats.statistics.binning import Binning
from gpustats.statistics.builder import RowBuilder
from gpustats.statistics.compiled import ready
from gpustats.statistics.original import Whole
from gpustats.statistics.totals import Totals

__all__ = ["methods", "report", "run"]

Array = NDArray[Any]
Method = Callable[[Array], Any]

NEEDED_BYTES = {"gpustats": 1, "OpenCV meanStdDev": 1, "numba, naive loop": 1, "read alone": 1, "NumPy mean + std": 10}
"""What a method takes for one byte of the array: `numpy.std` makes float64 copies of it."""

WRONG = 5e-4
"""A relative error above this is wrong in the third decimal; such a method is named and not timed."""


@njit(nogil=True, cache=True)
def _naive(pixels: Array, mean: Array, std: Array) -> None:  # pragma: no cover - compiled
    """What one writes first: a float64 loop over pixels and channels."""
    channels = pixels.shape[1]
    for c in range(channels):
        mean[c] = 0.0
        std[c] = 0.0
    for i in range(pixels.shape[0]):
        for c in range(channels):
            x = float(pixels[i, c])
            mean[c] += x
            std[c] += x * x
    for c in range(channels):
        mean[c] /= pixels.shape[0]
        std[c] = np.sqrt(std[c] / pixels.shape[0] - mean[c] * mean[c])


@njit(nogil=True, cache=True)
def _read(words: Array) -> Any:  # pragma: no cover - compiled
    """STREAM-like: sum of 64-bit words, the least that one can do with every byte; eight sums vectorise."""
    a = np.zeros(8, np.uint64)
    for i in range(words.size // 8):
        for j in range(8):
            a[j] += words[8 * i + j]
    return a.sum()


def _kernels(pixels: Array) -> dict[str, Callable[[], Any]]:
    """Return the calls that the engine makes for such pixels, one for each statistic, with their outputs."""
    measured = "float64" if pixels.dtype.kind == "f" else pixels.dtype.name
    kind = Kind(pixels.shape[-1], measured)
    flat = pixels.reshape(-1)
    calls: dict[str, Callable[[], Any]] = {}
    for name, classes in STATISTICS.items():
        if not any(statistic.problem(kind) is None and not statistic.of_original for statistic in classes):
            continue
        (statistic,) = for_kind((name,), kind, Binning(0.0, 1.0, 256) if kind.is_float else None)
        columns = {key: np.empty((1, *column.shape), column.dtype) for key, column in statistic.columns().items()}
        if statistic.whole:
            call = partial(statistic.measure, Whole(pixels, None, None))
        else:  # alone, but for what it takes from the moments, which are measured anyway
            given = None if name == ALWAYS else statistic.given((ALWAYS,))
            kernel = statistic.kernel() if given is None else given.kernel
            call = partial(ready(kernel), flat, kind.channels, 0, 0, *columns.values())
        calls[f"gpustats, {name} alone"] = call
    return calls


def _moments(pixels: Array) -> tuple[Array, Array]:
    """Return mean and std as a run has them: a row, folded and read."""
    builder = RowBuilder(1, (ALWAYS,))
    builder.add("", "", pixels)
    totals = Totals()
    totals.fold(builder.rows())
    stats = gpustats.Stats(totals, scale=Fraction(totals.kind.max_value or 1) if totals.kind else Fraction(1))
    return stats.mean, stats.std


def methods(pixels: Array) -> dict[str, Method]:
    """Return the methods that can do this array: functions of it that return mean and std a channel."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    found: dict[str, Method] = {}
    found["gpustats"] = _moments
    found["NumPy mean + std"] = lambda x: (x.mean(axis=(0, 1)), x.std(axis=(0, 1)))

    def naive(x: Array) -> Any:
        mean, std = np.empty(x.shape[-1]), np.empty(x.shape[-1])
        _naive(flat, mean, std)
        return mean, std

    found["numba, naive loop"] = naive
    try:
        import cv2
    except ImportError:
        pass
    else:
        cv2.setNumThreads(1)

        def opencv(x: Array) -> Any:
            mean, std = cv2.meanStdDev(x)
            return mean[:, 0], std[:, 0]

        if pixels.shape[-1] <= 4:
            found["OpenCV meanStdDev"] = opencv
    return found


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 9, largest: int = 1 << 30) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data, out : Path
        Not used: the arrays are random.
    tiny : bool
        Once over small arrays.
    rounds : int
        Interleaved rounds.
    largest : int
        Bytes of the largest array.
    """
    if tiny:
        rounds, cases = 1, [("uint8", 50, 37, 3), ("uint16", 20, 30, 1), ("uint8", 9, 8, 13)]
    else:
        cases = [("uint8", 500, 375, 3)]
        for dtype in ("uint8", "uint16", "float32"):
            cases += [(dtype, 1000, 1000, channels) for channels in (1, 2, 3, 4, 13)]
            cases += [(dtype, 4000, 4000, 3)]
        cases += [("uint8", 16000, 16000, 3), ("uint8", 32000, 32000, 1)]
    rng = np.random.default_rng(0)
    rows = []
    for dtype, height, width, channels in cases:
        size = height * width * channels * np.dtype(dtype).itemsize
        if size > min(largest, usable_memory() // 4):
            continue
        few = min(rounds, 3) if size > 100 << 20 else rounds
        rows.append(_measure(rng, dtype, (height, width, channels), few))
    return {"rounds": rounds, "threads": 1, "largest_bytes": largest, "rows": rows}


def _measure(rng: np.random.Generator, dtype: str, shape: tuple[int, int, int], rounds: int) -> dict[str, Any]:
    pixels: Array
    if dtype == "float32":
        pixels = rng.random(shape, np.float32)
    else:
        pixels = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    found = methods(pixels)
    room = usable_memory() // 2
    skipped = {n: "not enough memory" for n in found if pixels.nbytes * NEEDED_BYTES.get(n, 1) > room}
    expected = pixels.mean(axis=(0, 1), dtype=np.float64) if pixels.nbytes < 1 << 28 else None
    errors = {}
    works: dict[str, Callable[[], Any]] = {}
    for name, method in found.items():
        if name in skipped:
            continue
        mean, std = method(pixels)
        if expected is not None:
            deviation = pixels.std(axis=(0, 1), dtype=np.float64)
            off = max(np.abs(mean - expected).max(), np.abs(std - deviation).max()) / float(expected.max())
            errors[name] = float(off)
            if off > WRONG:
                skipped[name] = f"wrong by {off:.1e} of the mean"
                continue
        works[name] = partial(method, pixels)
    works |= _kernels(pixels)
    words = pixels.reshape(-1)[: pixels.size * pixels.itemsize // 64 * 64 // pixels.itemsize].view(np.uint64)
    works["read alone"] = lambda: _read(words)
    for work in works.values():
        work()  # compiled, and the array in the caches that hold it
    repeats = {name: max(1, int(0.02 / max(seconds(work), 1e-7))) if rounds > 1 else 1 for name, work in works.items()}

    def batch(name: str) -> Callable[[], float]:
        def measured() -> float:
            def again() -> None:
                for _ in range(repeats[name]):
                    works[name]()

            return seconds(again) / repeats[name]

        return measured

    times = interleaved({name: batch(name) for name in works}, rounds, measure=lambda work: float(work()))
    megapixels = shape[0] * shape[1] / 1e6
    return {
        "dtype": dtype,
        "shape": list(shape),
        "relative_error": errors,
        "skipped": skipped,
        "megapixels_per_s": {name: summary([megapixels / t for t in values]) for name, values in times.items()},
        "gigabytes_per_s": {name: summary([pixels.nbytes / t / 1e9 for t in values]) for name, values in times.items()},
        "gpustats_is_faster_by": {
            name: ratio(values, times["gpustats"])
            for name, values in times.items()
            if "gpustats" in times and name != "gpustats"
        },
    }


def report(result: dict[str, Any]) -> list[Table | Bars]:
    """Lay the result out."""
    names = list(dict.fromkeys(name for row in result["rows"] for name in row["megapixels_per_s"]))
    first = result["rows"][0]
    rates = sorted(first["megapixels_per_s"].items(), key=lambda item: -item[1]["median"])

    def label(row: dict[str, Any]) -> str:
        return " × ".join(str(n) for n in row["shape"]) + f" {row['dtype']}"  # noqa: RUF001

    return [
        Table(
            "Reduction alone, megapixels/s on one thread",
            ("array", *names),
            [
                (
                    label(row),
                    *(
                        spread(row["megapixels_per_s"][name]) if name in row["megapixels_per_s"] else "–"  # noqa: RUF001
                        for name in names
                    ),
                )
                for row in result["rows"]
            ],
            [
                f"Median (smallest–largest) of {result['rounds']} interleaved rounds. A pixel has all its channels. "  # noqa: RUF001
                "gpustats gives sum, sum of squares, min and max as exact integers; 'read alone' adds up 64-bit "
                "words and stands for the bandwidth of the memory or cache that holds the array.",
                *(
                    f"Not measured on {label(row)}: {name}: {reason}."
                    for row in result["rows"]
                    for name, reason in row["skipped"].items()
                ),
            ],
        ),
        Table(
            "gpustats is faster by",
            ("array", *(name for name in names if name != "gpustats")),
            [
                (
                    label(row),
                    *(
                        spread(row["gpustats_is_faster_by"][name], 2) if name in row["gpustats_is_faster_by"] else ""
                        for name in names
                        if name != "gpustats"
                    ),
                )
                for row in result["rows"]
                if row["gpustats_is_faster_by"]
            ],
        ),
        Bars(
            f"{label(first)}, one thread",
            "megapixels/s (median, range)",
            [(name, *(values[k] for k in ("median", "min", "max"))) for name, values in rates],
            ["gpustats"],
        ),
    ]
