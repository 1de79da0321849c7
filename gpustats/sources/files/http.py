"""Whole files and listings from a web server, each in one request; a size is checked before the body is read."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from gpustats.sources.items import check_bytes

__all__ = ["get", "has_session", "links"]

_CHUNK = 1 << 20
_LONGEST = 1 << 28
"""Bytes of a listing."""


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


async def links(system: Any, url: str) -> list[dict[str, Any]]:
    """Return what the page of a folder links to, as entries of fsspec's ``ls``.

    fsspec itself ends a link at the first quotation mark of either kind, and leaves ``&amp;`` in it: a file called
    ``it's.jpg`` would be another one.

    Parameters
    ----------
    system : fsspec file system
        One that `has_session`.
    url : str
        Of the folder, with a slash at the end.
    """
    parser = _Links()
    parser.feed((await get(system, url, _LONGEST)).decode("utf-8", "replace"))
    parser.close()
    server = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    found = {}
    for link in parser.found:
        if link.startswith("/"):
            link = server + link
        elif "://" not in link:
            link = url + link.removeprefix("./")
        found[link] = {"name": link, "size": None, "type": "directory" if link.endswith("/") else "file"}
    return list(found.values())


class _Links(HTMLParser):
    """Collects the targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]
