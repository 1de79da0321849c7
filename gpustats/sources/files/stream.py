"""One remote file as a stream: blocks fetched ahead by threads, or one long response where ranges are not served."""

from __future__ import annotations

import io
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO, cast

from gpustats.sources.files.retry import retry

__all__ = ["open_stream"]

_BLOCK = 4 << 20
_AHEAD = 4
_KEPT = 2
_CHUNK = 1 << 18
_BEHIND = 16 << 20


def open_stream(system: Any, path: str) -> BinaryIO:
    """Open a remote file; seekable, with bounded memory and with retries.

    Raises
    ------
    ImageError
        Where it does not exist or cannot be reached.
    """
    size = retry(lambda: system.info(path)).get("size")
    if size is not None and _serves_ranges(system, path, size):
        raw: io.RawIOBase = _Blocks(system, path, size)
    else:
        raw = _Response(system, path, size)
    return cast(BinaryIO, io.BufferedReader(raw, 1 << 16))


def _serves_ranges(system: Any, path: str, size: int) -> bool:
    """Say whether a part can be had: a web server may answer with the whole file."""
    protocol = system.protocol if isinstance(system.protocol, tuple | list) else (system.protocol,)
    if not {"http", "https"} & set(protocol) or size < 2:
        return True

    def first_byte() -> bool:
        # The response is streamed, so that a whole file sent in the place of one byte is not read.
        with system.open(path, "rb", block_size=0, headers={"Range": "bytes=0-0"}) as response:
            return getattr(response.r, "status", 200) == 206

    return retry(first_byte)


class _Seekable(io.RawIOBase):
    """What both kinds of stream share: a position."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            if self._size is None:
                raise OSError("the server does not say how long the file is")
            offset += self._size
        if offset < 0:
            raise ValueError("a position before the start of the file")
        self._position = offset
        return offset


class _Blocks(_Seekable):
    """Fetches blocks by range; while the file is read in order, some blocks ahead."""

    def __init__(self, system: Any, path: str, size: int) -> None:
        super().__init__(size)
        self._length = size
        self._system = system
        self._path = path
        self._pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="gpustats-fetch")
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._last = -1

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._length:
            return 0
        number, start = divmod(self._position, _BLOCK)
        if number in (self._last, self._last + 1):
            for ahead in range(number, min(number + 1 + _AHEAD, (self._length + _BLOCK - 1) // _BLOCK)):
                self._request(ahead)
        self._request(number)
        self._last = number
        data = self._blocks[number].result()
        part = data[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        if not self.closed:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._blocks.clear()
        super().close()

    def _request(self, number: int) -> None:
        if number in self._blocks:
            self._blocks.move_to_end(number)  # what is ahead must outlive what was read
        else:
            self._blocks[number] = self._pool.submit(retry, lambda: self._fetch(number))
            while len(self._blocks) > _AHEAD + 1 + _KEPT:
                self._blocks.popitem(last=False)[1].cancel()

    def _fetch(self, number: int) -> bytes:
        start, end = number * _BLOCK, min((number + 1) * _BLOCK, self._length)
        data: bytes = self._system.cat_file(self._path, start=start, end=end)
        if len(data) != end - start:
            raise OSError("the body was cut off")
        return data


class _Response(_Seekable):
    """Reads one response from front to back and keeps the last bytes for small steps back.

    After an error or a larger step back it asks again and skips what it had.
    """

    def __init__(self, system: Any, path: str, size: int | None) -> None:
        super().__init__(size)
        self._system = system
        self._path = path
        self._response: Any = None
        self._at = 0
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._held = 0

    def readinto(self, buffer: Any) -> int:
        if self._size is not None and self._position >= self._size:
            return 0
        data = retry(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._drop()
        self._chunks.clear()
        super().close()

    def _read(self, count: int) -> bytes:
        while True:
            for start, data in reversed(self._chunks):
                if start <= self._position < start + len(data):
                    return data[self._position - start :][:count]
            if not self._fetch():
                return b""

    def _fetch(self) -> bool:
        """Take the next bytes of the response; False at its end."""
        try:
            if self._response is None or self._at > self._position:
                self._drop()
                self._response = self._system.open(self._path, "rb", block_size=0)
                self._at = 0
            data: bytes = self._response.read(_CHUNK)
        except BaseException:
            self._drop()
            raise
        if not data:
            self._drop()
            if self._size is not None and self._at < self._size:
                raise OSError("the body was cut off")
            return False
        self._chunks.append((self._at, data))
        self._at += len(data)
        self._held += len(data)
        while self._held > _BEHIND and len(self._chunks) > 1:
            self._held -= len(self._chunks.popleft()[1])
        return True

    def _drop(self) -> None:
        if self._response is not None:
            with suppress(Exception):
                self._response.close()
            self._response = None
