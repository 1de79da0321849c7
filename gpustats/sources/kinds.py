"""What a file is: by its name, and by its first bytes where the name says nothing. `KINDS` is the one table."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.sources.base import ShardSource
from gpustats.sources.files.file import File
from gpustats.sources.options import SourceOptions
from gpustats.wording import option

__all__ = [
    "KINDS",
    "OUTSIDE",
    "check_options",
    "check_readable",
    "kind_of",
    "kind_of_content",
    "kind_of_folder",
    "kind_within",
    "member_kind",
    "open_container",
    "published",
    "suffix",
    "takes_of",
]

OUTSIDE = "the name of the member is absolute or has '..' in it"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source.

    Attributes
    ----------
    title : str
        What messages call it.
    takes : tuple of str
        The options of `compute` that it has a use for. Where `root` is one of them, so is `storage_options`.
    cls : str
        Module within this package and class of a kind of file; "" for what is no file. The class is called with the
        file, the key and the options.
    endings : tuple of str
        Of file names, lower case.
    pattern : str
        A regular expression that finds names without such an ending.
    of_paths : bool
        A list of files in other places; it is not searched for in a folder.
    images : str
        What is taken for images in it; "" for what holds other sources. See ``docs/which-image.md``.
    ask : str
        When the user has to choose, and how.
    """

    title: str
    takes: tuple[str, ...] = ()
    cls: str = ""
    endings: tuple[str, ...] = ()
    pattern: str = ""
    of_paths: bool = False
    images: str = ""
    ask: str = ""


KINDS = {
    "tar": Kind(
        "WebDataset shards",
        ("column", "group"),
        "archives.tar.TarSource",
        (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
        images="members with the ending of an image; their extension is what follows the first dot of the name",
        ask="two samples with the same two extensions: `column=`",
    ),
    "zip": Kind(
        "zip archives",
        ("column",),
        "archives.zip.ZipSource",
        (".zip",),
        images="members with the ending of an image; their extension is what follows the first dot of the name",
        ask="two samples with the same two extensions: `column=`",
    ),
    "parquet": Kind(
        "Parquet files",
        ("column", "group", "root", "suffixes", "layout", "repeats"),
        "tables.parquet.ParquetSource",
        (".parquet", ".pq"),
        images="columns that are a struct of bytes and path; else of bytes, lists of either, or arrays of three axes; "
        "else of paths, the first with a usual name",
        ask="two columns of one type with equally good names, or none: `column=`",
    ),
    "lance": Kind(
        "Lance datasets",
        ("column", "group", "root", "suffixes", "layout", "repeats"),
        "tables.lance.LanceSource",
        images="columns as in Parquet files",
        ask="as in Parquet files: `column=`",
    ),
    "tfrecord": Kind(
        "TFRecord files",
        ("feature", "group"),
        "records.tfrecord.TFRecordSource",
        (".tfrecord", ".tfrecords", ".tfrec", ".record", ".tfrecord.gz", ".tfrecords.gz"),
        # TensorFlow's own shards: train-00000-of-01024, images.tfrecord-00000-of-00004.
        r"(\.tfrecords?|\.record)?-\d{5}-of-\d{5}$",
        images="features with a usual name (`image/encoded`, `image`, `image_raw`, `encoded`, `jpg`, `png`); else "
        "those that begin as an image does",
        ask="`jpg` and `png`, or two others that begin as an image does: `feature=`",
    ),
    "numpy": Kind(
        ".npy and .npz files",
        ("layout", "color_order", "column"),
        "arrays.numpy.NumpyFileSource",
        (".npy", ".npz"),
        images="the array of an `.npy` file; arrays of an `.npz` file with three or four axes, else with two",
        ask="two arrays with many images each: `column=`",
    ),
    "hdf5": Kind(
        "HDF5 files",
        ("layout", "color_order"),
        "arrays.hdf5.Hdf5Source",
        (".h5", ".hdf5", ".he5"),
        images="datasets of numbers with three or four axes that may be images, or of encoded images; else every "
        "dataset that is one encoded image",
        ask="two datasets: `file.h5::NAME`",
    ),
    "lmdb": Kind(
        "LMDB databases",
        (),
        "records.lmdb.LmdbSource",
        (".mdb", ".lmdb"),
        images="every value that is an encoded image, or a Datum with one",
    ),
    "chunks": Kind(
        "MDS and LitData folders",
        ("column", "group", "layout"),
        "records.chunks.ChunksSource",
        images="columns encoded as JPEG, PNG, TIFF or PIL images, or lists of these; else of bytes that begin as an "
        "image does; else arrays of three axes that may be images",
        ask="two columns of one of these with equally good names, or none: `column=`",
    ),
    "manifest": Kind(
        "manifests",
        ("column", "group", "root", "suffixes", "repeats"),
        "tables.manifest.ManifestSource",
        (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".xml"),
        of_paths=True,
        images="the first column with a usual name of paths (`path`, `file_name`, `image`, ...); else of identifiers "
        "(`image_id`, `id`, ...), if the first row leads to a file",
        ask="no such column: `column=`",
    ),
    "yolo": Kind(
        "YOLO data files",
        ("column", "root", "suffixes", "repeats"),
        "places.yolo.YoloSource",
        (".yaml", ".yml"),
        of_paths=True,
        images="the only split of `train`, `val` and `test`",
        ask="several splits: `column=`",
    ),
    "list": Kind(
        "text lists",
        ("root", "suffixes", "repeats"),
        "places.lists.TextListSource",
        (".txt", ".lst", ".list"),
        of_paths=True,
        images="every line",
    ),
    "idx": Kind(
        "MNIST files",
        ("layout",),
        "arrays.idx.IdxSource",
        ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz"),
        images="the array",
    ),
    "cifar": Kind(
        "CIFAR files",
        (),
        "arrays.cifar.CifarSource",
        images="the pixels of the batch",
    ),
    "cifar_binary": Kind(
        "binary CIFAR files",
        (),
        "arrays.cifar_binary.CifarBinarySource",
        images="the pixels of the batch",
    ),
    "zarr": Kind(
        "Zarr arrays",
        ("layout", "color_order"),
        "arrays.zarr.ZarrSource",
        images="arrays with three or four axes that may be images; of OME-Zarr the one of the full resolution",
        ask="two arrays: `store.zarr::NAME`",
    ),
    "huggingface": Kind(
        "Hugging Face datasets",
        ("column", "group", "layout", "repeats"),
        images="columns as in Parquet files",
        ask="as in Parquet files: `column=`",
    ),
    "several": Kind("lists of paths or of several of these", ("root", "suffixes", "repeats")),
    "object": Kind(
        "arrays, tensors and datasets that yield them",
        ("layout", "color_order", "column", "group", "picked", "repeats"),
        images="an array; of an element the entry with an image: by a usual name (`image`, `images`, `img`; "
        "`pixel_values`; `input`, `inputs`), else the only one; of a pair the first",
        ask="two entries with equally good names, or none: `column=`",
    ),
    "url": Kind("URLs", ("storage_options",)),
}
"""Every kind of source that is not an image file, by name."""

_CHUNK_NAME = re.compile(r"\.mds(\.\w+)?$|^chunk-.*\.bin$")
_CIFAR_NAME = re.compile(r"(data_batch_\d+|test_batch|train|test)$")
_CIFAR_BINARY = re.compile(r"(data_batch_\d+|test_batch|train|test)\.bin")


def kind_of(name: str) -> str | None:
    """Return the kind of container or list that a file name stands for, None where it stands for none.

    >>> kind_of("photos.tar.gz"), kind_of("train-00000-of-01024"), kind_of("a.jpg")
    ('tar', 'tfrecord', None)
    """
    lower = name.lower()
    for kind, entry in KINDS.items():
        if lower.endswith(entry.endings) or (entry.pattern and re.search(entry.pattern, lower)):
            return kind
    return None


def kind_of_content(file: File) -> str | None:
    """Look at the first bytes of a file whose ending says nothing: MNIST idx or a CIFAR batch, else None."""
    if suffix(file.name) not in ("", ".gz", ".bin", ".pkl", ".pickle"):
        return None
    with file.open() as stream:
        head = stream.read(4)
    if len(head) == 4 and head[:3] == b"\0\0\x08" and 1 <= head[3] <= 4:
        return "idx"
    if head[:1] == b"\x80" and _CIFAR_NAME.match(file.name):
        return "cifar"
    return "cifar_binary" if _CIFAR_BINARY.fullmatch(os.path.basename(file.name)) else None


def kind_of_folder(path: str) -> str | None:
    """Return the kind of a folder that is a container itself: LMDB, Zarr, Lance, MDS or LitData, else None."""
    if os.path.isfile(os.path.join(path, "data.mdb")):
        return "lmdb"
    if any(os.path.isfile(os.path.join(path, name)) for name in (".zarray", ".zgroup", "zarr.json")):
        return "zarr"
    if os.path.isdir(os.path.join(path, "_versions")):
        return "lance"
    if os.path.isfile(os.path.join(path, "index.json")) and is_of_chunks(os.listdir(path)):
        return "chunks"
    return None


def is_of_chunks(names: Collection[str]) -> bool:
    """Say whether the files of a folder are chunks and their index."""
    return "index.json" in names and any(map(_CHUNK_NAME.search, names))


def check_readable(path: str, inside: bool = True) -> None:
    """Raise `DataError` where a file or folder is of a known format that is not read, with its name.

    Parameters
    ----------
    path : str
        A file, or a folder without loose images.
    inside : bool
        Whether it is a folder.
    """
    name = None
    if not inside:
        if path.lower().endswith(".mds"):
            raise DataError(f"{printable(path)}: a shard of MDS is read with the index.json beside it: give the folder")
        name = next((title for ending, title in _NOT_READ.items() if path.lower().endswith(ending)), None)
    elif os.path.isdir(os.path.join(path, "videos")) and os.path.isfile(os.path.join(path, "meta", "info.json")):
        name = "LeRobot's videos"
    if name is not None:
        raise DataError(
            f"{printable(path)}: {name} is not read from its files; give the dataset object of its package, or a "
            "loader of it"
        )


_NOT_READ = {
    ".beton": "FFCV's .beton",
    ".rec": "MXNet's RecordIO",
}


def kind_within(path: str) -> str | None:
    """Return the kind of containers that a folder holds; None where it holds loose images, or neither."""
    found = None
    for _, folders, names in os.walk(path, followlinks=False):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                if suffix(name) in IMAGE_SUFFIXES:
                    return None
                kind = kind_of(name)
                if found is None and kind is not None and not KINDS[kind].of_paths:
                    found = kind
    return found


_TORCHVISION = (
    *("MNIST", "FashionMNIST", "KMNIST", "raw", "cifar-10-batches-py", "cifar-100-python"),
    *("cifar-10-batches-bin", "cifar-100-binary"),
)
"""Folders that torchvision makes within the root of a dataset."""
_BESIDE = (
    "processed",
    "cifar-10-python.tar.gz",
    "cifar-100-python.tar.gz",
    "cifar-10-binary.tar.gz",
    "cifar-100-binary.tar.gz",
)
"""What it may leave beside them."""


def published(path: str) -> list[str]:
    """Return the files or folders that count of a folder as it is published: MNIST, CIFAR, LeRobot's datasets.

    The folder may be the root that was given to torchvision: ``MNIST/raw`` within it, for one.
    """
    try:
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError:
        return []
    if (
        {"meta", "data"} <= set(names)
        and "videos" not in names
        and os.path.isfile(os.path.join(path, "meta/info.json"))
    ):
        return ["data"]  # LeRobot: the Parquet files beside it are about episodes
    inner = [name for name in names if name in _TORCHVISION]
    if len(inner) == 1 and set(names) <= {*inner, *_BESIDE}:
        return [f"{inner[0]}/{name}" for name in published(os.path.join(path, inner[0]))]
    batches = [name for name in names if re.fullmatch(r"data_batch_\d+(\.bin)?", name)]
    if batches:
        return batches
    if "train" in names and "meta" in names and os.path.isfile(os.path.join(path, "train")):
        return ["train"]  # CIFAR-100
    if {"train.bin", "fine_label_names.txt"} <= set(names):
        return ["train.bin"]
    plain = [name for name in names if name in ("train-images-idx3-ubyte", "train-images.idx3-ubyte")]
    packed = [name for name in names if name in ("train-images-idx3-ubyte.gz", "train-images.idx3-ubyte.gz")]
    return plain[:1] or packed[:1]


def open_container(kind: str, file: File, key: str, options: SourceOptions, *name: str) -> ShardSource:
    """Return the source of a file of a given kind; `name` is what is meant within it."""
    module, _, cls = KINDS[kind].cls.rpartition(".")
    source: ShardSource = getattr(importlib.import_module(f"gpustats.sources.{module}"), cls)(file, key, options, *name)
    source.takes = takes_of(kind)
    source.notes.kinds[kind] += 1
    return source


def takes_of(kind: str) -> frozenset[str]:
    """Return the options that a kind of source takes."""
    takes = frozenset(KINDS[kind].takes)
    return takes | {"storage_options"} if "root" in takes else takes


def check_options(options: SourceOptions, label: str, taken: frozenset[str]) -> None:
    """Raise `DataError` where an option was given that the source called `label` does not use."""
    for name in sorted(options.given - taken):
        *titles, last = (kind.title for kind in KINDS.values() if name in kind.takes)
        takers = f"{', '.join(titles)} and {last}" if titles else last
        what = f"{option('column')} as a position or a function" if name == "picked" else option(name)
        raise DataError(f"{what} is an option for {takers}; {printable(label)} does not use it")


def member_kind(name: str) -> str:
    """Say what a member of an archive is by its name: "image", or what it is passed over as.

    "outside" is a name that would leave the folder if it were extracted: absolute, with a drive, or with "..".

    >>> member_kind("cats/1.jpg"), member_kind("../1.jpg"), member_kind("._1.jpg"), member_kind("1.cls")
    ('image', 'outside', 'hidden', 'non_image')
    """
    parts = name.replace("\\", "/").removeprefix("./").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or name[1:2] == ":":
        return "outside"
    if any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX":
        return "hidden"
    return "image" if suffix(parts[-1]) in IMAGE_SUFFIXES else "non_image"


def suffix(name: str) -> str:
    """Return the ending of a file name, lower case, with its dot; "" where there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""
