"""Pillow and NumPy in a pool of processes, as scripts write it."""

from __future__ import annotations

import multiprocessing

from benchmarks.peers import Answer
from benchmarks.peers.pillow_numpy import image_moments, pooled

NAME = "Pillow + NumPy, process pool"
NEEDS = ("PIL", "numpy")


def run(paths: list[str], workers: int) -> Answer:
    """`Pool.map` over the paths; the pool's start counts, as it does for the script."""
    with multiprocessing.Pool(workers) as pool:
        return pooled(pool.map(image_moments, paths, chunksize=8))
