"""Pack the same image files into every container; real writers where there are any."""

from __future__ import annotations

import csv
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from gpustats.failures import Failure, ImageError
from gpustats.sources import SourceOptions, load, open_source
from gpustats.sources.base import Within

Files = Sequence[Path]
Packer = Callable[[Files, Path], Any]

PACKERS: dict[str, Packer] = {}


def packer(function: Packer) -> Packer:
    PACKERS[function.__name__] = function
    return function


def need(module: str) -> Any:
    return pytest.importorskip(module, reason=f"{module} is not installed")


@packer
def a_list(files: Files, out: Path) -> Any:
    return [str(path) for path in files]


@packer
def text_list(files: Files, out: Path) -> Any:
    (out / "list.txt").write_text("".join(f"{os.path.relpath(path, out)}\n" for path in files), encoding="utf-8")
    return out / "list.txt"


@packer
def csv_manifest(files: Files, out: Path) -> Any:
    with (out / "m.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "file_name"), *((path.parent.name, path) for path in files)])
    return out / "m.csv"


@packer
def coco_manifest(files: Files, out: Path) -> Any:
    images = [{"id": i, "file_name": os.path.relpath(path, out)} for i, path in enumerate(files)]
    (out / "coco.json").write_text(json.dumps({"images": images, "annotations": []}), encoding="utf-8")
    return out / "coco.json"


@packer
def json_lines(files: Files, out: Path) -> Any:
    lines = [json.dumps({"path": os.path.relpath(path, out), "label": 3}) + "\n" for path in files]
    (out / "m.jsonl").write_text("".join(lines), encoding="utf-8")
    return out / "m.jsonl"


def _tar(files: Files, path: Path, mode: str, **options: Any) -> Path:
    with tarfile.open(path, mode, **options) as archive:
        for file in files:
            archive.add(file, f"{file.parent.name}/{file.name}")
    return path


@packer
def tar_gnu(files: Files, out: Path) -> Any:
    return _tar(files, out / "a.tar", "w", format=tarfile.GNU_FORMAT)


@packer
def tar_pax(files: Files, out: Path) -> Any:
    return _tar(files, out / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 600})


@packer
def tar_gz(files: Files, out: Path) -> Any:
    return _tar(files, out / "a.tar.gz", "w:gz")


@packer
def tar_xz(files: Files, out: Path) -> Any:
    return _tar(files, out / "a.tar.xz", "w:xz", preset=0)


@packer
def tar_shards(files: Files, out: Path) -> Any:
    for shard in range(5):
        _tar(files[shard::5], out / f"s-{shard:03d}.tar", "w")
    return f"{out}/s-{{000..004}}.tar"


@packer
def folder_of_tars(files: Files, out: Path) -> Any:
    tar_shards(files, out)
    return out


@packer
def glob_of_tars(files: Files, out: Path) -> Any:
    tar_shards(files, out)
    return f"{out}/*.tar"


@packer
def webdataset_writer(files: Files, out: Path) -> Any:
    webdataset = need("webdataset")
    with webdataset.ShardWriter(f"{out.as_posix()}/w-%06d.tar", maxcount=10, verbose=0) as sink:
        for i, path in enumerate(files):
            sink.write({"__key__": f"{i:06d}", "jpg": path.read_bytes(), "cls": i % 3, "json": {"source": path.name}})
    return out


def _zip(files: Files, path: Path, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in files:
            archive.write(file, f"{file.parent.name}/{file.name}")
    return path


@packer
def zip_stored(files: Files, out: Path) -> Any:
    return _zip(files, out / "a.zip", zipfile.ZIP_STORED)


@packer
def zip_deflated(files: Files, out: Path) -> Any:
    return _zip(files, out / "a.zip", zipfile.ZIP_DEFLATED)


@packer
def zip_bzip2(files: Files, out: Path) -> Any:
    return _zip(files, out / "a.zip", zipfile.ZIP_BZIP2)


def parquet_table(files: Files) -> Any:
    pyarrow = need("pyarrow")
    return pyarrow.table({"name": [path.name for path in files], "jpg": [path.read_bytes() for path in files]})


@packer
def parquet(files: Files, out: Path) -> Any:
    need("pyarrow.parquet").write_table(parquet_table(files), out / "a.parquet", row_group_size=7)
    return out / "a.parquet"


@packer
def parquet_folder(files: Files, out: Path) -> Any:
    for i in range(3):
        need("pyarrow.parquet").write_table(parquet_table(files[i::3]), out / f"train-{i:05d}-of-00003.parquet")
    return out


@packer
def parquet_paths(files: Files, out: Path) -> Any:
    table = need("pyarrow").table({"path": [str(path) for path in files]})
    need("pyarrow.parquet").write_table(table, out / "a.parquet")
    return out / "a.parquet"


@packer
def lance(files: Files, out: Path) -> Any:
    table = parquet_table(files)
    need("lance").write_dataset(table, str(out / "a.lance"), max_rows_per_file=13)
    return out / "a.lance"


def huggingface(files: Files) -> Any:
    datasets = need("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": path.read_bytes(), "path": path.name} for path in files]}
    return datasets.Dataset.from_dict(rows | {"label": [i % 2 for i in range(len(files))]}, features=features)


@packer
def hf_parquet(files: Files, out: Path) -> Any:
    huggingface(files).to_parquet(str(out / "a.parquet"), batch_size=10)
    return out / "a.parquet"


@packer
def hf_dataset(files: Files, out: Path) -> Any:
    return huggingface(files).shuffle(seed=1)


@packer
def hf_paths(files: Files, out: Path) -> Any:
    datasets = need("datasets")
    data = datasets.Dataset.from_dict({"image": [str(path) for path in files]})
    return data.cast_column("image", datasets.Image())


@packer
def hf_iterable(files: Files, out: Path) -> Any:
    return huggingface(files).to_iterable_dataset(num_shards=3)


@packer
def tfrecords(files: Files, out: Path) -> Any:
    writer = need("tfrecord.writer")
    for shard in range(4):
        sink = writer.TFRecordWriter(str(out / f"train-{shard:05d}-of-00004"))
        for path in files[shard::4]:
            sink.write({"image/encoded": (path.read_bytes(), "byte"), "image/class/label": (shard, "int")})
        sink.close()
    return out


@packer
def lmdb(files: Files, out: Path) -> Any:
    environment = need("lmdb").open(str(out / "db"), map_size=1 << 28)
    with environment.begin(write=True) as transaction:
        for path in files:
            transaction.put(path.name.encode(), path.read_bytes())
    environment.close()
    return out / "db"


@packer
def mixed_list(files: Files, out: Path) -> Any:
    third = len(files) // 3
    (out / "folder").mkdir()
    for path in files[:third]:
        (out / "folder" / path.name).write_bytes(path.read_bytes())
    array = np.asarray(Image.open(files[-1]).convert("RGB"))
    return [out / "folder", _tar(files[third : 2 * third], out / "b.tar", "w"), *files[2 * third : -1], array]


@packer
def pil_images(files: Files, out: Path) -> Any:
    return ((Image.open(path).convert("RGB"), 1) for path in files)


@packer
def map_dataset(files: Files, out: Path) -> Any:
    class Photos:
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return np.asarray(Image.open(files[index]).convert("RGB")), index % 2

    return Photos()


@packer
def memory_url(files: Files, out: Path) -> Any:
    memory = need("fsspec").filesystem("memory")
    for path in files:
        memory.pipe_file(f"/packed/{path.parent.name}/{path.name}", path.read_bytes())
    return "memory://packed"


class Contents(NamedTuple):
    """What a source gives, read to the end.

    Attributes
    ----------
    images : list
        Key, group and bytes (or pixels as nested lists) of every image that can be loaded, in order.
    failures : list
        Key and reason of what cannot be read, by the source or by the item.
    messages : list
        Their sentences.
    skipped : dict
        What was passed over.
    """

    images: list[tuple[str, str, Any]]
    failures: list[tuple[str, str]]
    messages: list[str]
    skipped: dict[str, int]

    @property
    def keys(self) -> list[str]:
        return [key for key, _, _ in self.images]

    @property
    def groups(self) -> list[str]:
        return [group for _, group, _ in self.images]


def contents(data: Any, **options: Any) -> Contents:
    """Read a source as a run does, without a decoder."""
    chosen = SourceOptions(**options)
    source = open_source(data, chosen)
    found = Contents([], [], [], {})
    for sample in source.samples():
        if isinstance(sample, Within):
            continue
        failure = sample if isinstance(sample, Failure) else None
        if not isinstance(sample, Failure):
            key, group, item = sample
            try:
                value = load(item, chosen.max_bytes)
                found.images.append((key, group, value.tolist() if hasattr(value, "tolist") else value))
            except ImageError as error:
                failure = Failure(key, error.reason, str(error))
        if failure is not None:
            found.failures.append((failure.key, failure.reason))
            found.messages.append(failure.message)
    found.skipped.update(source.skipped)
    return found
