"""Where images come from. `open_source` picks the kind; each kind is one module with the contract of `base.Source`."""

from __future__ import annotations

import errno
import glob
import os

from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.sources.base import IMAGE_SUFFIXES, Batch, Part, Source, load, suffix
from gpustats.sources.files import LocalFile
from gpustats.sources.folder import FolderSource
from gpustats.sources.kinds import CONTAINER_ENDINGS, LIST_SUFFIXES, kind_of, kind_of_content, open_container, takes_of
from gpustats.sources.options import SourceOptions
from gpustats.sources.paths import BraceSource, FileSource, GlobSource, ListSource, TextListSource, has_braces

__all__ = ["Batch", "Source", "SourceOptions", "load", "open_source"]


def open_source(data: object, options: SourceOptions | None = None) -> Source:
    """Return the source for what the user gave.

    Parameters
    ----------
    data
        See `gpustats.compute`.
    options : SourceOptions, optional
        How to read it.

    Raises
    ------
    DataError
        Where it does not exist or is of no kind that can be read.
    ValueError
        Where an option was given that this kind of source has no use for.
    """
    options = options or SourceOptions()
    source = _open(data, "", options)
    options.check(source.label, source.takes)
    return source


def _open(data: object, key: str, options: SourceOptions) -> Source:
    """Open anything; `key` is what the keys of its images begin with, "" for what stands alone."""
    if isinstance(data, str | os.PathLike):
        path = os.fsdecode(data)
        if "://" in path:
            from gpustats.sources.remote import open_url

            return open_url(path, key, options)
        return _open_path(path, key, options)
    from gpustats.sources.objects import is_image_object, open_object

    if isinstance(data, list | tuple):
        if not len(data):
            raise DataError("the list is empty: give at least one path or image")
        labelled = isinstance(data, tuple) and is_image_object(data) and not is_image_object(data[-1])
        if not labelled and not all(map(is_image_object, data)):
            return ListSource(data, lambda entry, key: Part(key, _open, (entry, key, options)), options.given)
        data = [data] if labelled else data
    return open_object(data, key, options)


def _open_path(path: str, key: str, options: SourceOptions) -> Source:
    if not path:
        raise DataError("the path is empty: give a folder, a file, a glob or a list of paths")
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
            special = _open_missing(path, key, options)
            if special is not None:
                return special
        raise DataError(f"{printable(path)}: {_explain(error)}") from None
    except ValueError as error:
        raise DataError(f"{printable(path)}: not a path: {error}") from None
    if os.path.isdir(path):
        return _open_folder(path, key, options)
    file = LocalFile(path)
    try:
        kind = kind_of(file.name) or kind_of_content(file)
    except OSError as error:
        raise DataError(f"{printable(path)}: {_explain(error)}") from None
    if kind is not None:
        return open_container(kind, file, key or file.name, options)
    ending = suffix(file.name)
    if ending in LIST_SUFFIXES:
        return TextListSource(file, key, options)
    if ending in IMAGE_SUFFIXES or not ending:
        return FileSource(path, key)
    raise DataError(
        f"{printable(path)}: files ending in '{ending}' are not read; give a folder, an image "
        f"({', '.join(sorted(IMAGE_SUFFIXES))}), a container ({', '.join(CONTAINER_ENDINGS)}) or a text file with "
        f"one path a line ({', '.join(LIST_SUFFIXES)})"
    )


def _open_missing(path: str, key: str, options: SourceOptions) -> Source | None:
    """Open what is no path but a way to write several, or a part of a file."""
    outer, parts, inner = path.partition("::")
    if parts and os.path.exists(outer):
        kind = "zarr" if os.path.isdir(outer) else kind_of(os.path.basename(outer))
        if kind == "zarr":
            from gpustats.sources.zarr import ZarrSource

            return ZarrSource(outer, key or os.path.basename(outer.rstrip("/")), options, inner)
        if kind == "hdf5":
            from gpustats.sources.hdf5 import Hdf5Source

            return Hdf5Source(LocalFile(outer), key or os.path.basename(outer), options, inner)
    if has_braces(path):
        return BraceSource(path, lambda entry, name: Part(name, _open_path, (entry, name, options)), options.given)
    if glob.has_magic(path):
        return GlobSource(path, lambda match, name: _match(match, name, options), options.given)
    return None


def _match(path: str, key: str, options: SourceOptions) -> Part | None:
    """Return the part for what a glob found: a folder, whose keys begin with `key`, or a container."""
    if os.path.isdir(path):
        return Part(key, _open_folder, (path, key, options, key + "/" if key else ""))
    return _shard(kind_of(os.path.basename(path)), path, key, options)


def _shard(kind: str | None, path: str, key: str, options: SourceOptions) -> Part | None:
    return None if kind is None else Part(key, open_container, (kind, LocalFile(path), key, options))


def _open_folder(path: str, key: str, options: SourceOptions, group_prefix: str = "") -> Source:
    name = key or os.path.basename(os.path.abspath(path))
    if os.path.isfile(os.path.join(path, "data.mdb")):
        return open_container("lmdb", LocalFile(path), name, options)
    if any(os.path.isfile(os.path.join(path, meta)) for meta in (".zarray", ".zgroup", "zarr.json")):
        from gpustats.sources.zarr import ZarrSource

        return ZarrSource(path, name, options)
    prefix = key + "/" if key else ""
    special = _published(path)
    if special:
        entries = [os.path.join(path, name) for name in special]

        def entry(file: object, _: str) -> Part:
            name = prefix + os.path.basename(str(file))
            return Part(name, _open_path, (file, name, options))

        source = ListSource(entries, entry, options.given)
        source.label = path
        return source
    kind = _kind_within(path)
    if kind is None:
        return FolderSource(path, prefix, group_prefix=group_prefix)

    def shard(file: str, name: str) -> Part | None:
        # Of one kind, so that a table of labels beside the shards is not taken for images.
        return _shard(kind, file, name, options) if kind_of(file) == kind else None

    folder = FolderSource(path, prefix, group_prefix=group_prefix, shard=shard)
    folder.takes = takes_of(kind)  # type: ignore[misc]
    return folder


def _published(path: str) -> list[str]:
    """Return the training files of MNIST and CIFAR where a folder holds these as they are published."""
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return []
    batches = [name for name in names if name.startswith("data_batch_") and name[11:].isdigit()]
    if batches:
        return batches
    if "train" in names and "meta" in names and os.path.isfile(os.path.join(path, "train")):
        return ["train"]  # CIFAR-100
    plain = [name for name in names if name in ("train-images-idx3-ubyte", "train-images.idx3-ubyte")]
    packed = [name for name in names if name in ("train-images-idx3-ubyte.gz", "train-images.idx3-ubyte.gz")]
    return plain[:1] or packed[:1]


def _kind_within(path: str) -> str | None:
    """Return the kind of containers that a folder holds; None where it holds loose images, or neither."""
    found = None
    for _, folders, names in os.walk(path, followlinks=False):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                if suffix(name) in IMAGE_SUFFIXES:
                    return None
                kind = kind_of(name)
                if kind is not None and kind != "manifest" and found is None:
                    found = kind
    return found


def _explain(error: OSError) -> str:
    return "no such file or folder" if error.errno == errno.ENOENT else error.strerror or str(error)
