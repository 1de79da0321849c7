"""Remote files are fetched ahead by threads: many requests are under way, and a bounded number of bytes is held."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from gpustats.sources.base import Batch, Part
from gpustats.sources.files.remote import RemoteFile
from gpustats.sources.items import Item, check_bytes

__all__ = ["fetched_ahead"]

_THREADS = 64
_AHEAD_BATCHES, _AHEAD_BYTES = 8, 64 << 20


def fetched_ahead(found: Iterable[Batch | Part]) -> Generator[Batch | Part, None, None]:
    """Yield the same batches in the same order, with the requests of those that follow under way.

    A batch holds few files where they are large (`items.held_bytes`), so that what is fetched is bounded in bytes.
    """
    ahead: deque[tuple[Batch, int]] = deque()
    held = 0
    pool: ThreadPoolExecutor | None = None
    try:
        for entry in found:
            files = [item for item in entry.items if isinstance(item, RemoteFile)] if isinstance(entry, Batch) else []
            if not isinstance(entry, Batch) or not files:
                while ahead:
                    yield ahead.popleft()[0]
                held = 0
                yield entry
                continue
            pool = pool or ThreadPoolExecutor(_THREADS, thread_name_prefix="gpustats-fetch")
            weight = sum(file.held for file in files)
            while ahead and (len(ahead) >= _AHEAD_BATCHES or held + weight > _AHEAD_BYTES):
                batch, freed = ahead.popleft()
                held -= freed
                yield batch
            ahead.append((replace(entry, items=[_submitted(item, pool) for item in entry.items]), weight))
            held += weight
        while ahead:
            yield ahead.popleft()[0]
    except GeneratorExit:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        if pool is not None:
            pool.shutdown(wait=False)  # what was handed over may still be on its way


def _submitted(item: Item, pool: ThreadPoolExecutor) -> Item:
    return _Fetched(item.identity, pool.submit(item.fetch)) if isinstance(item, RemoteFile) else item


class _Fetched:
    """An item whose bytes are on their way."""

    def __init__(self, identity: str, future: Future[bytes]) -> None:
        self.identity = identity
        self._future = future

    def __call__(self, max_bytes: int) -> bytes:
        data = self._future.result()
        check_bytes(len(data), max_bytes)
        return data
