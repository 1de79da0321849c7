"""Images in a folder and its subfolders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import repeat

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.failures import Failure
from gpustats.sources.base import Entry, Part, Source
from gpustats.sources.kinds import suffix

__all__ = ["FolderSource"]


class FolderSource(Source):
    """Every image below a folder, in the byte order of the relative paths; the first-level subfolder is the group.

    Hidden names (a leading dot) and files without an image ending are passed over and counted. Symbolic links are
    followed; a folder that was already read under another name (a loop, or a second link) is passed over and counted. A
    folder that cannot be listed is a failure.

    Parameters
    ----------
    root : str
        An existing folder.
    prefix : str
        Put before every key: "" or a path that ends in "/".
    group_prefix : str, optional
        What of the prefix counts for the group; by default all of it.
    shard : callable, optional
        Read files that hold many images (archives, tables, arrays) in the place of loose images: the function returns
        the part for a path and its key, and None for a file of another kind.
    """

    def __init__(
        self,
        root: str,
        prefix: str = "",
        *,
        group_prefix: str | None = None,
        shard: Callable[[str, str], Part | None] | None = None,
    ) -> None:
        super().__init__(root)
        self._root = root
        self._prefix = prefix
        self._group_prefix = prefix if group_prefix is None else group_prefix
        self._shard = shard
        self.names_once = shard is None  # no folder is read twice

    def parts(self) -> Iterator[Entry]:
        """Yield the images or shards depth first, one folder listed at a time."""
        return self._walk(self.skipped)

    def count(self) -> int | None:
        """Count the images in a separate scan, which takes one or two seconds for a million files."""
        if self._shard is not None:
            return None
        return sum(not isinstance(sample, Failure) for sample in self._walk(Counter()))

    def _walk(self, skipped: Counter[str]) -> Iterator[Entry]:
        root = self._root.rstrip("/") + "/"
        seen: set[tuple[int, int]] = set()
        pending = [""]  # at most one folder, relative to the root: the one to list next
        stack: list[_Listed] = []
        while pending or stack:
            if pending:
                folder = pending.pop()
                try:
                    status = os.stat(root + folder)
                    identity = (status.st_dev, status.st_ino)
                    if identity in seen:
                        skipped["linked_folder"] += 1
                    else:
                        seen.add(identity)
                        stack.append(_Listed(folder, _listing(root + folder, skipped, self._shard is not None)))
                except OSError as error:
                    yield Failure(
                        self._prefix + (folder or "."), "unreadable", f"the folder cannot be listed: {error.strerror}"
                    )
                continue
            listed = stack[-1]
            files, inner = listed.next()
            yield from self._entries(listed.folder, root + listed.folder, files, skipped)
            if inner is None:
                stack.pop()
            else:
                pending.append(inner)

    def _entries(self, folder: str, path: str, names: list[str], skipped: Counter[str]) -> Iterator[Entry]:
        """Yield files of one folder."""
        key = self._prefix + folder
        if self._shard is None:
            group = (self._group_prefix + folder).partition("/")[0]
            yield from zip(map(key.__add__, names), repeat(group), map(path.__add__, names), strict=False)
            return
        for name in names:
            part = self._shard(path + name, key + name)
            if part is None:
                skipped["non_image"] += 1
            else:
                yield part


class _Listed:
    """A folder that is being read.

    Parameters
    ----------
    folder : str
        Relative to the root: "", or with a "/" at the end.
    names : list of str
        What is in it; those of folders end in "/".
    """

    def __init__(self, folder: str, names: list[str]) -> None:
        self.folder = folder
        self._names = names
        self._folders = [place for place, name in enumerate(names) if name[-1] == "/"][::-1]
        self._done = 0

    def next(self) -> tuple[list[str], str | None]:
        """Return the files up to the next inner folder, and that folder; None where there is none left."""
        start, end = self._done, self._folders.pop() if self._folders else len(self._names)
        self._done = end + 1
        return self._names[start:end], self.folder + self._names[end] if end < len(self._names) else None


def _listing(folder: str, skipped: Counter[str], every_file: bool) -> list[str]:
    """Return the image files (or all) and subfolders (with a trailing "/"), sorted by the bytes of their names."""
    names: list[str] = []
    with os.scandir(folder) as scan:
        for entry in scan:
            name = entry.name
            if name[0] == ".":
                skipped["hidden"] += 1
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            if is_folder:
                names.append(name + "/")
            elif not every_file and suffix(name) not in IMAGE_SUFFIXES:
                skipped["non_image"] += 1
            else:  # broken links and special files too: reading them gives the failure
                names.append(name)
    names.sort()  # the order of code points is that of UTF-8 bytes
    return names
