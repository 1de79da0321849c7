"""Images and containers named by a pattern: a glob, or a range or choice in braces."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.sources.base import Entry, Part, Source, takes_of_parts
from gpustats.sources.files.file import key_of
from gpustats.sources.kinds import suffix

__all__ = ["BraceSource", "GlobSource", "expand_braces", "has_braces"]

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
_MOST_SHARDS = 1_000_000


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
        self.takes = takes_of_parts(self._matches(Counter()), given)

    def parts(self) -> Iterator[Entry]:
        """Yield matching images, and the folders and containers that match."""
        return self._matches(self.skipped)

    def _matches(self, skipped: Counter[str]) -> Iterator[Entry]:
        matches = sorted(
            {match.replace(os.sep, "/").rstrip("/") for match in glob.iglob(self._pattern, recursive=True)}
        )
        inside = ""  # a folder that was walked: everything below it was counted with it
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
        self.takes = takes_of_parts(map(self._entry, existing), given)

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
