"""Folders behind fsspec URLs."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError, printable
from gpustats.sources.base import Entry, Part, Source
from gpustats.sources.files.http import has_session, links
from gpustats.sources.files.remote import RemoteFile
from gpustats.sources.files.retry import Budget, retry
from gpustats.sources.kinds import KINDS, is_of_chunks, kind_of, open_container, suffix, takes_of
from gpustats.sources.options import SourceOptions

__all__ = ["RemoteFolderSource"]

_DEEPEST = 64
_LISTERS = 16
"""Folders that are listed at a time."""


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

    Attributes
    ----------
    of_chunks : bool
        Whether the folder is one container, of MDS or LitData. Then it is not to be read as a folder.
    """

    def __init__(self, system: Any, path: str, label: str, key: str, options: SourceOptions) -> None:
        super().__init__(label)
        self._system = system
        self._path = path.rstrip("/")
        self._prefix = key + "/" if key else ""
        self._options = options
        self._kind: str | None = None
        self._budget = Budget()
        self._listed: dict[str, list[dict[str, Any]]] = {}  # folders that were listed here, for the first reading
        self._opening = True
        try:
            here = self._found("", self._list(""), Counter())
            self.of_chunks = is_of_chunks([name for name, (is_folder, _) in here if not is_folder])
            if self.of_chunks:
                return
            for entry in self._walk(Counter()):
                if isinstance(entry, Failure):
                    continue
                name = entry[0]
                if suffix(name) in IMAGE_SUFFIXES:
                    self._kind = None
                    break
                kind = kind_of(name)
                if self._kind is None and kind is not None and not KINDS[kind].of_paths:
                    self._kind = kind
        except ImageError as error:
            raise DataError(f"{printable(label)}: cannot be listed: {error}") from None
        finally:
            self._opening = False
        if self._kind is not None:
            self.takes = takes_of(self._kind)

    def parts(self) -> Iterator[Entry]:
        """Yield the images or containers folder by folder, in the order of their names."""
        try:
            for entry in self._walk(self.skipped):
                if isinstance(entry, Failure):
                    yield entry
                    continue
                name, size = entry
                key = self._prefix + name
                if self._kind is None and suffix(name) in IMAGE_SUFFIXES:
                    yield key, name.partition("/")[0] if "/" in name else "", self._file(name, size)
                elif self._kind is not None and kind_of(name) == self._kind:
                    yield Part(key, open_container, (self._kind, self._file(name), key, self._options))
                else:
                    self.skipped["non_image"] += 1
        except ImageError as error:
            yield _not_listed(self._prefix or ".", error)

    def _file(self, name: str, size: int | None = None) -> RemoteFile:
        label = f"{self.label.rstrip('/')}/{name}"
        path = f"{self._path}/{name}"
        return RemoteFile(self._system, path, label, size, self._options.max_bytes, self._budget)

    def _walk(self, skipped: Counter[str]) -> Iterator[tuple[str, int | None] | Failure]:
        """Yield relative name and size (None: not known) of every file, and a failure for a folder below that fails."""
        pool = ThreadPoolExecutor(_LISTERS, thread_name_prefix="gpustats-list")
        try:
            yield from self._below("", pool.submit(self._list, ""), pool, skipped, 0)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _list(self, folder: str) -> list[dict[str, Any]]:
        listed = self._listed.pop(folder, None)
        if listed is None:
            listed = retry(lambda: self._entries(f"{self._path}/{folder}"), self._budget)
        if self._opening:
            self._listed[folder] = listed
        return listed

    def _entries(self, path: str) -> list[dict[str, Any]]:
        if has_session(self._system):
            from fsspec.asyn import sync

            found: list[dict[str, Any]] = sync(self._system.loop, links, self._system, path)
            if found:
                return found
        return list(self._system.ls(path, detail=True))

    def _below(
        self, folder: str, listing: Future[list[dict[str, Any]]], pool: Executor, skipped: Counter[str], depth: int
    ) -> Iterator[tuple[str, int | None] | Failure]:
        if depth > _DEEPEST:
            raise ImageError("unreadable", f"folders are nested more than {_DEEPEST} deep: a loop")
        found = self._found(folder, listing.result(), skipped)
        folders = iter([f"{folder}{name}/" for name, (is_folder, _) in found if is_folder])
        ahead = deque(pool.submit(self._list, name) for name in islice(folders, _LISTERS))
        for name, (is_folder, size) in found:
            if not is_folder:
                yield folder + name, size
                continue
            inner = f"{folder}{name}/"
            listing = ahead.popleft()
            ahead.extend(pool.submit(self._list, name) for name in islice(folders, 1))
            try:
                yield from self._below(inner, listing, pool, skipped, depth + 1)
            except ImageError as error:
                yield _not_listed(self._prefix + inner.rstrip("/"), error)

    def _found(
        self, folder: str, entries: list[dict[str, Any]], skipped: Counter[str]
    ) -> list[tuple[str, tuple[bool, int | None]]]:
        """Return the names in a folder in their order, whether each is a folder, and its size."""
        here = f"{self._path}/{folder}".rstrip("/")
        found: dict[str, tuple[bool, int | None]] = {}
        for entry in entries:
            path = re.split("[?#]", str(entry["name"]))[0]
            name = path.rstrip("/").removeprefix(here).strip("/")
            if not name or "/" in name or not path.startswith(here):
                continue  # the folder itself, or a link that leads elsewhere
            if name.startswith("."):
                skipped["hidden"] += 1
                continue
            found[name] = (entry.get("type") == "directory", entry.get("size"))
        return sorted(found.items())


def _not_listed(key: str, error: ImageError) -> Failure:
    return Failure(key, error.reason, f"the folder cannot be listed: {error}")
