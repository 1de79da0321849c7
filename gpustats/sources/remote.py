"""Files behind fsspec URLs: folders, single files and lists of them, read ahead in threads, with retries.

What is shown of a URL never holds user information or a query, and errors are shown by their type and status only,
since their text may repeat the URL.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError, printable
from gpustats.sources.base import IMAGE_SUFFIXES, Entry, Item, Part, Sample, Source, check_bytes, suffix
from gpustats.sources.files import public_url
from gpustats.sources.kinds import LIST_SUFFIXES, kind_of, open_container, takes_of
from gpustats.sources.options import SourceOptions, missing_extra
from gpustats.sources.paths import BraceSource, FileSource, TextListSource, has_braces

__all__ = ["RemoteFile", "UrlReader", "open_url", "retry"]

ATTEMPTS = 6
_FIRST_DELAY = 0.1
_THREADS = 16
_AHEAD_ITEMS, _AHEAD_BYTES = 64, 64 << 20
_DEEPEST = 64

T = TypeVar("T")


def retry(function: Callable[[], T]) -> T:
    """Call a function that reads from afar until it succeeds, at most `ATTEMPTS` times, with growing random pauses.

    Raises
    ------
    ImageError
        ``missing`` at once where there is no such file; ``unreadable`` where access is refused or every attempt failed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return function()
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - every file system has errors of its own
            if isinstance(error, FileNotFoundError) and _status(error.__cause__) in (None, 404, 410):
                raise ImageError("missing", "no such file") from None
            # fsspec says "not found" for whatever went wrong when it asked for a size; the cause tells.
            what, final = _verdict(error.__cause__ or error)
            if final or attempt == ATTEMPTS:
                times = "" if attempt == 1 else f" after {attempt} attempts"
                raise ImageError("unreadable", f"reading failed{times}: {what}") from None
            time.sleep(_FIRST_DELAY * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
    raise AssertionError


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error of aiohttp or botocore carries."""
    status = getattr(error, "status", None)
    if not isinstance(status, int):
        response = getattr(error, "response", None)
        metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        status = metadata.get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _verdict(error: BaseException) -> tuple[str, bool]:
    """Return what may be shown of an error, and whether another attempt is in vain."""
    status, name = _status(error), type(error).__name__
    if status is not None:
        return f"{name} (HTTP status {status})", 400 <= status < 500 and status not in (408, 425, 429)
    return name, isinstance(error, PermissionError | NotImplementedError | TypeError | ImportError)


class RemoteFile:
    """A file behind a URL; see `files.File`.

    Parameters
    ----------
    system : fsspec file system
        With the user's credentials.
    path : str
        As the file system has it.
    label : str
        The URL without credentials.
    """

    def __init__(self, system: Any, path: str, label: str) -> None:
        self.path: str | None = None
        self.label = label
        self.name = unquote(label.rstrip("/").rpartition("/")[2])
        self._system = system
        self._remote = path

    def open(self) -> BinaryIO:
        """Open for reading ahead."""
        from gpustats.sources.remote_stream import open_stream

        return open_stream(self._system, self._remote)

    def sibling(self, name: str) -> str:
        """Return the URL of a file in the same folder."""
        return f"{self.label.rpartition('/')[0]}/{name}"

    def read(self, max_bytes: int) -> bytes:
        """Read the whole file, where it is not too large."""

        def fetch() -> bytes:
            size = self._system.info(self._remote).get("size")
            check_bytes(size or 0, max_bytes)
            data: bytes = self._system.cat_file(self._remote)
            if size is not None and len(data) != size:
                raise OSError("the body was cut off")
            return data

        return retry(fetch)


class UrlReader:
    """Reads files below one URL by their relative paths."""

    def __init__(self, base: str, options: SourceOptions) -> None:
        self._system, self._path = _connect(base, options)
        self._label = public_url(base).rstrip("/")

    def item(self, relative: str) -> Item:
        """Return an item that reads one file."""
        return RemoteFile(self._system, f"{self._path.rstrip('/')}/{relative}", f"{self._label}/{relative}").read


def open_url(url: str, key: str, options: SourceOptions) -> Source:
    """Return the source for a URL: by its ending a container, an image or a list; else a folder.

    Raises
    ------
    DataError
        Where a package for the protocol is missing, or nothing can be reached there.
    """
    if url.startswith(("file://", "local://")):
        raise DataError(f"{printable(public_url(url))}: give the path without the scheme")
    if has_braces(url):
        paths = BraceSource(
            url, lambda path, name: Part(name, open_url, (path, name, options)), options.given, exists=lambda path: True
        )
        paths.label = public_url(url)
        return paths
    label = public_url(url)
    system, path = _connect(url, options)
    file = RemoteFile(system, path, label)
    kind = kind_of(file.name)
    if kind is not None:
        source: Source = open_container(kind, file, key or file.name, options)
    elif suffix(file.name) in LIST_SUFFIXES:
        source = TextListSource(file, key, options)
    elif suffix(file.name) in IMAGE_SUFFIXES:
        source = FileSource(label, key or file.name, file.read)
    else:
        source = RemoteFolderSource(system, path, label, key, options)
    source.takes = source.takes | {"storage_options"}  # type: ignore[misc]
    return source


def _connect(url: str, options: SourceOptions) -> tuple[Any, str]:
    label = public_url(url)
    try:
        import fsspec
        import fsspec.core
    except ImportError:
        raise missing_extra(label, "URLs", "fsspec", "remote") from None
    if "::" in url:
        raise DataError(f"{printable(label)}: chained URLs ('::') are not read; give the URL of the container itself")
    try:
        system, path = fsspec.core.url_to_fs(url, **(options.storage_options or {}))
    except ImportError:
        scheme = url.partition("://")[0]
        raise missing_extra(label, f"{scheme}:// URLs", f"of fsspec for {scheme}", "remote") from None
    except Exception as error:  # noqa: BLE001 - the text may hold credentials, so only the type is shown
        raise DataError(f"{printable(label)}: cannot be opened: {type(error).__name__}") from None
    return system, str(path)


class RemoteFolderSource(Source):
    """Every image below a URL, or every container where there are no images; the first-level folder is the group.

    Images are fetched ahead by threads, so many requests are under way while a bounded number of bytes is held.

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
                if self._kind is None and kind is not None and kind != "manifest":
                    self._kind = kind
        except ImageError as error:
            raise DataError(f"{printable(label)}: cannot be listed: {error}") from None
        if self._kind is not None:
            self.takes = takes_of(self._kind)  # type: ignore[misc]

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

    def _images(self) -> Iterator[Sample | Failure]:
        ahead: deque[tuple[str, str, Future[bytes], int]] = deque()
        held = 0
        limit = self._options.max_bytes
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="gpustats-fetch")
        try:
            for name, size in self._walk("", self.skipped, 0):
                if suffix(name) not in IMAGE_SUFFIXES:
                    self.skipped["non_image"] += 1
                    continue
                weight = min(size if size is not None else 1 << 20, limit)
                while ahead and (len(ahead) >= _AHEAD_ITEMS or held + weight > _AHEAD_BYTES):
                    key, group, future, freed = ahead.popleft()
                    held -= freed
                    yield key, group, _result_of(future)
                group = name.partition("/")[0] if "/" in name else ""
                ahead.append((self._prefix + name, group, pool.submit(self._file(name).read, limit), weight))
                held += weight
            while ahead:
                key, group, future, _ = ahead.popleft()
                yield key, group, _result_of(future)
        except GeneratorExit:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            pool.shutdown(wait=False)  # what was handed over may still be on its way

    def _file(self, name: str) -> RemoteFile:
        return RemoteFile(self._system, f"{self._path}/{name}", f"{self.label.rstrip('/')}/{name}")

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


def _result_of(future: Future[bytes]) -> Callable[[int], bytes]:
    def read(max_bytes: int) -> bytes:
        data = future.result()
        check_bytes(len(data), max_bytes)
        return data

    return read
