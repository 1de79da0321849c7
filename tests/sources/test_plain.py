"""The client for plain answers of web servers, against a server that answers byte by byte as a test says."""

from __future__ import annotations

import asyncio
import itertools
import re
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gpustats.failures import ImageError
from gpustats.sources import SourceOptions
from gpustats.sources.files import plain
from gpustats.sources.files.plain import PlainClient
from gpustats.sources.files.remote import RemoteFile, connect

BODY = bytes(range(256)) * 40


def ok(*more: bytes, body: bytes = BODY, length: int | None = None, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    size = b"Content-Length: %d" % (len(body) if length is None else length)
    return b"\r\n".join([first, size, *more, b"", body])


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Any] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(socketserver.StreamRequestHandler):
    """Sends the next answer: bytes, or pieces of them; None ends the connection."""

    def handle(self) -> None:
        server: Any = self.server
        server.connections += 1
        while True:
            lines = list(iter(self.rfile.readline, b"\r\n"))
            if not lines or not lines[0]:
                return
            server.requests.append(b"".join(lines))
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            for piece in answer if isinstance(answer, list) else [answer]:
                if piece is None:
                    return
                self.wfile.write(piece)
                time.sleep(0.01)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


def ask(client: PlainClient, *urls: str, limit: int = 1 << 20) -> list[Any]:
    async def each() -> list[Any]:
        found: list[Any] = []
        for url in urls:
            try:
                found.append(await client.get(url, limit))
            except (OSError, ImageError) as error:
                found.append(error)
        await ended(client)
        return found

    return asyncio.run(each())


async def ended(client: PlainClient) -> None:
    for connection in itertools.chain(*client._idle.values()):
        connection.transport.abort()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "answer",
    [
        ok(),
        ok(b"Connection: keep-alive", b"X: y"),
        ok(body=b""),
        [ok()[:30], ok()[30:70], ok()[70:900], ok()[900:]],
        [bytes([value]) for value in ok(body=b"abc")],
        ok().replace(b"Content-Length: ", b"content-length:\t"),
        ok(b"Content-Type: image/jpeg; x-content-length: 3"),
    ],
)
def test_plain_answers(server: Server, answer: Any) -> None:
    server.answers = [answer]
    client = PlainClient()
    raw = b"".join(answer) if isinstance(answer, list) else answer
    assert ask(client, server.url + "a/b.jpg?v=1", server.url) == [raw.partition(b"\r\n\r\n")[2]] * 2
    assert server.connections == 1
    assert not client.declined
    first = server.requests[0].split(b"\r\n")
    assert first[:2] == [b"GET /a/b.jpg?v=1 HTTP/1.1", b"Host: " + server.url[7:-1].encode()]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ok(b"transfer-encoding: chunked"),
        ok(b"Content-Encoding: gzip"),
        ok(b"Content-Length: %d" % len(BODY)),
        ok(b"Connection: close"),
        ok(b"Set-Cookie: a=b"),
        ok(first=b"HTTP/1.0 200 OK"),
        ok(first=b"ICY 200 OK"),
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab",
        b"a" * (1 << 17),
    ],
)
def test_other_answers_are_left_to_aiohttp(server: Server, answer: bytes) -> None:
    server.answers = [answer, ok()]
    client = PlainClient()
    assert ask(client, server.url + "a", server.url + "b") == [None, None]
    assert len(server.requests) == 1  # it is not asked again
    assert client.declined == {server.url[:-1]}


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (ok(first=b"HTTP/1.1 404 Not Found"), FileNotFoundError, ""),
        (ok(b"Transfer-Encoding: chunked", first=b"HTTP/1.1 503 Busy"), OSError, "status 503"),
        (ok(length=len(BODY) - 1), OSError, "more bytes than"),
        ([ok(length=len(BODY) + 1), None], OSError, "cut off"),
        ([ok()[:12], None], OSError, "cut off"),
        ([None], ConnectionError, "no answer"),
        (ok(length=1 << 21), ImageError, "larger|more than"),
    ],
)
def test_what_is_wrong(server: Server, answer: Any, error: type[Exception], text: str) -> None:
    server.answers = [answer, ok()]
    client = PlainClient()
    (found, then) = ask(client, server.url + "a", server.url + "a")
    assert isinstance(found, error)
    assert getattr(found, "status", 503) == 503
    assert re.search(text, str(found))
    assert then == BODY  # over another connection
    assert server.connections == 2


def test_a_connection_that_was_closed_in_between(server: Server) -> None:
    server.answers = [ok(), [None], ok()]
    client = PlainClient()
    assert ask(client, server.url, server.url, server.url) == [BODY, None, BODY]
    assert not client.declined
    server.answers = [[ok() + ok()], ok()]
    assert isinstance(ask(client, server.url)[0], OSError)


def test_idle_connections_and_silent_servers_are_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_IDLE", 0.05)
    server.answers = [ok()]
    client = PlainClient()

    async def slowly() -> list[Any]:
        found = [await client.get(server.url, 1 << 20)]
        await asyncio.sleep(0.15)
        found.append(await client.get(server.url, 1 << 20))
        await ended(client)
        return found

    assert asyncio.run(slowly()) == [BODY, BODY]
    assert server.connections == 2
    monkeypatch.setattr(plain, "_WHOLE", 1.0)
    server.answers = [[ok()[:200], *[b""] * 1000]]
    started = time.monotonic()
    assert "cut off" in str(ask(PlainClient(), server.url)[0])
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("path", ["a b", "ä", "100%.jpg", "../a", "a#b", "a\r\nX: y", "a|b"])
def test_addresses_that_have_to_be_written_in_another_way(server: Server, path: str) -> None:
    client = PlainClient()
    assert ask(client, server.url + path) == [None]
    assert ask(client, server.url.replace("127", "me:secret@127"), "ftp://a/b", "http://[::1]/") == [None] * 3
    assert not server.requests


def test_servers_that_are_not_there() -> None:
    client = PlainClient()
    assert ask(client, "http://127.0.0.1:9/a", "https://127.0.0.1:9/a") == [None, None]
    assert client.declined == {"http://127.0.0.1:9", "https://127.0.0.1:9"}


def remote(url: str, **options: Any) -> RemoteFile:
    system, path = connect(url, SourceOptions(storage_options={"skip_instance_cache": True, **options}))
    return RemoteFile(system, path, url)


def test_files_come_by_either_client(server: Server) -> None:
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    server.answers = [ok()]
    assert remote(server.url + "a.jpg")(1 << 20) == BODY
    assert b"aiohttp" not in server.requests[-1]
    for given in ({"headers": {"X-Key": "1"}}, {"client_kwargs": {"headers": {"X-Key": "1"}}}):
        assert remote(server.url + "a.jpg", **given)(1 << 20) == BODY
        assert b"X-Key: 1" in server.requests[-1]
    server.answers = [ok(first=b"HTTP/1.1 503 Busy"), [None], ok(b"Set-Cookie: a=b"), ok(b"Set-Cookie: a=b"), ok()]
    assert remote(server.url + "a.jpg")(1 << 20) == BODY  # once more after each error, and then by aiohttp
    assert b"aiohttp" in server.requests[-1]
