"""gpustats on CPU threads."""

from __future__ import annotations

from benchmarks.peers import Answer

NAME = "gpustats"
NEEDS = ()


def run(paths: list[str], workers: int) -> Answer:
    """As a user calls it."""
    import gpustats

    stats = gpustats.compute(paths, device="cpu", workers=workers, on_error="raise", progress=False)
    return Answer(stats.mean, stats.std, "pooled")
