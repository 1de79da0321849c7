"""What the paths in a list or a table refer to."""

from __future__ import annotations

import os
from typing import Any

from gpustats.failures import Failure
from gpustats.sources.files.endings import with_ending
from gpustats.sources.files.file import File
from gpustats.sources.items import Item
from gpustats.sources.options import SourceOptions

__all__ = ["Root"]


class Root:
    """Turns the paths that a list or table holds into items.

    Parameters
    ----------
    file : File
        The list: relative paths are relative to its folder.
    options : SourceOptions
        `root` is the folder to use in its place, on this machine or behind a URL.
    """

    def __init__(self, file: File, options: SourceOptions) -> None:
        self._file = file
        self._options = options
        self._reader: Any = None
        self._base = ""
        if options.root is not None and "://" in options.root:
            self._base = options.root.rstrip("/") + "/"
        elif options.root is None and file.path is None:
            self._base = file.sibling("")
        if self._base:
            from gpustats.sources.files.remote import UrlReader

            self._reader = UrlReader(self._base, options)

    def item(self, path: str, key: str) -> Item | Failure:
        """Return the item for a path, or the failure where it may not be followed.

        A path without an ending may mean a file of this machine that has that of an image.
        A list may name any file, but the network is used only for URLs below one that the user gave.
        """
        if "://" in path:
            if self._base and path.startswith(self._base):
                return self._reader.item(path[len(self._base) :])  # type: ignore[no-any-return]
            return Failure(
                key, "unsupported", "a list may name URLs only below root=; give root='https://...' or the like"
            )
        if self._base:
            if path.startswith("/") or ".." in path.split("/"):
                return Failure(key, "unsupported", "a path below a URL may not be absolute or hold '..'")
            return self._reader.item(path.removeprefix("./"))  # type: ignore[no-any-return]
        path = self._file.sibling(path) if self._options.root is None else os.path.join(self._options.root, path)
        found = with_ending(path)
        if len(found) > 1:
            names = ", ".join(map(os.path.basename, found))
            return Failure(key, "unsupported", f"several files have this name: {names}; give the ending as well")
        return found[0] if found else path
