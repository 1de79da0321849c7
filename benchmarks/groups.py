"""A million tiny images in 100,000 groups, with a row for each in a table: rate, memory, and whether all of it adds up.

The images are written once as an array file. One process computes them with ``group_by`` and ``per_image``; then the
table is read in pieces, and its rows are added up, in all and by group, and compared with the result; DuckDB, where it
is installed, adds them up as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import gpustats
from benchmarks.child import rss_mb
from benchmarks.million import settled_rss
from benchmarks.report import Lines, Table
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run"]

_SIDE = 8


def run(data: Path, out: Path, *, tiny: bool = False, images: int = 1_000_000, groups: int = 100_000) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        Not used: the images are made.
    out : Path
        The array and the table are made in here, and are removed afterwards.
    tiny : bool
        600 images in 60 groups instead.
    images, groups : int
        How many.
    """
    images, groups = (600, 60) if tiny else (images, groups)
    with tempfile.TemporaryDirectory(dir=out) as temporary:
        array = np.lib.format.open_memmap(
            Path(temporary, "images.npy"), "w+", np.uint8, shape=(images, _SIDE, _SIDE, 3)
        )
        rng = np.random.default_rng(0)
        for start in range(0, images, 10_000):
            part = array[start : start + 10_000]
            part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
        array.flush()
        command = [sys.executable, "-m", "benchmarks.groups", temporary, str(groups), str(0.02 if tiny else 1.0)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).resolve().parents[1]
        )
    result: dict[str, Any] = json.loads(done.stdout)
    if not (result["images"] == images and result["groups"] == groups and result["adds_up"]):
        raise SystemExit(f"benchmarks groups: the table or the groups do not add up: {result}")
    return {"threads": usable_cpus(), **result}


def _main(folder: str, groups: int, every: float) -> None:
    done = 0
    curve: list[tuple[float, int, float | None]] = []
    finished = threading.Event()

    def advance(images: int) -> None:
        nonlocal done
        done += images

    def watch() -> None:
        while not finished.wait(every):
            curve.append((round(time.perf_counter() - started, 2), done, rss_mb("RssAnon")))

    table = Path(folder, "images.parquet")
    gpustats.compute(np.zeros((_SIDE, _SIDE, 3), np.uint8), device="cpu", progress=False)
    started = time.perf_counter()
    watcher = threading.Thread(target=watch)
    watcher.start()
    stats = gpustats.compute(
        Path(folder, "images.npy"),
        device="cpu",
        progress=advance,
        statistics=["sharpness"],
        per_image=table,
        group_by=lambda key: f"group {int(key.rpartition('/')[2]) % groups:06d}",
    )
    seconds = time.perf_counter() - started
    finished.set()
    watcher.join()
    result = {
        "images": stats.n_images,
        "groups": len(stats.groups),
        "seconds": round(seconds, 2),
        "peak_rss_mb": rss_mb("VmHWM"),
        "curve": curve,
        "table_mb": round(table.stat().st_size / 2**20, 1),
        "columns": len(_columns(table)),
        "adds_up": _adds_up(stats, table),
        "duckdb": _in_duckdb(stats, table),
    }
    print(json.dumps(result))


def _columns(table: Path) -> list[str]:
    import pyarrow.parquet as pq

    return list(pq.read_schema(table).names)


def _in_duckdb(stats: gpustats.Stats, table: Path) -> str | None:
    """Return DuckDB's version where its sums over the table are the totals; None where it is not installed.

    Raises
    ------
    SystemExit
        Where they are others.
    """
    try:
        import duckdb
    except ImportError:
        return None
    sums = ", ".join(f"sum(round(255 * mean_{c} * n_{c})::hugeint)" for c in "RGB")
    counts = 'count(*), count(distinct "group"), sum(height * width), count(sharpness)'
    (found,) = duckdb.sql(f"select {counts}, {sums} from read_parquet(?)", params=[str(table)]).fetchall()
    expected = (stats.n_images, len(stats.groups), stats.totals.pixels, stats.n_images, *stats.totals["moments"]["sum"])
    if tuple(map(int, found)) != expected:
        raise SystemExit(f"benchmarks groups: DuckDB found {found}, the result has {expected}")
    return str(duckdb.__version__)


def _adds_up(stats: gpustats.Stats, table: Path) -> bool:
    """Return whether the rows of the table give the integers of the result, and the images and sums of each group."""
    import pyarrow.parquet as pq

    moments, total, count = stats.totals["moments"], [0, 0, 0], 0
    by_group: dict[str, list[int]] = {}
    for batch in pq.ParquetFile(table).iter_batches(65_536):
        sums = [
            np.rint(255 * batch.column(f"mean_{c}").to_numpy() * batch.column(f"n_{c}").to_numpy()).astype(np.int64)
            for c in "RGB"
        ]
        total = [x + int(part.sum()) for x, part in zip(total, sums, strict=True)]
        count += batch.num_rows
        for group, red in zip(batch.column("group").to_pylist(), sums[0].tolist(), strict=True):
            found = by_group.setdefault(group, [0, 0])
            found[0] += 1
            found[1] += red
    assert stats.grouped is not None
    return (
        (count, total) == (stats.n_images, moments["sum"])
        and set(by_group) == set(stats.grouped)
        and all(
            [(group := stats.grouped[name]).images, group["moments"]["sum"][0]] == found
            for name, found in by_group.items()
        )
        and stats.grouped.whole() == stats.totals
    )


def report(result: dict[str, Any]) -> list[Table | Lines]:
    """Lay the result out."""
    low, high = settled_rss(result)
    return [
        Table(
            f"{result['images']:,} images of {_SIDE} x {_SIDE} in {result['groups']:,} groups, with a table of "
            f"{result['columns']} columns and {result['table_mb']:,.0f} MB, {result['threads']} threads",
            ("", ""),
            [
                ("seconds", f"{result['seconds']:,.1f}"),
                ("images/s", f"{result['images'] / result['seconds']:,.0f}"),
                ("peak RSS, with the mapped file of images, MB", f"{result['peak_rss_mb']:,.0f}"),
                ("RSS without it after a tenth of the time, smallest and largest, MB", f"{low:,.0f} to {high:,.0f}"),
                ("rows and groups add up to the result", "yes" if result["adds_up"] else "NO"),
                ("sums of the table are the totals in DuckDB", result["duckdb"] or "not installed"),
            ],
        ),
        Lines(
            "Memory while the images are read",
            "images done, thousands",
            "RSS without the mapped file, MB",
            {"gpustats": [(images / 1e3, rss) for _, images, rss in result["curve"] if rss is not None]},
        ),
    ]


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
