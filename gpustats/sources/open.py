"""Opens whatever the user gave: a path, a pattern, a URL, a list or an object."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Callable
from functools import cache
from typing import Any

from gpustats.decode.formats import IMAGE_SUFFIXES, sniff
from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.sources.base import Part, Source
from gpustats.sources.files.endings import with_ending
from gpustats.sources.files.file import LOCAL_SCHEMES, LocalFile, public_url
from gpustats.sources.items import Item
from gpustats.sources.kinds import (
    check_options,
    check_readable,
    kind_of,
    kind_of_content,
    kind_of_folder,
    kind_within,
    open_container,
    published,
    suffix,
    takes_of,
)
from gpustats.sources.once import Once
from gpustats.sources.options import SourceOptions
from gpustats.sources.places.folder import FolderSource
from gpustats.sources.places.keys import KeysSource
from gpustats.sources.places.lists import FileSource, ListSource
from gpustats.sources.places.patterns import BraceSource, GlobSource, has_braces

__all__ = ["open_source", "open_url"]


def open_source(data: object, options: SourceOptions | None = None, key: str = "") -> Source:
    """Return the source for what the user gave.

    Parameters
    ----------
    data
        See `gpustats.compute`.
    options : SourceOptions, optional
        How to read it.
    key : str
        What the keys of its images begin with.

    Raises
    ------
    DataError
        Where it does not exist or is of no kind that can be read, and where an option was given that it does not
        use.
    """
    options = options or SourceOptions()
    source = _open(data, key, options)
    check_options(options, source.label, source.takes)
    return source if options.repeats == "count" or source.names_once or source.holder() is not None else Once(source)


def _open(data: object, key: str, options: SourceOptions) -> Source:
    """Open anything; `key` is what the keys of its images begin with, "" for what stands alone."""
    if isinstance(data, str | os.PathLike):
        path = os.fsdecode(data)
        return open_url(path, key, options) if "://" in path else _open_path(path, key, options)
    from gpustats.sources.elements import is_element
    from gpustats.sources.objects import as_list, open_object

    if not isinstance(data, list | tuple):
        found = as_list(data)
        if found is None:
            return open_object(data, key, options)
        data = found
    if not len(data):
        raise DataError("the list is empty: give at least one path or image")
    if {"root", "suffixes"} & options.given and all(map(_is_name, data)):
        return KeysSource([os.fsdecode(name) for name in data], options)
    labelled = isinstance(data, tuple) and is_element(data) and not is_element(data[-1])
    if not labelled and not all(map(is_element, data)):
        return ListSource(
            data, lambda entry, key: Part(key, _open, (entry, key, options)), options.given, _images_by_url(options)
        )
    return open_object([data] if labelled else data, key, options)


def _images_by_url(options: SourceOptions) -> Callable[[str], Item]:
    @cache
    def images() -> Any:
        from gpustats.sources.files.remote import UrlImages

        return UrlImages(options)

    return lambda url: images().item(url)


def _is_name(entry: object) -> bool:
    """Say whether an entry of a list names one image, and nothing that holds images."""
    if not isinstance(entry, str | os.PathLike):
        return False
    path = os.fsdecode(entry)
    name = os.path.basename(path)
    return suffix(name) in IMAGE_SUFFIXES or not (kind_of(name) or "://" in path or glob.has_magic(path))


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
        return open_container(kind, file, key if kind == "list" else key or file.name, options)
    ending = suffix(file.name)
    if ending in IMAGE_SUFFIXES or not ending or _is_image(file):
        return FileSource(path, key)
    check_readable(path, inside=False)
    raise DataError(f"{printable(path)}: files ending in '{ending}' are not read")


def _is_image(file: LocalFile) -> bool:
    """Say whether a file that was named has the first bytes of an image, whatever its name says."""
    try:
        with file.open() as stream:
            return sniff(stream.read(16)) is not None
    except OSError:
        return False


def _open_missing(path: str, key: str, options: SourceOptions) -> Source | None:
    """Open what is no path but a way to write several, or a part of a file."""
    outer, parts, inner = path.partition("::")
    if parts and os.path.exists(outer):
        name = os.path.basename(outer.rstrip("/"))
        kind = "zarr" if os.path.isdir(outer) else kind_of(name)
        if kind in ("zarr", "hdf5"):
            return open_container(kind, LocalFile(outer), key or name, options, inner)
    if has_braces(path):
        return BraceSource(path, lambda entry, name: Part(name, _open_path, (entry, name, options)), options.given)
    if glob.has_magic(path):
        return GlobSource(path, lambda match, name: _match(match, name, options), options.given)
    found = with_ending(path)
    if len(found) > 1:
        raise DataError(f"{printable(path)}: several files have this name: {', '.join(map(printable, found))}")
    return FileSource(found[0], key) if found else None


def _match(path: str, key: str, options: SourceOptions) -> Part | None:
    """Return the part for what a glob found: a folder, whose keys begin with `key`, or a container."""
    if os.path.isdir(path):
        return Part(key, _open_folder, (path, key, options, key + "/" if key else ""))
    kind = kind_of(os.path.basename(path))
    return _shard(kind, path, key, options) if kind not in (None, "list") else None


def _shard(kind: str, path: str, key: str, options: SourceOptions) -> Part:
    return Part(key, open_container, (kind, LocalFile(path), key, options))


def _saved(path: str) -> Any | None:
    """Return the dataset of Hugging Face that a folder is; None where it is none."""
    if any(os.path.isfile(os.path.join(path, name)) for name in ("state.json", "dataset_dict.json")):
        from gpustats.sources.tables.huggingface import saved_dataset

        return saved_dataset(path)
    return None


def _open_folder(path: str, key: str, options: SourceOptions, group_prefix: str = "") -> Source:
    name = key or os.path.basename(os.path.abspath(path))
    kind = kind_of_folder(path)
    if kind is not None:
        return open_container(kind, LocalFile(path), name, options)
    saved = _saved(path)
    if saved is not None:
        from gpustats.sources.tables.huggingface import HuggingFaceSource

        return HuggingFaceSource(saved, key, options)
    prefix = key + "/" if key else ""
    special = published(path)
    if special:

        def entry(file: object, _: str) -> Part:
            name = prefix + os.path.basename(str(file))
            return Part(name, _open_path, (file, name, options))

        source = ListSource([os.path.join(path, name) for name in special], entry, options.given)
        source.label = path
        return source
    check_readable(path)
    kind = kind_within(path)
    if kind is None:
        return FolderSource(path, prefix, group_prefix=group_prefix)

    def shard(file: str, name: str) -> Part | None:
        # Of one kind, so that a table of labels next to the shards is not taken for images.
        return _shard(kind, file, name, options) if kind_of(file) == kind else None

    folder = FolderSource(path, prefix, group_prefix=group_prefix, shard=shard)
    folder.takes = takes_of(kind)
    return folder


def open_url(url: str, key: str, options: SourceOptions) -> Source:
    """Return the source for a URL: by its ending a container, an image or a list; else a folder.

    Raises
    ------
    DataError
        Where a package for the protocol is missing, or nothing can be reached there.
    """
    if url.startswith(LOCAL_SCHEMES):
        raise DataError(f"{printable(public_url(url))}: give the path without the scheme")
    label = public_url(url)
    if has_braces(url):
        shards = BraceSource(
            url, lambda path, name: Part(name, open_url, (path, name, options)), options.given, exists=lambda path: True
        )
        shards.label = label
        return shards
    from gpustats.sources.files.remote import RemoteFile, connect
    from gpustats.sources.places.remote_folder import RemoteFolderSource

    system, path = connect(url, options)
    file = RemoteFile(system, path, label, max_bytes=options.max_bytes)
    kind = kind_of(file.name)
    if kind is not None:
        source: Source = open_container(kind, file, key if kind == "list" else key or file.name, options)
    elif suffix(file.name) in IMAGE_SUFFIXES:
        source = FileSource(label, key or file.name, file)
    else:
        source = folder = RemoteFolderSource(system, path, label, key, options)
        if folder.of_chunks:
            source = open_container("chunks", file, key or file.name, options)
    source.takes |= takes_of("url")
    return source


def _explain(error: OSError) -> str:
    return "no such file or folder" if error.errno == errno.ENOENT else error.strerror or str(error)
