"""The limit of the page cache: files are read and thrown away."""

from __future__ import annotations

from benchmarks.peers.limits import read, spread

NAME = "limit: read only"
NEEDS = ()


def run(paths: list[str], workers: int) -> None:
    """Read every file whole."""
    spread(paths, workers, lambda: read)
