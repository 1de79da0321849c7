"""The rate of every container against the same files in a folder; a container with other integers is not timed."""

from __future__ import annotations

import importlib.util
import os
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gpustats
from benchmarks.report import Table, spread
from benchmarks.timing import interleaved, ratio, seconds, summary
from gpustats.limits.machine import usable_cpus
from gpustats.sources import open_source

__all__ = ["CONTAINERS", "report", "run"]

Files = Sequence[Path]

_SHARDS = 5


@dataclass(frozen=True)
class Container:
    """How to write a container, and the package that this needs."""

    write: Callable[[Files, Path], str | Path]
    needs: str = ""


def _tar(files: Files, path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for file in files:
            archive.add(file, file.name)
    return path


def _zip(files: Files, path: Path, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method, compresslevel=1 if method else None) as archive:
        for file in files:
            archive.write(file, file.name)
    return path


def _parquet(files: Files, path: Path, rows: int | None) -> Path:
    import pyarrow
    import pyarrow.parquet

    names, images = [file.name for file in files], [file.read_bytes() for file in files]
    pyarrow.parquet.write_table(pyarrow.table({"name": names, "image": images}), path, row_group_size=rows)
    return path


def _huggingface(files: Files, path: Path) -> Path:
    import datasets

    rows = {"image": [{"bytes": file.read_bytes(), "path": file.name} for file in files]}
    labels = {"label": [i % 1000 for i in range(len(files))]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    datasets.Dataset.from_dict(rows | labels, features=features).to_parquet(str(path))
    return path


def _webdataset(files: Files, out: Path) -> str:
    import webdataset

    pattern = f"{out.as_posix()}/shard-%06d.tar"
    with webdataset.ShardWriter(pattern, maxcount=-(-len(files) // _SHARDS), verbose=0) as sink:
        for i, file in enumerate(files):
            sink.write({"__key__": f"{i:08d}", "jpg": file.read_bytes(), "cls": i % 1000})
        shards = sink.shard
    return f"{out}/shard-{{000000..{shards - 1:06d}}}.tar"


def _tfrecord(files: Files, out: Path) -> Path:
    from tfrecord.writer import TFRecordWriter

    out = out / "tfrecord"
    out.mkdir()
    for shard in range(_SHARDS):
        sink = TFRecordWriter(str(out / f"train-{shard:05d}-of-{_SHARDS:05d}"))
        for file in files[shard::_SHARDS]:
            sink.write({"image/encoded": (file.read_bytes(), "byte"), "image/class/label": (shard, "int")})
        sink.close()
    return out


def _lmdb(files: Files, out: Path) -> Path:
    import lmdb

    size = sum(file.stat().st_size for file in files)
    with (
        lmdb.open(str(out / "lmdb"), map_size=2 * size + (64 << 20)) as environment,
        environment.begin(write=True) as w,
    ):
        for file in files:
            w.put(file.name.encode(), file.read_bytes())
    return out / "lmdb"


CONTAINERS = {
    "tar": Container(lambda files, out: _tar(files, out / "a.tar")),
    "tar.gz": Container(lambda files, out: _tar(files, out / "a.tar.gz", "w:gz")),
    f"WebDataset, {_SHARDS} shards": Container(_webdataset, "webdataset"),
    "zip, stored": Container(lambda files, out: _zip(files, out / "stored.zip", zipfile.ZIP_STORED)),
    "zip, deflated": Container(lambda files, out: _zip(files, out / "deflated.zip", zipfile.ZIP_DEFLATED)),
    "Parquet, row groups of 100": Container(lambda files, out: _parquet(files, out / "100.parquet", 100), "pyarrow"),
    "Parquet, one row group": Container(lambda files, out: _parquet(files, out / "one.parquet", None), "pyarrow"),
    "Parquet, Hugging Face": Container(lambda files, out: _huggingface(files, out / "hf.parquet"), "datasets"),
    f"TFRecord, {_SHARDS} files": Container(_tfrecord, "tfrecord"),
    "LMDB": Container(_lmdb, "lmdb"),
}
"""What can be timed, by the name that the table has."""


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 7) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images.
    out : Path
        Not used.
    tiny : bool
        One round.
    rounds : int
        How often each is read.
    """
    rounds = 1 if tiny else rounds
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        files = _flat(data, scratch / "files")
        works: dict[str, Callable[[], gpustats.Stats]] = {"folder": partial(_compute, scratch / "files")}
        skipped = {}
        for name, container in CONTAINERS.items():
            if container.needs and importlib.util.find_spec(container.needs) is None:
                skipped[name] = f"{container.needs} is not installed"
                continue
            place = container.write(files, scratch)
            works[name] = partial(_compute, place)
        expected = _integers(works["folder"]())
        for name, work in works.items():  # every file into the page cache, too
            if _integers(work()) != expected:
                raise SystemExit(f"benchmarks sources: {name}: other integers than the folder's; nothing is timed")
        cpu: dict[str, list[float]] = {name: [] for name in works}

        def both_clocks(name: str) -> float:
            started = time.process_time()
            elapsed = seconds(works[name])
            cpu[name].append(time.process_time() - started)
            return elapsed

        wall = interleaved({name: partial(both_clocks, name) for name in works}, rounds, measure=lambda work: work())
    return {
        "images": len(files),
        "cores": usable_cpus(),
        "rounds": rounds,
        "rows": {
            name: {
                "images_per_s": summary([len(files) / t for t in wall[name]]),
                "rate_against_folder": ratio(wall["folder"], wall[name]),
                "cpu_us_an_image": summary([1e6 * t / len(files) for t in cpu[name]]),
            }
            for name in works
        },
        "skipped": skipped,
    }


def _flat(data: Path, folder: Path) -> list[Path]:
    """Link the images of `data` into one folder, under names that sort as they lie."""
    folder.mkdir()
    files = []
    for i, sample in enumerate(s for s in open_source(data).samples() if isinstance(s, tuple)):
        source = sample[2]
        if not isinstance(source, str):
            continue
        target = folder / f"{i:08d}{Path(source).suffix.lower()}"
        try:
            os.link(source, target)
        except OSError:  # another file system
            target.write_bytes(Path(source).read_bytes())
        files.append(target)
    return files


def _compute(place: str | Path) -> gpustats.Stats:
    return gpustats.compute(place, device="cpu", progress=False)


def _integers(stats: gpustats.Stats) -> dict[str, Any]:
    totals = stats.totals.to_dict()
    for what in ("key_hash", "groups"):  # names and groups are the container's own
        totals.pop(what, None)
    return totals


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    return [
        Table(
            f"Containers of {result['images']:,} images against a folder of them, {result['cores']} threads",
            ("", "images/s", "rate against the folder's", "CPU time, µs an image"),
            [
                (
                    name,
                    spread(row["images_per_s"]),
                    "" if name == "folder" else spread(row["rate_against_folder"], 3),
                    spread(row["cpu_us_an_image"]),
                )
                for name, row in result["rows"].items()
            ],
            [
                f"Median (smallest–largest) of {result['rounds']} interleaved rounds, ratios within a round; "  # noqa: RUF001
                "everything in the page cache. All give the folder's integers.",
                *(f"Not measured: {name}: {reason}." for name, reason in result["skipped"].items()),
            ],
        )
    ]
