"""Images and containers named one by one: a file, a list, a text file of paths, a glob pattern, a range in braces."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from gpustats.errors import DataError
from gpustats.failures import Failure, printable
from gpustats.sources.base import IMAGE_SUFFIXES, Entry, Item, Part, Source, suffix, takes_of_parts
from gpustats.sources.files import File, key_of
from gpustats.sources.options import SourceOptions

__all__ = ["BraceSource", "FileSource", "GlobSource", "ListSource", "TextListSource", "expand_braces", "has_braces"]

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
_MOST_SHARDS = 1_000_000


class FileSource(Source):
    """One image file; its key is its name."""

    def __init__(self, path: str, key: str = "", item: Item | None = None) -> None:
        super().__init__(path)
        self._item: Item = path if item is None else item
        self._key = key or os.path.basename(path)

    def parts(self) -> Iterator[Entry]:
        """Yield the one sample."""
        yield self._key, "", self._item

    def count(self) -> int:
        """Return 1."""
        return 1


class ListSource(Source):
    """A Python list: paths of images, and anything else that `open_source` takes.

    The key of an image is its path as it was given, with forward slashes; keys from a folder or a container begin with
    its path, those of an object with its place in the list.

    Parameters
    ----------
    entries : sequence
        Not empty.
    part : callable
        Returns the part for an entry that is no image file, and its key.
    given : frozenset of str
        The options that the user set: those have a use that have one for any entry.
    """

    def __init__(
        self, entries: Sequence[object], part: Callable[[object, str], Part], given: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(f"a list of {len(entries):,}")
        self._entries = entries
        self._part = part
        self.takes = takes_of_parts(self.parts(), given)  # type: ignore[misc]

    def parts(self) -> Iterator[Entry]:
        """Yield the entries in the order of the list."""
        for position, entry in enumerate(self._entries):
            path = _image_path(entry)
            if path is not None:
                yield path.replace(os.sep, "/"), "", path
            else:
                named = isinstance(entry, str | os.PathLike)
                key = key_of(os.fsdecode(entry)).rstrip("/") if named else str(position)  # type: ignore[arg-type]
                yield self._part(entry, key)

    def count(self) -> int | None:
        """Return the length of the list where every entry is an image."""
        return len(self._entries) if all(_image_path(entry) is not None for entry in self._entries) else None


def _image_path(entry: object) -> str | None:
    if isinstance(entry, str | os.PathLike):
        path = os.fsdecode(entry)
        if suffix(os.path.basename(path)) in IMAGE_SUFFIXES and not glob.has_magic(path) and "://" not in path:
            return path
    return None


class TextListSource(Source):
    """A text file with the path of one image a line; blank lines and lines that start with ``#`` do not count.

    Relative paths are relative to the folder of the text file, or to ``root=``. The key is the line.
    """

    takes = frozenset({"root", "storage_options"})

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file.label)
        self._file = file
        self._prefix = key + "/" if key else ""
        self._options = options

    def parts(self) -> Iterator[Entry]:
        """Yield the images line by line."""
        from gpustats.sources.manifest import Root

        root = Root(self._file, self._options)
        for line in self._lines():
            key = self._prefix + key_of(line)
            item = root.item(line, key)
            if isinstance(item, Failure):
                yield item
            else:
                yield key, "", item

    def count(self) -> int | None:
        """Count the lines."""
        return sum(1 for _ in self._lines()) if self._file.path is not None else None

    def _lines(self) -> Iterator[str]:
        with self._file.open() as file:
            for raw in file:
                line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
                if line.strip() and not line.startswith("#"):
                    yield line


class GlobSource(Source):
    """Files and folders that match a pattern (``*``, ``?``, ``[...]``, ``**``), sorted.

    Keys are relative to the last folder before the first wildcard; the first level below it is the group.
    """

    def __init__(
        self, pattern: str, part: Callable[[str, str], Part | None], given: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(pattern)
        self._pattern = pattern
        self._part = part
        segments = pattern.replace(os.sep, "/").split("/")
        fixed = next(i for i, segment in enumerate(segments) if glob.has_magic(segment))
        self._base = "/".join(segments[:fixed]) + "/" if fixed else ""
        self.takes = takes_of_parts(self._matches(Counter()), given)  # type: ignore[misc]

    def parts(self) -> Iterator[Entry]:
        """Yield matching images, and the folders and containers that match."""
        return self._matches(self.skipped)

    def _matches(self, skipped: Counter[str]) -> Iterator[Entry]:
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
            elif suffix(os.path.basename(match)) in IMAGE_SUFFIXES:
                yield key, key.partition("/")[0] if "/" in key else "", match
                continue
            part = self._part(match, key)
            if part is not None:
                yield part
            else:
                skipped["non_image"] += 1


class BraceSource(Source):
    """Shards named by a range or a choice in braces: ``shard-{000000..000127}.tar``, ``{train,val}.tar``.

    A shard that does not exist is a failure, the others count.
    """

    def __init__(
        self,
        pattern: str,
        part: Callable[[str, str], Part],
        given: frozenset[str] = frozenset(),
        exists: Callable[[str], bool] = os.path.exists,
    ) -> None:
        super().__init__(key_of(pattern))
        self._part = part
        self._paths = expand_braces(pattern)
        fixed = key_of(pattern).rpartition("/")[0]
        while has_braces(fixed):
            fixed = fixed.rpartition("/")[0]
        self._base = len(fixed) + 1 if fixed else 0
        existing = [path for path in self._paths if exists(path)]
        if not existing:
            raise DataError(f"{printable(key_of(pattern))}: none of the {len(self._paths):,} files exists")
        self.takes = takes_of_parts(map(self._entry, existing), given)  # type: ignore[misc]

    def parts(self) -> Iterator[Entry]:
        """Yield the shards."""
        return map(self._entry, self._paths)

    def _entry(self, path: str) -> Part:
        return self._part(path, key_of(path)[self._base :])


def has_braces(text: str) -> bool:
    """Say whether there is a range or choice in braces to expand."""
    return _RANGE.search(text) is not None


def expand_braces(pattern: str) -> list[str]:
    """Write out ranges and choices in braces, the rightmost varying fastest.

    >>> expand_braces("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    >>> expand_braces("{a,b}.tar")
    ['a.tar', 'b.tar']
    """
    texts: list[str] = []
    choices: list[Sequence[str]] = []
    end = total = 0
    for match in _RANGE.finditer(pattern):
        texts.append(pattern[end : match.start()])
        end = match.end()
        low, high, words = match.groups()
        if words is not None:
            choices.append(words.split(","))
        else:
            if int(high) < int(low) or int(high) - int(low) >= _MOST_SHARDS:
                raise DataError(f"{printable(key_of(pattern))}: the range {match.group()} is empty or too long")
            width = len(low)
            choices.append([f"{i:0{width}d}" for i in range(int(low), int(high) + 1)])
        total = (total or 1) * len(choices[-1])
        if total > _MOST_SHARDS:
            raise DataError(f"{printable(key_of(pattern))}: that is more than {_MOST_SHARDS:,} files")
    tail = pattern[end:]
    return [
        "".join(text + part for text, part in zip(texts, parts, strict=True)) + tail
        for parts in itertools.product(*choices)
    ]
