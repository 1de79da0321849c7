"""Rate of every container against the same files in a folder.

    python -m benchmarks.sources --data DIR [--rounds N] [--json FILE]

Each round reads the folder and every container once, so that whatever else the machine does hits all of them; the
ratios are those of the medians. A container whose integers differ from the folder's is not timed but refused.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpustats
from gpustats.resources import usable_cpus

__all__ = ["main", "measure"]


def _tar(files: list[Path], path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for file in files:
            archive.add(file, file.name)
    return path


def _zip(files: list[Path], path: Path, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method, compresslevel=1 if method else None) as archive:
        for file in files:
            archive.write(file, file.name)
    return path


def _parquet(files: list[Path], path: Path, rows: int | None) -> Path:
    import pyarrow
    import pyarrow.parquet

    names, images = [file.name for file in files], [file.read_bytes() for file in files]
    pyarrow.parquet.write_table(pyarrow.table({"name": names, "image": images}), path, row_group_size=rows)
    return path


CONTAINERS: dict[str, Callable[[list[Path], Path], Path]] = {
    "tar": lambda files, out: _tar(files, out / "a.tar"),
    "tar.gz": lambda files, out: _tar(files, out / "a.tar.gz", "w:gz"),
    "zip, stored": lambda files, out: _zip(files, out / "stored.zip", zipfile.ZIP_STORED),
    "zip, deflated": lambda files, out: _zip(files, out / "deflated.zip", zipfile.ZIP_DEFLATED),
    "parquet, row groups of 100": lambda files, out: _parquet(files, out / "groups.parquet", 100),
    "parquet, one row group": lambda files, out: _parquet(files, out / "one.parquet", None),
}


def measure(folder: Path, rounds: int = 7, names: list[str] | None = None) -> dict[str, Any]:
    """Pack the images of a folder, and time every container against it.

    Parameters
    ----------
    folder : Path
        Images, in one folder.
    rounds : int
        How often each is read.
    names : list of str, optional
        Keys of `CONTAINERS`; all by default.

    Returns
    -------
    dict
        The machine, and for each container images/s and the ratio to the folder's.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        places = {"folder": folder}
        places |= {name: CONTAINERS[name](files, Path(scratch)) for name in names or CONTAINERS}
        seconds: dict[str, list[float]] = {name: [] for name in places}
        cpu: dict[str, list[float]] = {name: [] for name in places}
        expected = None
        for turn in range(rounds + 1):
            for name, place in places.items():
                started, used = time.perf_counter(), time.process_time()
                totals = gpustats.compute(place, device="cpu", progress=False).totals.to_dict()
                if turn:  # the first round fills the page cache
                    seconds[name].append(time.perf_counter() - started)
                    cpu[name].append(time.process_time() - used)
                del totals["key_hash"]
                expected = expected or totals
                if totals != expected:
                    raise SystemExit(f"{name}: other integers than the folder's; not timed")
    base, base_cpu = statistics.median(seconds["folder"]), statistics.median(cpu["folder"])
    return {
        "machine": {"platform": platform.platform(), "cores": usable_cpus(), "python": platform.python_version()},
        "images": len(files),
        "rounds": rounds,
        "rates": {
            name: {
                "images_per_s": round(len(files) / statistics.median(seconds[name]), 1),
                "ratio": round(base / statistics.median(seconds[name]), 3),
                "ratio_of_best": round(min(seconds["folder"]) / min(seconds[name]), 3),
                "cpu_ratio": round(base_cpu / statistics.median(cpu[name]), 3) if base_cpu else None,
            }
            for name in places
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of images")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args(arguments)
    result = measure(options.data, options.rounds)
    for name, row in result["rates"].items():
        rate, ratio, best, cpu = row.values()
        print(f"{name:<28} {rate:>9.1f} images/s   x{ratio:.3f} (best x{best:.3f}, CPU time x{cpu:.3f})")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
