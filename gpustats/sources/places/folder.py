"""Images in a folder and its subfolders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

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
        stack: list[Iterator[tuple[str, bool]]] = []
        folders: list[str] = []
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
                        stack.append(iter(_listing(root + folder, skipped, self._shard is not None)))
                        folders.append(folder)
                except OSError as error:
                    yield Failure(
                        self._prefix + (folder or "."), "unreadable", f"the folder cannot be listed: {error.strerror}"
                    )
                continue
            folder = folders[-1]
            key_prefix = self._prefix + folder
            group = (self._group_prefix + folder).partition("/")[0]
            path_prefix = root + folder
            for name, is_folder in stack[-1]:
                if is_folder:
                    pending.append(folder + name)
                    break
                if self._shard is None:
                    yield key_prefix + name, group, path_prefix + name
                elif (part := self._shard(path_prefix + name, key_prefix + name)) is not None:
                    yield part
                else:
                    skipped["non_image"] += 1
            else:
                stack.pop()
                folders.pop()


def _listing(folder: str, skipped: Counter[str], every_file: bool) -> list[tuple[str, bool]]:
    """Return the image files (or all) and subfolders (with a trailing "/"), sorted by the bytes of their names."""
    entries: list[tuple[str, bool]] = []
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
                entries.append((name + "/", True))
            elif not every_file and suffix(name) not in IMAGE_SUFFIXES:
                skipped["non_image"] += 1
            else:  # broken links and special files too: reading them gives the failure
                entries.append((name, False))
    entries.sort()  # the order of code points is that of UTF-8 bytes
    return entries
