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
    def __init__(self, root: Path, latency: float, fail_every: int) -> None:
        self._root = root
        self._latency = latency
        self._fail_every = fail_every
        self._numbers = itertools.count(1)
        self._failed = 0
        self._bodies: dict[str, bytes | None] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
                await asyncio.sleep(self._latency)
                body = self._body(unquote(path.decode()).strip("/"))
                if body is None:
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                elif self._fail_every and next(self._numbers) % self._fail_every == 0:
                    self._failed += 1
                    if self._failed % 3 == 1:
                        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                        continue
                    if self._failed % 3 == 2 and method != b"HEAD":
                        writer.write(
                            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2]
                        )
                        await writer.drain()
                    return
                else:
                    kind = b"text/html" if path.endswith(b"/") else b"application/octet-stream"
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
                    )
                    if method != b"HEAD":
                        writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _body(self, name: str) -> bytes | None:
        if name not in self._bodies:
            path = self._root / name
            if path.is_dir():
                entries = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in os.scandir(path))
                self._bodies[name] = "".join(f'<a href="{quote(entry)}">x</a>\n' for entry in entries).encode()
            else:
                self._bodies[name] = path.read_bytes() if path.is_file() else None
        return self._bodies[name]


async def _serve(root: str, latency: str, fail_every: str) -> None:
    one = _Server(Path(root), float(latency), int(fail_every))
    server = await asyncio.start_server(one.answer, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
