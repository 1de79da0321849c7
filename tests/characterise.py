"""What gpustats gives for one fixed dataset in every container, whatever its modules are called.

``python -m tests.characterise`` writes the numbers to ``tests/data/characterisation.json``; the suite compares them
whole. Run it after a change that is meant to change results, and read the difference before you commit it. Only
`gpustats.compute`, `merge` and `Stats` are used. The images are made by the writers below from integers, so that no
version of an encoder changes them; the few files in ``tests/data/characterisation`` are those that need an encoder.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import gpustats

__all__ = ["CASES", "GOLDEN", "Case", "difference", "normal", "write_dataset"]

DATA = Path(__file__).with_name("data")
GOLDEN = DATA / "characterisation.json"


# The result, as it is compared.


def normal(stats: gpustats.Stats) -> dict[str, Any]:
    """Return what a result says, without times, versions and facts of the machine; the one place that reads its JSON.

    The integers are given by name, whatever the layout of the file.
    """
    data = json.loads(stats.to_json())
    if data["version"] != 2:
        raise ValueError(f"version {data['version']} of the result: teach `normal` where its numbers stand")
    names = (
        "complete images pixels exact channels scale mean std std_unbiased per_image std_of_means min max "
        "height_range width_range definition skipped"
    )
    result = {name: data[name] for name in names.split()}
    failures = data["failures"]
    result["failures"] = {
        "count": failures["count"],
        "by_reason": failures["by_reason"],
        "listed": [[failure["key"], failure["reason"]] for failure in failures["listed"]],  # messages are Pillow's too
    }
    result["runs"] = [
        {name: run[name] for name in ("source", "images_by_decoder", "checkpoint") if name in run}
        for run in data["runs"]
    ]
    for later in ("statistics", "mode", "nodata"):
        del result["definition"][later]
    totals = data["totals"]
    result["keys"] = totals["key_hash"]
    result["totals"] = _flat(totals)
    return result


def _flat(totals: dict[str, Any]) -> dict[str, Any]:
    """Return the totals of the moments as one table, with counts that are the same in every channel said once."""
    moments = dict(totals.get("moments", {}))
    kind = totals["kind"] or {"channels": 0, "dtype": ""}
    top = {"uint8": 255, "uint16": 65535}.get(kind["dtype"])
    flat = {name: totals[name] for name in ("images", "pixels", "height_min", "height_max", "width_min", "width_max")}
    if all(n == totals["pixels"] for n in moments.get("n", ())):  # fewer where values are missing
        moments.pop("n", None)
    assert all(n == totals["images"] for n in moments.pop("images", ()))
    moments.pop("products", None)  # of the other columns; see tests/test_clusters.py
    unbiased = set(moments.pop("images_unbiased", {0}))
    assert len(unbiased) == 1
    return {
        **flat,
        "channels": kind["channels"],
        "images_unbiased": unbiased.pop(),
        **({} if top is None else {"max_value": top}),
        **moments,
    }


def difference(found: Any, expected: Any, exact: bool, where: str = "") -> list[str]:
    """Return where two results differ; floats may by 1e-12 of their size where `exact` is False."""
    if isinstance(found, dict) and isinstance(expected, dict):
        names = sorted({*found, *expected})
        missing = object()
        return [
            text
            for name in names
            for text in difference(found.get(name, missing), expected.get(name, missing), exact, f"{where}.{name}")
        ]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [text for i, (a, b) in pairs for text in difference(a, b, exact, f"{where}[{i}]")]
    if isinstance(found, float) and isinstance(expected, float) and not exact:
        same = abs(found - expected) <= 1e-12 * max(abs(found), abs(expected))
    else:
        same = type(found) is type(expected) and found == expected
    return [] if same else [f"{where}: {found!r:.300}, expected {expected!r:.300}"]


# The images.


def pixels(seed: int, height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Return an image that is a formula, with every value from 0 to 255 within reach."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return ((x * x * (seed + 3) + y * (7 * seed + 13) + x * y + c * 31 * (seed % 3) + seed * 17) % 256).astype(np.uint8)


def ppm(image: NDArray[np.uint8]) -> bytes:
    """Write a PPM or, of one channel, a PGM."""
    height, width, channels = image.shape
    return b"P%d %d %d 255\n" % (6 if channels == 3 else 5, width, height) + image.tobytes()


def bmp(image: NDArray[np.uint8]) -> bytes:
    """Write a BMP of 24 bits."""
    height, width, _ = image.shape
    rows = [row.tobytes().ljust((3 * width + 3) // 4 * 4, b"\0") for row in image[::-1, :, ::-1]]
    body = b"".join(rows)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(body), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + header + body


def png(image: NDArray[Any], size: tuple[int, int] | None = None) -> bytes:
    """Write a PNG of 8 or 16 bits with 1, 3 or 4 channels, not compressed; `size` is what the header claims instead."""
    height, width, channels = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image.astype(image.dtype.newbyteorder(">")))
    kind = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", *(size or (width, height)), 8 * image.itemsize, kind, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def good_files() -> dict[str, bytes]:
    """Return the images that count, by name; two groups, names that are not ASCII, sizes of one pixel and more."""
    encoded = {path.name: path.read_bytes() for path in sorted((DATA / "characterisation").iterdir())}
    return {
        "a/000.png": png(pixels(0, 9, 16)),
        "a/001.png": png(pixels(1, 1, 1)),
        "a/002.ppm": ppm(pixels(2, 17, 5)),
        "a/003.jpg": encoded["color.jpg"],
        "a/004.gif": encoded["frames.gif"],
        "a/é 005.png": png(pixels(5, 6, 7, 1)),
        "b/006.bmp": bmp(pixels(6, 8, 11)),
        "b/007.jpg": encoded["grey.jpg"],
        "b/008.webp": encoded["lossless.webp"],
        "b/009.pgm": ppm(pixels(9, 3, 40, 1)),
        "b/010.jpg": encoded["progressive.jpg"],
        "b/deep/011.png": png(pixels(11, 30, 2)),
    }


def bad_files() -> dict[str, bytes]:
    """Return the files that fail, by name."""
    whole = png(pixels(20, 40, 40))
    return {
        "a/empty.png": b"",
        "a/half.png": whole[: len(whole) // 2],
        "a/half.jpg": good_files()["a/003.jpg"][:300],
        "b/large.png": png(pixels(21, 4, 4), size=(40_000, 30_000)),
        "b/sixteen.png": png(pixels(22, 4, 4, 1).astype(np.uint16) * 256),
        "b/text.jpg": b"This is no image.\n" * 9,
        "b/wrong_sum.png": whole[:29] + bytes(4) + whole[33:],
    }


def write_dataset(folder: Path) -> None:
    """Write the folders ``good`` and ``all`` (good and bad, and what is passed over), from which cases are made."""
    more = {"notes.txt": b"not an image", "a/.hidden.png": b"", ".cache/x.png": b""}
    for name, files in (("good", good_files()), ("all", good_files() | bad_files() | more)):
        for file, data in files.items():
            path = folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


# The cases: each is run in a folder of its own below that of the dataset, which is the current one.

Measured = gpustats.Stats | dict[str, gpustats.Stats]


class Case(NamedTuple):
    """A way to the result: the function, and the modules that it needs."""

    function: Callable[[Path], Measured]
    needs: tuple[str, ...]

    def missing(self) -> str | None:
        """Return the module that is not installed."""
        for name in self.needs:
            try:
                importlib.import_module(name)
            except ImportError:
                return name
        return None


CASES: dict[str, Case] = {}


def case(*needs: str) -> Callable[[Callable[[Path], Measured]], Callable[[Path], Measured]]:
    """Add a function to the cases."""

    def add(function: Callable[[Path], Measured]) -> Callable[[Path], Measured]:
        CASES[function.__name__] = Case(function, needs)
        return function

    return add


def compute(data: object, **options: Any) -> gpustats.Stats:
    """Measure on the CPU, in two threads unless the order counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gpustats.ImagesFailedWarning)
        try:
            return gpustats.compute(data, **{"device": "cpu", "workers": 2, "progress": False, **options})
        except gpustats.AllImagesFailed as error:
            return error.partial


def _names() -> list[str]:
    return sorted([*good_files(), *bad_files()], key=str.encode)


def _content() -> dict[str, bytes]:
    content = good_files() | bad_files()
    return {name: content[name] for name in _names()}


@case()
def folder(out: Path) -> Measured:
    return {"good": compute("good"), "all": compute("all")}


@case()
def single_file(out: Path) -> Measured:
    return compute("good/b/006.bmp")


@case()
def pattern(out: Path) -> Measured:
    return {"flat": compute("all/a/*.png"), "deep": compute("all/**/*.png"), "folders": compute("all/*")}


@case()
def list_of_paths(out: Path) -> Measured:
    return compute([*(f"all/{name}" for name in _names()), "all/a/nowhere.png"])


@case()
def list_of_kinds(out: Path) -> Measured:
    return compute(["good/a", Path("good/b/006.bmp"), pixels(3, 7, 6), f"{_tar(out / 'x.tar')}"])


@case()
def text_list(out: Path) -> Measured:
    lines = "".join(f"{name}\n" for name in [*_names(), "a/nowhere.png"])
    (out / "list.txt").write_text(lines, encoding="utf-8")
    return compute(out / "list.txt", root="all")


@case()
def csv_manifest(out: Path) -> Measured:
    with (out / "m.csv").open("w", newline="", encoding="utf-8-sig") as file:
        rows = [(name.partition("/")[0], name, f"other/{name}") for name in [*_names(), "a/nowhere.png"]]
        csv.writer(file).writerows([("label", "path", "second"), *rows])
    return compute(out / "m.csv", root="all", column="path", group="label")


@case()
def json_lines(out: Path) -> Measured:
    text = "".join(json.dumps({"path": f"../all/{name}", "label": 1}) + "\n" for name in _names())
    (out / "m.jsonl").write_text(text, encoding="utf-8")
    return compute(out / "m.jsonl")


@case()
def coco(out: Path) -> Measured:
    images = [{"id": i, "file_name": f"../all/{name}"} for i, name in enumerate(_names())]
    (out / "m.json").write_text(json.dumps({"images": images, "annotations": []}), encoding="utf-8")
    return compute(out / "m.json")


def _tar(path: Path, mode: str = "w", names: list[str] | None = None) -> Path:
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
        for name, data in _content().items():
            if names is None or name in names:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


@case()
def tar(out: Path) -> Measured:
    cut = out / "cut.tar"
    cut.write_bytes(_tar(out / "a.tar").read_bytes()[:6000])
    return {
        "plain": compute(out / "a.tar"),
        "gz": compute(_tar(out / "a.tar.gz", "w:gz")),
        "xz": compute(_tar(out / "a.tar.xz", "w:xz")),
        "cut": compute(cut),
    }


@case()
def shards(out: Path) -> Measured:
    for i in range(3):
        _tar(out / f"s-{i:03d}.tar", names=_names()[i::3])
    place = out.name
    return {
        "brace": compute(f"{place}/s-{{000..002}}.tar"),
        "glob": compute(f"{place}/*.tar"),
        "folder": compute(place),
        "missing": compute(f"{place}/s-{{001..003}}.tar"),
    }


@case()
def webdataset(out: Path) -> Measured:
    for shard in range(2):
        with tarfile.open(out / f"w-{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for i, (name, data) in enumerate([*_content().items()][shard::2]):
                parts = ((name.rpartition(".")[2], data), ("cls", b"%d" % (i % 3)), ("json", b'{"source": "s"}'))
                for extension, content in parts:
                    member = tarfile.TarInfo(f"{shard}{i:05d}.{extension}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    place = f"{out.name}/w-{{0..1}}.tar"
    return {
        "all": compute(place),
        "column": compute(place, column="png"),
        "group": compute(place, group="json.source"),
    }


@case()
def zip_archive(out: Path) -> Measured:
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(out / f"{name}.zip", "w", method) as archive:
            for member, data in _content().items():
                archive.writestr(zipfile.ZipInfo(member), data, method)
    return {name: compute(out / f"{name}.zip") for name in ("stored", "deflated")}


@case("pyarrow")
def parquet(out: Path) -> Measured:
    import pyarrow
    from pyarrow.parquet import write_table

    content = _content()
    images = [*content.values()]
    columns = {
        "image": [{"bytes": data, "path": name} for name, data in content.items()],
        "label": [name.partition("/")[0] for name in content],
    }
    write_table(pyarrow.table(columns), out / "a.parquet", row_group_size=4, compression="snappy")
    columns = {"one": images, "two": images[::-1], "kind": [i % 2 for i in range(len(images))]}
    write_table(pyarrow.table(columns), out / "b.parquet", row_group_size=5, compression="none")
    columns = {"file_name": [f"all/{name}" for name in content]}
    write_table(pyarrow.table(columns), out / "c.parquet")
    return {
        "structs": compute(out / "a.parquet"),
        "column": compute(out / "b.parquet", column="two", group="kind"),
        "paths": compute(out / "c.parquet", root="."),
    }


@case("google_crc32c")
def tfrecord(out: Path) -> Measured:
    import google_crc32c

    def checked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    def field(number: int, data: bytes) -> bytes:
        size, length = len(data), b""
        while size >= 128:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    def feature(name: str, data: bytes) -> bytes:
        return field(1, field(1, name.encode()) + field(2, field(1, field(1, data))))

    records = []
    for name, data in _content().items():
        example = field(1, feature("image/encoded", data) + feature("kind", name[:1].encode()))
        length = struct.pack("<Q", len(example))
        records.append(length + checked(length) + example + checked(example))
    (out / "a.tfrecord").write_bytes(b"".join(records))
    records[3] = records[3][:40] + b"?" + records[3][41:]
    (out / "damaged.tfrecord").write_bytes(b"".join(records))
    return {
        "plain": compute(out / "a.tfrecord", feature="image/encoded", group="kind"),
        "damaged": compute(out / "damaged.tfrecord"),
    }


@case("lmdb")
def lmdb(out: Path) -> Measured:
    import lmdb as library

    with library.open(str(out / "db"), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for name, data in _content().items():
            transaction.put(name.encode(), data)
    return compute(out / "db")


def _crops() -> NDArray[np.uint8]:
    return np.stack([pixels(seed, 8, 12) for seed in range(5)])


def _wide() -> NDArray[np.uint16]:
    return _crops().astype(np.uint16) * 257 - (_crops() > 100) * np.uint16(3)


@case()
def npy(out: Path) -> Measured:
    np.save(out / "hwc.npy", _crops())
    np.save(out / "chw.npy", _crops().transpose(0, 3, 1, 2))
    np.save(out / "wide.npy", _wide().astype(">u2"))
    np.save(out / "grey.npy", _crops()[..., 0])
    return {
        "hwc": compute(out / "hwc.npy"),
        "chw": compute(out / "chw.npy"),
        "wide": compute(out / "wide.npy"),
        "grey": compute(out / "grey.npy", layout="NHW"),
    }


@case()
def npz(out: Path) -> Measured:
    np.savez_compressed(out / "a.npz", x_train=_crops(), x_test=_crops()[:2], y=np.arange(5))
    return compute(out / "a.npz", column="x_train")


@case("h5py")
def hdf5(out: Path) -> Measured:
    import h5py

    with h5py.File(out / "a.h5", "w") as file:
        file.create_dataset("train/images", data=_crops(), chunks=(2, 8, 12, 3), compression="gzip")
        file.create_dataset("wide", data=_wide())
    return {name: compute(f"{out.name}/a.h5::{name}") for name in ("train/images", "wide")}


@case("zarr")
def zarr(out: Path) -> Measured:
    import zarr as library

    group = library.open_group(str(out / "a.zarr"), mode="w")
    group.create_array("images", shape=(5, 8, 12, 3), chunks=(2, 8, 12, 3), dtype="uint8")[:] = _crops()
    return compute(f"{out.name}/a.zarr::images")


@case()
def mnist(out: Path) -> Measured:
    images = _crops()[..., 1]
    data = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes()
    (out / "train-images-idx3-ubyte").write_bytes(data)
    (out / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes([1, 2, 1, 0, 2]))
    return compute(out / "train-images-idx3-ubyte")


@case()
def cifar(out: Path) -> Measured:
    images = np.stack([pixels(seed, 32, 32) for seed in range(4)])
    batch = {b"data": images.transpose(0, 3, 1, 2).reshape(4, -1), b"labels": [3, 1, 3, 0]}
    (out / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=2))
    return compute(out / "data_batch_1")


@case()
def arrays(out: Path) -> Measured:
    crops = _crops()
    return {
        "nhwc": compute(crops),
        "nchw": compute(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)), layout="NCHW"),
        "list": compute([pixels(seed, seed + 1, 9, 4) for seed in range(4)], layout="HWC"),
        "five_channels": compute([pixels(1, 7, 6, 5)], layout="HWC"),
        "wide": compute(_wide()),
        "iterable": compute(iter(crops)),
        "labelled": compute((image, i % 2) for i, image in enumerate(crops)),
        "pillow": compute(Image.fromarray(image) for image in crops),
        "small": compute([*crops, pixels(9, 200, 200)], max_pixels=1000),
    }


@case()
def dataset(out: Path) -> Measured:
    class Photos:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return _crops()[index], index % 2

    return compute(Photos())


@case()
def floats(out: Path) -> Measured:
    single = (_crops() / 255 - 0.5).astype(np.float32)
    double = [pixels(seed, seed + 1, 5) * (0.1 + seed) + 1e6 for seed in range(4)]
    broken = single.copy()
    broken[2, 0, 0, 0] = np.nan
    whole = compute(single, workers=1)
    return {
        "single": whole,
        "half": compute(single.astype(np.float16), workers=1),
        "double": compute(double, workers=1, layout="HWC"),
        "one_pixel": compute([single[0, :1, :1]], workers=1, layout="HWC"),
        "not_finite": compute(broken, workers=1),
        "merged": compute(single[:2], workers=1) + compute(single[2:], workers=1),
        "loaded": _loaded(whole, out),
    }


def _loaded(stats: gpustats.Stats, out: Path) -> gpustats.Stats:
    stats.save(out / "result.json")
    return gpustats.Stats.load(out / "result.json")


@case()
def options(out: Path) -> Measured:
    return {
        "max_pixels": compute("good", max_pixels=100),
        "isolate": compute("all", isolate=True),
        "one_thread": compute("all", workers=1, memory="300MB"),
        "scaled": compute("good").scaled(255),
    }


@case()
def merged(out: Path) -> Measured:
    first, second, bad = compute("good/a"), compute("good/b"), compute("all/b")
    empty = compute(["all/b/text.jpg"])
    return {
        "two": first + second,
        "turned": gpustats.merge([second, first]),
        "with_failures": gpustats.merge([first, empty, bad]),
        "loaded": _loaded(gpustats.merge([first, bad]), out),
        "one": gpustats.merge([first]),
        "passed_over": compute("all") + compute("all/*"),
    }


@case()
def checkpoint(out: Path) -> Measured:
    data = out / "data"
    for name, content in _content().items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)
    place, saved = f"{out.name}/data", out / "run.checkpoint"
    results = {"first": compute(place, checkpoint=saved), "again": compute(place, checkpoint=saved)}
    (data / "a/000.png").unlink()
    (data / "a/new.png").write_bytes(png(pixels(30, 5, 5)))
    (data / "b/006.bmp").write_bytes(bmp(pixels(31, 12, 13)))
    (data / "a/half.png").write_bytes(png(pixels(32, 3, 3)))
    results["changed"] = compute(place, checkpoint=saved)
    results["afresh"] = compute(place)
    return results


@case()
def interrupted(out: Path) -> Measured:
    """Stopped again and again; each run does some more of the images, of which there are more than a batch holds."""
    data = out / "data"
    data.mkdir()
    for i in range(400):
        (data / f"{i:03d}.ppm").write_bytes(ppm(pixels(i, 2, 3)) if i % 50 else b"")
    place, saved, seen = f"{out.name}/data", out / "run.checkpoint", []
    for done in (1, 130):
        try:
            compute(place, checkpoint=saved, progress=_Stop(done), workers=1)
        except gpustats.Interrupted as error:
            seen.append(error.partial)
    if len(seen) != 2 or not 0 < seen[0].n_images < seen[1].n_images < 392 or seen[1].complete:
        raise RuntimeError(f"the runs were not stopped on the way: {seen}")
    return {
        "resumed": compute(place, checkpoint=saved),
        "hashed": compute("all", checkpoint=out / "hash.checkpoint", changed="hash"),
    }


class _Stop:
    """Presses Ctrl-C once so many images are done."""

    def __init__(self, images: int) -> None:
        self._left = images

    def __call__(self, images: int) -> None:
        self._left -= images
        if self._left <= 0:
            raise KeyboardInterrupt


def results(name: str, folder: Path) -> dict[str, Any]:
    """Run a case in a folder with the dataset; return its normal results by name."""
    place = folder / name
    place.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        measured = CASES[name].function(Path(name))
    finally:
        os.chdir(before)
    if isinstance(measured, gpustats.Stats):
        measured = {"": measured}
    found = {f"{name}: {part}".rstrip(": "): normal(stats) for part, stats in measured.items()}
    if name == "interrupted":  # how many images were done when the runs were stopped is a matter of time
        del found["interrupted: resumed"]["runs"]
    return found


def _lines(data: dict[str, Any]) -> Iterator[str]:
    """Write JSON with one line for each number of a result, so that a difference can be read."""
    yield "{"
    for i, (name, result) in enumerate(sorted(data.items())):
        yield f" {json.dumps(name)}: {{"
        parts = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(result.items())]
        yield ",\n".join(parts)
        yield " }" + ("," if i + 1 < len(data) else "")
    yield "}"


def main() -> int:
    """Write the numbers of every case; the case whose packages are missing keeps what it had."""
    before = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    after: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        write_dataset(Path(temporary))
        for name, one in CASES.items():
            if missing := one.missing():
                print(f"{name}: kept as it was, {missing} is not installed", file=sys.stderr)
                after |= {key: value for key, value in before.items() if key.partition(":")[0] == name}
            else:
                after |= results(name, Path(temporary))
    GOLDEN.write_text("\n".join(_lines(after)) + "\n", encoding="utf-8")
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    print(f"{len(after)} results, {len(changed)} changed:", *changed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
