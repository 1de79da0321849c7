"""What the paths in a list or a table refer to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from gpustats.failures import Failure
from gpustats.sources.files.endings import with_ending
from gpustats.sources.files.file import File
from gpustats.sources.items import Item
from gpustats.sources.options import SourceOptions
from gpustats.wording import option

__all__ = ["Root"]


class Root:
    """Turns the paths that a list or table holds into items.

    Parameters
    ----------
    file : File
        The list: relative paths are relative to its folder.
    options : SourceOptions
        `root` is the folder to use in its place, on this machine or behind a URL; `suffixes` are endings.
    """

    def __init__(self, file: File, options: SourceOptions) -> None:
        self._file = file
        self._options = options
        self._reader: Any = None
        self._base = ""
        self._folder: str | None = None
        if options.root is not None and "://" in options.root:
            self._base = options.root.rstrip("/") + "/"
        elif options.root is None and file.path is None:
            self._base = file.sibling("")
        if self._base:
            from gpustats.sources.files.remote import UrlReader

            self._reader = UrlReader(self._base, options)

    def item(self, path: str, key: str, beside: Sequence[str] = ("",)) -> Item | Failure:
        """Return the item for a path, or the failure where it may not be followed.

        A path without an ending may mean a file that has one of `suffixes`, by default that of an image. Where there is
        no `root`, it is looked for in the folders `beside`, which are relative to that of the list; the first folder in
        which one is found counts for all that follow.
        A list may name any file, but the network is used only for URLs below one that the user gave.
        """
        if "://" in path:
            if self._base and path.startswith(self._base):
                return self._reader.item(path[len(self._base) :])  # type: ignore[no-any-return]
            example = option("root", "https://...")
            return Failure(
                key, "unsupported", f"a list may name URLs only below {option('root')}; give {example} or the like"
            )
        if self._base:
            if path.startswith("/") or ".." in path.split("/"):
                return Failure(key, "unsupported", "a path below a URL may not be absolute or hold '..'")
            return self._reader.item(path.removeprefix("./"))  # type: ignore[no-any-return]
        if self._options.root is not None:
            found = with_ending(os.path.join(self._options.root, path), self._options.suffixes)
        else:
            found = self._in_folders(path, beside)
        if len(found) > 1:
            names = ", ".join(map(os.path.basename, found))
            return Failure(key, "unsupported", f"several files have this name: {names}; give the ending as well")
        if found:
            return found[0]
        return self._file.sibling(path) if self._options.root is None else os.path.join(self._options.root, path)

    def _in_folders(self, path: str, folders: Sequence[str]) -> list[str]:
        if self._folder is not None or len(folders) == 1:
            folder = folders[0] if self._folder is None else self._folder
            return with_ending(self._file.sibling(os.path.join(folder, path)), self._options.suffixes)
        for folder in folders:
            found = with_ending(self._file.sibling(os.path.join(folder, path)), self._options.suffixes)
            if any(map(os.path.exists, found)):
                self._folder = folder
                return found
        return []
