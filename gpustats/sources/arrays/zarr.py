"""Zarr arrays of pixels: ``store.zarr`` or ``store.zarr::group/images``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError, printable
from gpustats.sources.arrays.layout import may_hold_images
from gpustats.sources.arrays.ome import multiscale, planes
from gpustats.sources.arrays.slabs import array_samples
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.choice import choose_one
from gpustats.sources.files.file import File
from gpustats.sources.items import check_bytes
from gpustats.sources.options import SourceOptions, missing_extra

__all__ = ["ZarrSource"]

_CODECS = frozenset(
    [
        "blosc",
        "zstd",
        "gzip",
        "zlib",
        "lz4",
        "lzma",
        "bz2",
        "shuffle",
        "bitshuffle",
        "delta",
        "bytes",
        "endian",
        "transpose",
        "crc32c",
        "sharding_indexed",
        "adler32",
        "crc32",
        "fletcher32",
        "jenkins_lookup3",
    ]
)
"""Codecs that only turn bytes into bytes; numcodecs' pickle, for one, would run what is in the store."""


class ZarrSource(ShardSource):
    """The images of one Zarr array (format 2 or 3) on this machine, read chunk by chunk.

    Of an OME-Zarr image the array of the full resolution is read, each plane with its channels as one image.

    Parameters
    ----------
    file : File
        The store's folder.
    key : str
        See `ShardSource`.
    options : SourceOptions
        `layout` counts.
    name : str
        The array within the store; "" for the store itself, or the only array in it.
    """

    def __init__(self, file: File, key: str, options: SourceOptions, name: str = "") -> None:
        super().__init__(file, key)
        self._path = file.label
        self._options = options
        self._name = name.strip("/")
        if ".." in self._name.split("/"):
            raise DataError(f"{printable(file.label)}::{printable(name)}: the name of an array may not hold '..'")
        try:
            import zarr  # noqa: F401
        except ImportError:
            raise missing_extra(file.label, "Zarr", "zarr", "zarr") from None

    def holder(self) -> str:
        """Return what identifies the store and the array in it."""
        return f"{self.file.identity}::{self._name}"

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        import zarr

        scales = None if self._name else multiscale(self._path)
        name = self._name or (scales.array if scales is not None else self._only_array())
        folder = os.path.join(self._path, name)
        _check_codecs(folder)
        try:
            array: Any = zarr.open_array(folder, mode="r")
            if array.dtype.kind == "O":
                raise ImageError("unsupported", "arrays of Python objects are not read")
            check_bytes(math.prod(array.chunks) * array.dtype.itemsize, self._options.max_bytes)
            key = f"{self.key}/{name}" if name else self.key
            chunk = array.chunks[0]
            limit = self._options.max_bytes
            for sample in (
                planes(array, scales.axes, key, limit)
                if scales is not None and self._options.layout == "auto"
                else array_samples(array, self._options.layout, key, limit, chunk=chunk)
            ):
                if name:
                    self.notes.choose("array", name)
                yield sample
        except ImageError:
            raise
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - codecs raise anything over damaged chunks
            raise ImageError("corrupt", f"Zarr: {type(error).__name__}: {error}") from None

    def _only_array(self) -> str:
        if _metadata(self._path) is not None:
            return ""
        found: dict[str, tuple[int, ...]] = {}
        for folder, folders, _ in os.walk(self._path):
            folders.sort()
            metadata = _metadata(folder)
            if metadata is not None:
                name = os.path.relpath(folder, self._path).replace(os.sep, "/")
                found[name] = _shape(metadata)
        self.notes.offer(found)
        images = {name: shape for name, shape in found.items() if may_hold_images(shape, self._options.layout)}
        how = f"{self.file.name}::NAME"
        chosen = choose_one(images or found, what="arrays", choose_with=how)
        if chosen is None:
            raise ImageError("unsupported", "the store holds no arrays")
        return chosen


def _metadata(folder: str) -> dict[str, Any] | None:
    """Return the metadata of the array in a folder, of either format; None where there is no array."""
    for name in (".zarray", "zarr.json"):
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                data = json.load(file)
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError):
            raise ImageError("corrupt", f"{name} is no JSON") from None
        if isinstance(data, dict) and (name == ".zarray" or data.get("node_type") == "array"):
            return data
    return None


def _shape(metadata: dict[str, Any]) -> tuple[int, ...]:
    shape = metadata.get("shape")
    return tuple(shape) if isinstance(shape, list) and all(type(size) is int for size in shape) else ()


def _check_codecs(folder: str) -> None:
    data = _metadata(folder)
    if data is None:
        raise ImageError("missing", "there is no array of that name")
    pending: list[Any] = [data.get("compressor"), data.get("filters"), data.get("codecs")]
    while pending:
        entry = pending.pop()
        if isinstance(entry, list):
            pending.extend(entry)
        elif isinstance(entry, dict):
            codec = entry.get("id", entry.get("name"))
            if codec is not None and str(codec).removeprefix("numcodecs.") not in _CODECS:
                raise ImageError("unsupported", f"the codec {str(codec)[:40]!r} is not one of those read here")
            configuration = entry.get("configuration")
            if isinstance(configuration, dict):  # sharding holds more codecs
                pending += [configuration.get("codecs"), configuration.get("index_codecs")]
