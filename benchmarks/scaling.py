"""Scaling: rate and memory against the number of files or tar members, threads, and the size and encoding of images.

Every run is a process of its own, since memory is measured. Files are hard links, tar members repeat the same bytes;
all of it is removed afterwards.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.child import run_child
from benchmarks.files import image_paths, link_images, write_sized, write_tar
from benchmarks.report import Lines, Table, spread
from benchmarks.timing import interleaved, ratio, summary
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run"]

_FILES = (1_000, 10_000, 200_000)
_MEMBERS = (1_000, 10_000, 200_000, 1_000_000)
_SIZES = ((32, 32), (64, 64), (256, 256), (375, 500), (1080, 1920), (2160, 3840), (4320, 7680))
_LARGE_IMAGES = 8
"""How many of the largest size are read; of every other size as many as have the same megapixels."""

_ENCODINGS: dict[str, dict[str, Any]] = {
    **{f"quality {quality}, 4:2:0": {"quality": quality} for quality in (50, 75, 85, 90, 95)},
    "quality 90, 4:2:2": {"subsampling": "4:2:2"},
    "quality 90, 4:4:4": {"subsampling": "4:4:4"},
    "quality 90, grey": {"grey": True},
    "quality 90, 4:2:0, progressive": {"progressive": True},
}
_USUAL = "quality 90, 4:2:0"

Work = Callable[[], dict[str, Any]]


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 3) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images, for the threads; everything else uses synthetic ones.
    out : Path
        Not used.
    tiny : bool
        Once over few images.
    rounds : int
        Rounds of the runs that are repeated.
    """
    rounds = 1 if tiny else rounds
    cores = usable_cpus()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        small = write_sized(folder / "small", 48, 48, 5 if tiny else 1000)
        return {
            "cores": cores,
            "rounds": rounds,
            "files": _by_count(folder / "files", small, (20, 40) if tiny else _FILES, link_images, warm=not tiny),
            "members": _by_count(folder / "tar", small, (20, 40) if tiny else _MEMBERS, write_tar, warm=not tiny),
            "threads": _by_threads(folder / "threads", data, cores, 1 if tiny else rounds + 2, tiny),
            "sizes": _by_size(folder / "sizes", ((16, 16), (32, 32)) if tiny else _SIZES, rounds, warm=not tiny),
            "encodings": _by_encoding(
                folder / "encodings",
                dict([*_ENCODINGS.items()][3:5]) if tiny else _ENCODINGS,
                4 if tiny else 800 * max(1, cores // 2),
                rounds,
                warm=not tiny,
            ),
        }


def _by_count(
    folder: Path,
    originals: Sequence[Path],
    counts: Sequence[int],
    write: Callable[[Path, Sequence[Path], int], object],
    *,
    warm: bool,
) -> list[dict[str, Any]]:
    folder.mkdir()
    rows = []
    for count in counts:
        target = folder / f"{count}{'.tar' if write is write_tar else ''}"
        write(target, originals, count)
        if warm and count <= 200_000:
            _read(target, usable_cpus(), count)  # directory entries, inodes and bytes into the cache
        measured = _read(target, usable_cpus(), count)
        rows.append({"files": count, **{key: measured[key] for key in ("seconds", "startup_seconds", "peak_rss_mb")}})
        if target.is_file():
            target.unlink()
    return rows


def _by_threads(folder: Path, data: Path, cores: int, rounds: int, tiny: bool) -> list[dict[str, Any]]:
    paths = image_paths(data)
    count = len(paths) if tiny else max(1000, len(paths))
    link_images(folder, paths, count)
    steps = sorted({1, *(n for n in (2, 4, 8, 16, 32, 64) if n < cores), cores})
    seconds, _ = _rounds({str(n): partial(_read, folder, n, count) for n in steps}, rounds)
    return [
        {
            "threads": int(n),
            "images_per_s": summary([count / t for t in values]),
            "faster_than_one_thread": ratio(seconds["1"], values),
        }
        for n, values in seconds.items()
    ]


def _by_size(folder: Path, sizes: Sequence[tuple[int, int]], rounds: int, *, warm: bool = True) -> list[dict[str, Any]]:
    """The same megapixels of every size: many small files against few large ones."""
    cores = usable_cpus()
    pixels = sizes[-1][0] * sizes[-1][1] * _LARGE_IMAGES * max(1, cores // 4)
    works: dict[str, Work] = {}
    counts = {}
    for height, width in sizes:
        name = f"{width} x {height}"
        counts[name] = count = pixels // (height * width)
        originals = write_sized(folder / "originals", height, width, 10 if height * width < 10_000_000 else 2)
        link_images(folder / name, originals, count)
        works[name] = partial(_read, folder / name, cores, count)
        if warm:
            works[name]()  # into the page cache
    seconds, peaks = _rounds(works, rounds)
    return [
        {
            "height": height,
            "width": width,
            "files": counts[name],
            "images_per_s": summary([counts[name] / t for t in values]),
            "megapixels_per_s": summary([counts[name] * height * width / 1e6 / t for t in values]),
            "peak_rss_mb": peaks[name],
        }
        for (height, width), (name, values) in zip(sizes, seconds.items(), strict=True)
    ]


def _by_encoding(
    folder: Path, encodings: Mapping[str, dict[str, Any]], count: int, rounds: int, *, warm: bool
) -> list[dict[str, Any]]:
    """The same images, 500 x 375, in another quality or with other chroma."""
    works: dict[str, Work] = {}
    sizes = {}
    for i, (name, options) in enumerate(encodings.items()):
        originals = write_sized(folder / f"originals{i}", 375, 500, min(count, 10), **options)
        sizes[name] = sum(path.stat().st_size for path in originals) / len(originals)
        link_images(folder / f"{i}", originals, count)
        works[name] = partial(_read, folder / f"{i}", usable_cpus(), count)
        if warm:
            works[name]()  # into the page cache
    seconds, _ = _rounds(works, rounds)
    return [
        {
            "encoding": name,
            "files": count,
            "bytes_an_image": round(sizes[name]),
            "images_per_s": summary([count / t for t in values]),
            "rate_against_usual": ratio(seconds[_USUAL], values),
        }
        for name, values in seconds.items()
    ]


def _read(place: Path, workers: int, count: int) -> dict[str, Any]:
    """Compute in a process of its own, which must see `count` images."""
    measured = run_child(place, workers)
    if measured["images"] != count:
        raise SystemExit(f"benchmarks scaling: {measured['images']:,} of {count:,} images were measured")
    return measured


def _rounds(works: dict[str, Work], rounds: int) -> tuple[dict[str, list[float]], dict[str, float | None]]:
    """Interleaved rounds: the seconds of each, and the largest peak of memory."""
    peaks: dict[str, float | None] = dict.fromkeys(works)

    def measured(name: str) -> float:
        result = works[name]()
        if result["peak_rss_mb"] is not None:
            peaks[name] = max(peaks[name] or 0.0, result["peak_rss_mb"])
        return float(result["seconds"])

    seconds = interleaved({name: partial(measured, name) for name in works}, rounds, measure=lambda work: work())
    return seconds, peaks


def report(result: dict[str, Any]) -> list[Table | Lines]:
    """Lay the result out; parts that an older result does not have are left out."""
    threads = f"{result['cores']} threads"
    parts: list[Table | Lines] = [_count_table(f"Number of files (48 x 48 JPEGs, {threads})", "files", result["files"])]
    if "members" in result:
        title = f"Number of members of one tar file (48 x 48 JPEGs, {threads})"
        parts.append(_count_table(title, "members", result["members"]))
    parts += [
        Table(
            "Threads",
            ("threads", "images/s", "faster than one thread"),
            [
                (row["threads"], spread(row["images_per_s"]), spread(row["faster_than_one_thread"], 2))
                for row in result["threads"]
            ],
        ),
        Table(
            f"Size of the images ({threads})",
            ("width x height", "files", "images/s", "megapixels/s", "peak RSS, MB"),
            [
                (
                    f"{row['width']} x {row['height']}",
                    f"{row['files']:,}",
                    spread(row["images_per_s"]),
                    spread(row["megapixels_per_s"], 1),
                    _mb(row.get("peak_rss_mb")),
                )
                for row in result["sizes"]
            ],
        ),
    ]
    if "encodings" in result:
        first = result["encodings"][0]
        parts.append(
            Table(
                f"Encoding: {first['files']:,} JPEGs of 500 x 375 ({threads})",
                ("", "bytes an image", "images/s", f"rate against {_USUAL}"),
                [
                    (
                        row["encoding"],
                        f"{row['bytes_an_image']:,}",
                        spread(row["images_per_s"]),
                        spread(row["rate_against_usual"], 2),
                    )
                    for row in result["encodings"]
                ],
            )
        )
    curve = [(row["height"] * row["width"] / 1e6, row["megapixels_per_s"]["median"]) for row in result["sizes"]]
    parts.append(
        Lines("Size of the images", "megapixels an image", "megapixels/s", {"gpustats": curve}, log_x=True),
    )
    return parts


def _count_table(title: str, what: str, rows: list[dict[str, Any]]) -> Table:
    first = rows[0]
    return Table(
        title,
        (what, "seconds", "images/s", "peak RSS, MB", f"more than with {first['files']:,}, MB"),
        [
            (
                f"{row['files']:,}",
                f"{row['seconds']:.2f}",
                f"{row['files'] / row['seconds']:,.0f}",
                _mb(row["peak_rss_mb"]),
                "" if row["peak_rss_mb"] is None else f"{row['peak_rss_mb'] - first['peak_rss_mb']:.1f}",
            )
            for row in rows
        ],
        [
            f"A process takes {statistics.median(row['startup_seconds'] for row in rows):.1f} s more to start "
            "(loading of the compiled code); that is not in the seconds, here and below."
        ],
    )


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
