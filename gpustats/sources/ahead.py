"""Remote files are fetched ahead: many requests are under way, and a bounded number of bytes is held."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from gpustats.failures import ImageError
from gpustats.sources.base import Batch, Part
from gpustats.sources.files.remote import UNKNOWN, RemoteFile
from gpustats.sources.items import check_bytes

__all__ = ["REQUESTS", "fetched_ahead"]

REQUESTS = 64
"""Requests that are under way at a time: they hide a latency of 50 ms up to 1,280 images/s."""

_AHEAD_FILES, _AHEAD_BYTES = 4 * REQUESTS, 64 << 20


def fetched_ahead(found: Iterable[Batch | Part]) -> Generator[Batch | Part, None, None]:
    """Yield the same batches in the same order, with the requests of those that follow under way.

    What is fetched is bounded in files and bytes. A file whose size is not known counts as those that came before.
    """
    ahead: deque[tuple[Batch, int, int]] = deque()
    held = count = 0
    requests = _Requests()
    try:
        for entry in found:
            files = [item for item in entry.items if isinstance(item, RemoteFile)] if isinstance(entry, Batch) else []
            if not isinstance(entry, Batch) or not files:
                while ahead:
                    yield ahead.popleft()[0]
                held = count = 0
                yield entry
                continue
            weight = requests.weight(files)
            while ahead and (count >= _AHEAD_FILES or held + weight > _AHEAD_BYTES):
                batch, freed, taken = ahead.popleft()
                held -= freed
                count -= taken
                yield batch
            fetched = iter(requests.make(files))
            items = [next(fetched) if isinstance(item, RemoteFile) else item for item in entry.items]
            ahead.append((replace(entry, items=items), weight, len(files)))
            held += weight
            count += len(files)
        while ahead:
            yield ahead.popleft()[0]
    except GeneratorExit:
        requests.cancel()
        raise
    finally:
        requests.end()  # what was handed over may still be on its way


class _Requests:
    """Requests of one stream: in the event loop of the file system where it has one, else in threads."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(REQUESTS)
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._loop: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._usual = UNKNOWN  # bytes of a file: of a recent large one

    def weight(self, files: list[RemoteFile]) -> int:
        """Return how many bytes files have, as far as that is known."""
        return sum(self._usual if file.size is None else file.held for file in files)

    def make(self, files: list[RemoteFile]) -> list[_Fetched]:
        """Begin to fetch files; those of one call have one file system."""
        loop = files[0].loop
        if loop is None or loop is not (self._loop or loop) or any(file.loop is not loop for file in files):
            self._pool = self._pool or ThreadPoolExecutor(REQUESTS, thread_name_prefix="gpustats-fetch")
            futures = [self._pool.submit(file.fetch) for file in files]
        else:
            self._loop = loop
            futures = [Future() for _ in files]
            loop.call_soon_threadsafe(self._begin, files, futures)  # once for all of them: it wakes another thread
        for future in futures:
            future.add_done_callback(self._learn)
        return [_Fetched(file.identity, future) for file, future in zip(files, futures, strict=True)]

    def _begin(self, files: list[RemoteFile], futures: list[Future[bytes]]) -> None:
        for file, future in zip(files, futures, strict=True):
            task = self._loop.create_task(self._fetch(file))
            self._tasks.add(task)
            task.add_done_callback(partial(self._done, future))

    async def _fetch(self, file: RemoteFile) -> bytes:
        async with self._slots:
            return await file.read()

    def _done(self, future: Future[bytes], task: asyncio.Task[bytes]) -> None:
        """Hand over what became of a request, also of one that was cancelled before it began."""
        self._tasks.discard(task)
        if task.cancelled():
            future.set_exception(ImageError("unreadable", "the run was stopped"))
        elif (error := task.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(task.result())

    def _learn(self, future: Future[bytes]) -> None:
        if not future.cancelled() and future.exception() is None:
            size = len(future.result())
            self._usual = max(size, self._usual - (self._usual - size) // 16)

    def cancel(self) -> None:
        """Give up what is not fetched yet."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tuple(self._tasks)])

    def end(self) -> None:
        """Say that no more will come."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)


class _Fetched:
    """An item whose bytes are on their way."""

    def __init__(self, identity: str, future: Future[bytes]) -> None:
        self.identity = identity
        self._future = future

    def __call__(self, max_bytes: int) -> bytes:
        data = self._future.result()
        check_bytes(len(data), max_bytes)
        return data
