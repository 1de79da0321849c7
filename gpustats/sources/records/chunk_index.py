"""The ``index.json`` of MosaicML's MDS and of LitData's optimized format: the columns, and the chunks with the samples.

MDS: https://docs.mosaicml.com/projects/streaming/en/stable/fundamentals/dataset_format.html and the packages' own
writers (streaming 0.13, litdata 0.2.76).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gpustats.failures import ImageError
from gpustats.sources.files.file import File

__all__ = ["OTHER_WAY", "Chunk", "Column", "read_index"]

_LARGEST = 1 << 30
_DEEPEST = 64
OTHER_WAY = "give the dataset object of the package: compute(StreamingDataset(...))"


@dataclass(frozen=True, slots=True)
class Column:
    """A value of every sample.

    Attributes
    ----------
    name : str
        With dots for deeper levels.
    encoding : str
        As the format calls it.
    size : int or None
        Bytes of the value where all have as many; else they stand in the sample.
    """

    name: str
    encoding: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A file of samples.

    Attributes
    ----------
    name : str
        In the folder of the index.
    samples : int
        How many it has.
    packed : str
        How the whole file is compressed: ``"zstd"``; "" where it is not.
    size : int
        The most bytes that it has when it is unpacked.
    hashes : tuple of (str, str)
        Name and value of hashes of the file as it is stored.
    """

    name: str
    samples: int
    packed: str = ""
    size: int = 0
    hashes: tuple[tuple[str, str], ...] = ()


def read_index(folder: File) -> list[tuple[Chunk, tuple[Column, ...]]]:
    """Return the chunks of a folder, each with its columns.

    Raises
    ------
    ImageError
        Where it is damaged, or of a variant that is not read.
    """
    with folder.below("index.json").open() as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ImageError("too_large", f"index.json is larger than {_LARGEST:,} bytes")
    try:
        index = json.loads(data)
        return list(_mds(index, folder) if "shards" in index else _litdata(index))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ImageError("corrupt", f"index.json is damaged: {type(error).__name__}: {error}") from None


def _mds(index: Any, folder: File) -> Iterator[tuple[Chunk, tuple[Column, ...]]]:
    for shard in index["shards"]:
        if (shard["format"], shard["version"]) != ("mds", 2):
            what = f"a shard of format {shard['format']!r:.40}, version {shard['version']!r:.40}"
            raise ImageError("unsupported", f"{what} is not read; {OTHER_WAY}")
        columns = zip(shard["column_names"], shard["column_encodings"], shard["column_sizes"], strict=True)
        raw, packed = shard["raw_data"], shard["zip_data"]
        name, size = _name(raw["basename"]), int(raw["bytes"])
        how, stored = "", raw
        local = folder.below(name).path
        if packed and (local is None or not os.path.exists(local)):  # a cache on this machine may hold both
            name, stored, how = _name(packed["basename"]), packed, str(shard["compression"]).partition(":")[0]
        yield (
            Chunk(name, int(shard["samples"]), how, size, _hashes(stored)),
            tuple(
                Column(str(column), str(encoding), int(size) if size else None) for column, encoding, size in columns
            ),
        )


def _hashes(file: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(value)) for name, value in (file.get("hashes") or {}).items())


def _litdata(index: Any) -> Iterator[tuple[Chunk, tuple[Column, ...]]]:
    config = index["config"]
    loader, level = config.get("item_loader"), config.get("compression_level")
    if config.get("encryption") or loader not in (None, "PyTreeLoader") or level not in (None, "chunk"):
        what = "encrypted" if config.get("encryption") else f"{level}-compressed" if level else loader
        raise ImageError("unsupported", f"LitData's {what} chunks are not read from their files; {OTHER_WAY}")
    names = list(_leaves(json.loads(config["data_spec"])[1]))
    columns = tuple(Column(name, str(form)) for name, form in zip(names, config["data_format"], strict=True))
    for chunk in index["chunks"]:
        how = str(config.get("compression") or "").partition(":")[0]
        samples = int(chunk["chunk_size"])
        # The header may or may not be part of the number of bytes, by version.
        yield Chunk(_name(chunk["filename"]), samples, how, int(chunk["chunk_bytes"]) + 4 * (samples + 2)), columns


def _leaves(spec: Any, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the names of the values in a tree of dicts and tuples, as PyTorch's pytree writes it."""
    children = spec["children_spec"]
    if not children or depth == _DEEPEST:
        yield prefix or "0"
        return
    context = json.loads(spec["context"]) if spec["context"] else None
    names = context if isinstance(context, list) and len(context) == len(children) else range(len(children))
    for name, child in zip(names, children, strict=True):
        yield from _leaves(child, f"{prefix}.{name}" if prefix else str(name), depth + 1)


def _name(name: Any) -> str:
    if not isinstance(name, str) or name != os.path.basename(name) or "\\" in name or name in ("", ".", ".."):
        raise ImageError("unsupported", f"the index names a file outside its folder: {name!r:.80}")
    return name
