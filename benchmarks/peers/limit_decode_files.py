"""The limit: simplejpeg reads and decodes the files on the same threads, and throws the pixels away."""

from __future__ import annotations

import simplejpeg

from benchmarks.peers.limits import read, spread

NAME = "limit: simplejpeg, read + decode"
NEEDS = ("simplejpeg",)


def run(paths: list[str], workers: int) -> None:
    """The same libjpeg-turbo as the engine, with the same settings (exact IDCT, smooth chroma)."""
    spread(paths, workers, lambda: lambda path: simplejpeg.decode_jpeg(read(path), "RGB"))
