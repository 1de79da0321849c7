"""Single files behind fsspec URLs. What is shown of a URL never holds user information or a query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, BinaryIO
from urllib.parse import unquote

from gpustats.errors import DataError
from gpustats.failures import ImageError, printable
from gpustats.sources.files.endings import has_image_ending
from gpustats.sources.files.file import public_url
from gpustats.sources.files.http import get, has_session
from gpustats.sources.files.retry import Attempts, Budget, retry
from gpustats.sources.files.stream import open_stream
from gpustats.sources.items import Item, check_bytes
from gpustats.sources.options import SourceOptions, missing_extra

__all__ = ["UNKNOWN", "FirstFound", "RemoteFile", "UrlImages", "UrlReader", "connect"]

_CONNECTIONS = 64
UNKNOWN = 1 << 20
"""Bytes that a file is taken to have whose size is not known."""


class RemoteFile:
    """A file behind a URL; see `files.File`. It is an item: called, it reads the whole file.

    Parameters
    ----------
    system : fsspec file system
        With the user's credentials.
    path : str
        As the file system has it.
    label : str
        The URL without credentials.
    size : int, optional
        As a listing gives it.
    max_bytes : int
        The most that `fetch` reads.
    budget : Budget, optional
        Of the source, for requests that fail.

    Attributes
    ----------
    size : int or None
        As the listing gave it.
    held : int
        Bytes that it takes when it was fetched, as far as that is known.
    """

    def __init__(
        self,
        system: Any,
        path: str,
        label: str,
        size: int | None = None,
        max_bytes: int = 1 << 32,
        budget: Budget | None = None,
    ) -> None:
        self.path: str | None = None
        protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
        self.identity = f"{protocol}://{path}"
        self.label = label
        self.name = unquote(label.rstrip("/").rpartition("/")[2])
        self._system = system
        self._remote = path
        self.size = size
        self._max_bytes = max_bytes
        self._budget = budget
        self.held = min(UNKNOWN if size is None else size, max_bytes)

    def open(self) -> BinaryIO:
        """Open for reading ahead."""
        return open_stream(self._system, self._remote)

    def sibling(self, name: str) -> str:
        """Return the URL of a file in the same folder."""
        return f"{self.label.rpartition('/')[0]}/{name}"

    def below(self, name: str) -> RemoteFile:
        """Return a file in this, which is a folder."""
        path, label = (f"{place.rstrip('/')}/{name}" for place in (self._remote, self.label))
        return RemoteFile(self._system, path, label, max_bytes=self._max_bytes, budget=self._budget)

    @property
    def loop(self) -> Any:
        """The event loop in which `read` runs; None where the file system has none."""
        return getattr(self._system, "loop", None) if getattr(self._system, "async_impl", False) else None

    def fetch(self) -> bytes:
        """Read the whole file, where it is not too large for its source."""
        return self(self._max_bytes)

    def __call__(self, max_bytes: int) -> bytes:
        """Read the whole file, where it is not too large."""
        if self.loop is not None:
            from fsspec.asyn import sync

            data: bytes = sync(self.loop, self.read, max_bytes)
            return data
        sizes = iter([self.size] if self.size else [])  # that of the listing may be out of date by the second attempt

        def whole() -> bytes:
            size = next(sizes, None)
            if size is None:
                size = self._system.info(self._remote).get("size")
            check_bytes(size or 0, max_bytes)
            return _checked(self._system.cat_file(self._remote), size)

        return retry(whole, self._budget)

    async def read(self, max_bytes: int | None = None) -> bytes:
        """Do what a call does, in the event loop of the file system: one thread has many requests under way."""
        limit = self._max_bytes if max_bytes is None else max_bytes
        attempts = Attempts(self._budget)
        size = self.size
        while True:
            try:
                if size is None and has_session(self._system):
                    data = await get(self._system, self._remote, limit)
                else:
                    if size is None:
                        size = (await self._system._info(self._remote)).get("size")
                    check_bytes(size or 0, limit)
                    data = _checked(await self._system._cat_file(self._remote), size)
            except Exception as error:  # noqa: BLE001 - every file system has its own errors
                pause, size = attempts.after(error), None
            else:
                attempts.good()
                return data
            await asyncio.sleep(pause)


def _checked(data: bytes, size: int | None) -> bytes:
    if size is not None and len(data) != size:
        raise OSError("the body was cut off")
    return data


class UrlReader:
    """Reads files below one URL by their relative paths."""

    def __init__(self, base: str, options: SourceOptions) -> None:
        self._system, self._path = connect(base, options)
        self._label = public_url(base).rstrip("/")
        self._max_bytes = options.max_bytes
        self._suffixes = options.suffixes
        self._budget = Budget()

    def item(self, relative: str) -> Item:
        """Return an item that reads one file."""
        if self._suffixes is None or has_image_ending(relative):
            return self._file(relative)
        return FirstFound([self._file(relative + suffix) for suffix in self._suffixes])

    def _file(self, relative: str) -> RemoteFile:
        path, label = f"{self._path.rstrip('/')}/{relative}", f"{self._label}/{relative}"
        return RemoteFile(self._system, path, label, max_bytes=self._max_bytes, budget=self._budget)


class UrlImages:
    """Gives images by their URLs."""

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._budget = Budget()

    def item(self, url: str) -> RemoteFile:
        """Return an item that reads one file.

        Raises
        ------
        DataError
            See `connect`.
        """
        system, path = connect(url, self._options)
        return RemoteFile(system, path, public_url(url), max_bytes=self._options.max_bytes, budget=self._budget)


class FirstFound(RemoteFile):
    """The first of several files that exists.

    Parameters
    ----------
    files : sequence of RemoteFile
        At least one.
    """

    def __init__(self, files: Sequence[RemoteFile]) -> None:
        first = files[0]
        super().__init__(first._system, first._remote, first.label, max_bytes=first._max_bytes)
        self._files = files

    def __call__(self, max_bytes: int) -> bytes:
        """Read the whole file, where it is not too large."""
        for file in self._files[:-1]:
            try:
                return file(max_bytes)
            except ImageError as error:
                _go_on(error)
        return self._files[-1](max_bytes)

    async def read(self, max_bytes: int | None = None) -> bytes:
        """Do what a call does, in the event loop of the file system."""
        for file in self._files[:-1]:
            try:
                return await file.read(max_bytes)
            except ImageError as error:
                _go_on(error)
        return await self._files[-1].read(max_bytes)


def _go_on(error: ImageError) -> None:
    if error.reason != "missing":
        raise error


def connect(url: str, options: SourceOptions) -> tuple[Any, str]:
    """Return the fsspec file system for a URL, and the path as that has it.

    Raises
    ------
    DataError
        Where a package for the protocol is missing, or the URL is of a form that is not read.
    """
    label = public_url(url)
    try:
        import fsspec
        import fsspec.core
    except ImportError:
        raise missing_extra(label, "URLs", "fsspec", "remote") from None
    if "::" in url:
        raise DataError(f"{printable(label)}: chained URLs ('::') are not read; give the URL of the container itself")
    try:
        system, path = fsspec.core.url_to_fs(url, **_with_connections(url, dict(options.storage_options or {})))
    except ImportError:
        scheme = url.partition("://")[0]
        raise missing_extra(label, f"{scheme}:// URLs", f"of fsspec for {scheme}", "remote") from None
    except Exception as error:  # noqa: BLE001 - the text may hold credentials, so only the type is shown
        raise DataError(f"{printable(label)}: cannot be opened: {type(error).__name__}") from None
    return system, str(path)


def _with_connections(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Allow as many connections to S3 as there are requests at a time; botocore's own limit is 10."""
    if url.startswith(("s3://", "s3a://")):
        options["config_kwargs"] = {"max_pool_connections": _CONNECTIONS, **(options.get("config_kwargs") or {})}
    return options
