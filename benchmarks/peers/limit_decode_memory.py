"""The limit without files: simplejpeg decodes bytes that are in memory."""

from __future__ import annotations

import simplejpeg

from benchmarks.peers.limits import read, spread

NAME = "limit: simplejpeg, decode from memory"
NEEDS = ("simplejpeg",)
_loaded: dict[str, bytes] = {}


def run(paths: list[str], workers: int) -> None:
    """Reads what it was not given before: the first run is the warm-up."""
    data = []
    for path in paths:
        if path not in _loaded:
            _loaded[path] = read(path)
        data.append(_loaded[path])
    spread(data, workers, lambda: lambda item: simplejpeg.decode_jpeg(item, "RGB"))
