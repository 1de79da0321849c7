"""What a file is: by its name, and by its first bytes where the name says nothing."""

from __future__ import annotations

import importlib
import re

from gpustats.sources.base import ShardSource, suffix
from gpustats.sources.files import File
from gpustats.sources.options import SourceOptions

__all__ = ["CONTAINER_ENDINGS", "LIST_SUFFIXES", "kind_of", "open_container", "takes_of"]

LIST_SUFFIXES = (".txt", ".lst", ".list")

_ENDINGS = {
    "tar": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
    "zip": (".zip",),
    "parquet": (".parquet", ".pq"),
    "tfrecord": (".tfrecord", ".tfrecords", ".tfrec", ".record", ".tfrecord.gz", ".tfrecords.gz"),
    "numpy": (".npy", ".npz"),
    "hdf5": (".h5", ".hdf5", ".he5"),
    "lmdb": (".mdb", ".lmdb"),
    "manifest": (".csv", ".tsv", ".jsonl", ".ndjson", ".json"),
    "idx": ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz"),
}
_CLASSES = {
    "tar": "TarSource",
    "zip": "ZipSource",
    "parquet": "ParquetSource",
    "tfrecord": "TFRecordSource",
    "numpy": "NumpyFileSource",
    "hdf5": "Hdf5Source",
    "lmdb": "LmdbSource",
    "manifest": "ManifestSource",
    "idx": "IdxSource",
    "cifar": "CifarSource",
}
CONTAINER_ENDINGS = tuple(ending for endings in _ENDINGS.values() for ending in endings)

# TensorFlow's own shard names have no ending: train-00000-of-01024, images.tfrecord-00000-of-00004.
_TFRECORD_SHARD = re.compile(r"(\.tfrecords?|\.record)?-\d{5}-of-\d{5}$")
_IDX_NAME = re.compile(r"idx[1-4]-ubyte(\.gz)?$")
_CIFAR_NAME = re.compile(r"(data_batch_\d+|test_batch|train|test)$")


def kind_of(name: str) -> str | None:
    """Return the kind of container that a file name speaks of, None where it speaks of none.

    >>> kind_of("photos.tar.gz"), kind_of("train-00000-of-01024"), kind_of("a.jpg")
    ('tar', 'tfrecord', None)
    """
    lower = name.lower()
    for kind, endings in _ENDINGS.items():
        if lower.endswith(endings):
            return kind
    if _TFRECORD_SHARD.search(lower):
        return "tfrecord"
    if _IDX_NAME.search(lower):
        return "idx"
    return None


def kind_of_content(file: File) -> str | None:
    """Look at the first bytes of a file whose name says nothing: MNIST idx or a CIFAR batch, else None."""
    if suffix(file.name) not in ("", ".gz", ".bin", ".pkl", ".pickle"):
        return None
    with file.open() as stream:
        head = stream.read(4)
    if len(head) == 4 and head[:3] == b"\0\0\x08" and 1 <= head[3] <= 4:
        return "idx"
    if head[:1] == b"\x80" and _CIFAR_NAME.match(file.name):
        return "cifar"
    return None


def open_container(kind: str, file: File, key: str, options: SourceOptions) -> ShardSource:
    """Return the source of a container of a given kind."""
    return _class(kind)(file, key, options)  # type: ignore[call-arg]


def takes_of(kind: str) -> frozenset[str]:
    """Return the options that a kind of container takes."""
    return _class(kind).takes


def _class(kind: str) -> type[ShardSource]:
    found: type[ShardSource] = getattr(importlib.import_module(f"gpustats.sources.{kind}"), _CLASSES[kind])
    return found
