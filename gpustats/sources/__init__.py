"""Where images come from. `open_source` picks the kind; each kind is one module with the contract of `base.Source`."""

from __future__ import annotations

import errno
import glob
import os

from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.sources.base import IMAGE_SUFFIXES, Batch, Source, load, suffix
from gpustats.sources.folder import FolderSource
from gpustats.sources.paths import FileSource, GlobSource, ListSource, TextListSource

__all__ = ["Batch", "Source", "load", "open_source"]

_LIST_SUFFIXES = (".txt", ".lst", ".list")


def open_source(data: object) -> Source:
    """Return the source for what the user gave.

    Parameters
    ----------
    data : str, PathLike or list
        A folder, an image, a text file with one path a line (``.txt``, ``.lst``, ``.list``), a glob pattern, or a
        list of these.

    Raises
    ------
    DataError
        Where it does not exist or is of no kind that can be read.
    """
    if isinstance(data, str | os.PathLike):
        return _open_path(os.fsdecode(data))
    if isinstance(data, list | tuple):
        if not data:
            raise DataError("the list is empty: give at least one path")
        return ListSource(data, open_source)
    raise DataError(
        f"cannot read images from {type(data).__name__} {data!r:.80}; give a folder, a file, a glob or a list of paths"
    )


def _open_path(path: str) -> Source:
    if not path:
        raise DataError("the path is empty: give a folder, a file, a glob or a list of paths")
    try:
        os.stat(path)
    except OSError as error:
        if glob.has_magic(path) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
            return GlobSource(path, FolderSource)
        raise DataError(f"{printable(path)}: {_explain(error)}") from None
    except ValueError as error:
        raise DataError(f"{printable(path)}: not a path: {error}") from None
    if os.path.isdir(path):
        return FolderSource(path)
    ending = suffix(os.path.basename(path))
    if ending in _LIST_SUFFIXES:
        return TextListSource(path)
    if ending in IMAGE_SUFFIXES or not ending:
        return FileSource(path)
    raise DataError(
        f"{printable(path)}: files ending in '{ending}' are not read; give a folder, an image "
        f"({', '.join(sorted(IMAGE_SUFFIXES))}) or a text file with one path a line ({', '.join(_LIST_SUFFIXES)})"
    )


def _explain(error: OSError) -> str:
    return "no such file or folder" if error.errno == errno.ENOENT else error.strerror or str(error)
