"""Images named one by one: a single file, a list of paths, a text file of paths, a glob pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence

from gpustats.failures import Failure
from gpustats.sources.base import IMAGE_SUFFIXES, Sample, Source, suffix

__all__ = ["FileSource", "GlobSource", "ListSource", "TextListSource"]


class FileSource(Source):
    """One image file; its key is its name."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path

    def samples(self) -> Iterator[Sample | Failure]:
        """Yield the one sample."""
        yield os.path.basename(self._path), "", self._path

    def count(self) -> int:
        """Return 1."""
        return 1


class ListSource(Source):
    """A Python list: paths of images, and anything else that `open_source` takes.

    The key of an image is its path as it was given, with forward slashes.
    """

    def __init__(self, entries: Sequence[object], open_source: Callable[[object], Source]) -> None:
        super().__init__(f"a list of {len(entries):,}")
        self._entries = entries
        self._open_source = open_source

    def samples(self) -> Iterator[Sample | Failure]:
        """Yield the images in the order of the list."""
        for entry in self._entries:
            if isinstance(entry, str | os.PathLike):
                path = os.fsdecode(entry)
                if suffix(os.path.basename(path)) in IMAGE_SUFFIXES and not glob.has_magic(path):
                    yield path.replace(os.sep, "/"), "", path
                    continue
            source = self._open_source(entry)
            yield from source.samples()
            self.skipped.update(source.skipped)

    def count(self) -> int:
        """Return the length of the list: exact where every entry is an image."""
        return len(self._entries)


class TextListSource(Source):
    """A text file with the path of one image a line; blank lines and lines that start with ``#`` do not count.

    Relative paths are relative to the folder of the text file. The key is the line.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path

    def samples(self) -> Iterator[Sample | Failure]:
        """Yield the images line by line."""
        folder = os.path.dirname(self._path)
        for line in self._lines():
            yield line.replace(os.sep, "/"), "", os.path.join(folder, line)

    def count(self) -> int:
        """Count the lines."""
        return sum(1 for _ in self._lines())

    def _lines(self) -> Iterator[str]:
        with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                line = line.rstrip("\r\n")
                if line.strip() and not line.startswith("#"):
                    yield line


class GlobSource(Source):
    """Files and folders that match a pattern (``*``, ``?``, ``[...]``, ``**``), sorted.

    Keys are relative to the last folder before the first wildcard; the first level below it is the group.
    """

    def __init__(self, pattern: str, open_folder: Callable[[str, str], Source]) -> None:
        super().__init__(pattern)
        self._pattern = pattern
        self._open_folder = open_folder
        parts = pattern.replace(os.sep, "/").split("/")
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        self._base = "/".join(parts[:fixed]) + "/" if fixed else ""

    def samples(self) -> Iterator[Sample | Failure]:
        """Yield matching images, and the images below matching folders."""
        matches = sorted(
            {match.replace(os.sep, "/").rstrip("/") for match in glob.iglob(self._pattern, recursive=True)}
        )
        inside = ""  # a folder that was walked: what lies below it was counted with it
        for match in matches:
            if inside and match.startswith(inside):
                continue
            key = match[len(self._base) :]
            if os.path.isdir(match):
                inside = match + "/"
                source = self._open_folder(match, key + "/" if key else "")
                yield from source.samples()
                self.skipped.update(source.skipped)
            elif suffix(os.path.basename(match)) in IMAGE_SUFFIXES:
                yield key, key.partition("/")[0] if "/" in key else "", match
            else:
                self.skipped["non_image"] += 1
