"""Folders behind fsspec URLs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError, printable
from gpustats.sources.base import Entry, Part, Sample, Source
from gpustats.sources.files.remote import RemoteFile
from gpustats.sources.files.retry import retry
from gpustats.sources.kinds import KINDS, kind_of, open_container, suffix, takes_of
from gpustats.sources.options import SourceOptions

__all__ = ["RemoteFolderSource"]

_DEEPEST = 64


class RemoteFolderSource(Source):
    """Every image below a URL, or every container where there are no images; the first-level folder is the group.

    Parameters
    ----------
    system, path, label
        See `RemoteFile`.
    key : str
        What keys begin with.
    options : SourceOptions
        For the containers.
    """

    def __init__(self, system: Any, path: str, label: str, key: str, options: SourceOptions) -> None:
        super().__init__(label)
        self._system = system
        self._path = path.rstrip("/")
        self._prefix = key + "/" if key else ""
        self._options = options
        self._kind: str | None = None
        try:
            for name, _ in self._walk("", Counter(), 0):
                if suffix(name) in IMAGE_SUFFIXES:
                    self._kind = None
                    break
                kind = kind_of(name)
                if self._kind is None and kind is not None and not KINDS[kind].of_paths:
                    self._kind = kind
        except ImageError as error:
            raise DataError(f"{printable(label)}: cannot be listed: {error}") from None
        if self._kind is not None:
            self.takes = takes_of(self._kind)

    def parts(self) -> Iterator[Entry]:
        """Yield the images or containers folder by folder, in the order of their names."""
        try:
            if self._kind is None:
                yield from self._images()
            else:
                for name, _ in self._walk("", self.skipped, 0):
                    if kind_of(name) != self._kind:
                        self.skipped["non_image"] += 1
                        continue
                    key = self._prefix + name
                    yield Part(key, open_container, (self._kind, self._file(name), key, self._options))
        except ImageError as error:
            yield Failure(self._prefix or ".", error.reason, f"the folder cannot be listed: {error}")

    def _images(self) -> Iterator[Sample]:
        for name, size in self._walk("", self.skipped, 0):
            if suffix(name) in IMAGE_SUFFIXES:
                group = name.partition("/")[0] if "/" in name else ""
                yield self._prefix + name, group, self._file(name, size)
            else:
                self.skipped["non_image"] += 1

    def _file(self, name: str, size: int | None = None) -> RemoteFile:
        label = f"{self.label.rstrip('/')}/{name}"
        return RemoteFile(self._system, f"{self._path}/{name}", label, size, self._options.max_bytes)

    def _walk(self, folder: str, skipped: Counter[str], depth: int) -> Iterator[tuple[str, int | None]]:
        """Yield relative name and size (None: not known) of every file."""
        if depth > _DEEPEST:
            raise ImageError("unreadable", f"folders are nested more than {_DEEPEST} deep: a loop")
        here = f"{self._path}/{folder}"
        entries = retry(lambda: self._system.ls(here, detail=True))
        found: dict[str, tuple[bool, int | None]] = {}
        for entry in entries:
            path = re.split("[?#]", str(entry["name"]))[0]
            name = path.rstrip("/").removeprefix(here.rstrip("/")).strip("/")
            if not name or "/" in name or not path.startswith(here.rstrip("/")):
                continue  # the folder itself, or a link that leads elsewhere
            if name.startswith("."):
                skipped["hidden"] += 1
                continue
            found[name] = (entry.get("type") == "directory", entry.get("size"))
        for name, (is_folder, size) in sorted(found.items()):
            if is_folder:
                yield from self._walk(f"{folder}{name}/", skipped, depth + 1)
            else:
                yield folder + name, size
