"""A web server of a folder in a process of its own, with latency and failing requests, for tests and benchmarks."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

__all__ = ["served"]


@contextmanager
def served(folder: Path, latency: float = 0.05, fail_every: int = 0) -> Iterator[str]:
    """Serve a folder while the block lasts, and give its URL.

    Parameters
    ----------
    folder : Path
        Its files and subfolders are listed as a web server lists them.
    latency : float
        Seconds before each answer.
    fail_every : int
        Every request of this number fails: with status 503, without an answer, or in the middle of the body, in turn.
    """
    command = [sys.executable, "-m", "benchmarks.latency", str(folder), str(latency), str(fail_every)]
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/"
        finally:
            process.kill()


class _Server:
    """What is answered. Whole answers are kept in memory: the server is to take little of the cores that it shares."""

    def __init__(self, root: Path, latency: float, fail_every: int) -> None:
        self.latency = latency
        self._root = root
        self._fail_every = fail_every
        self._numbers = itertools.count(1)
        self._failed = 0
        self._answers: dict[bytes, tuple[bytes, int]] = {}

    def answer(self, request: bytes, transport: asyncio.Transport) -> None:
        """Answer a request, or fail as it is this one's turn."""
        method, path, _ = request.split(b"\r\n", 1)[0].split(b" ", 2)
        if path not in self._answers:
            self._answers[path] = self._made(path)
        answer, body = self._answers[path]
        head = len(answer) - body
        if not body or not self._fail_every or next(self._numbers) % self._fail_every:
            transport.write(answer if method != b"HEAD" else answer[:head])
            return
        self._failed += 1
        if self._failed % 3 == 1:
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            return
        if self._failed % 3 == 2 and method != b"HEAD":
            transport.write(answer[: head + body // 2])
        transport.close()

    def _made(self, path: bytes) -> tuple[bytes, int]:
        """Return an answer, and how many bytes its body has."""
        file, kind = self._root / unquote(path.decode()).strip("/"), b"application/octet-stream"
        if file.is_dir():
            entries = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in os.scandir(file))
            body, kind = "".join(f'<a href="{quote(entry)}">x</a>\n' for entry in entries).encode(), b"text/html"
        elif file.is_file():
            body = file.read_bytes()
        else:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
        return head + body, len(body)


class _Connection(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            loop = asyncio.get_running_loop()
            loop.call_later(self._server.latency, self._server.answer, request, self._transport)


async def _serve(root: str, latency: str, fail_every: str) -> None:
    one = _Server(Path(root), float(latency), int(fail_every))
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(one), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
