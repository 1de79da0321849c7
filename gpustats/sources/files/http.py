"""A whole file from a web server in one request, with its size checked before its body is read."""

from __future__ import annotations

from typing import Any

from gpustats.sources.items import check_bytes

__all__ = ["get", "has_session"]

_CHUNK = 1 << 20


def has_session(system: Any) -> bool:
    """Say whether a file system is fsspec's for the web, whose session can be used."""
    return all(hasattr(system, name) for name in ("set_session", "encode_url", "kwargs"))


async def get(system: Any, url: str, max_bytes: int) -> bytes:
    """Read a file; fsspec itself asks for the size in a request of its own.

    Raises
    ------
    ImageError
        Where it is too large.
    """
    session = await system.set_session()
    async with session.get(system.encode_url(url), **system.kwargs) as response:
        if response.status == 404:
            raise FileNotFoundError(url)
        response.raise_for_status()
        size = response.content_length
        check_bytes(size or 0, max_bytes)
        if size is not None and "Content-Encoding" not in response.headers:
            whole: bytes = await response.read()
            return whole
        data = bytearray()  # the size is not known, or that of the compressed body
        async for chunk in response.content.iter_chunked(_CHUNK):
            data += chunk
            check_bytes(len(data), max_bytes)
        return bytes(data)
