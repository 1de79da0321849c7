"""libvips: `stats` of each image (sum and sum of squares), images spread over threads."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers import Answer

NAME = "libvips stats, threads"
NEEDS = ("pyvips",)


def run(paths: list[str], workers: int) -> Answer:
    """`vips_stats` gives one row a band: min, max, sum, sum of squares, mean, std and places."""
    import pyvips

    def one(path: str) -> tuple[int, list[float], list[float]]:
        image = pyvips.Image.new_from_file(path, access="sequential")
        if image.bands == 1:
            image = image.bandjoin([image, image])
        elif image.interpretation != "srgb":
            image = image.colourspace("srgb")
        rows = image.stats().numpy()[1:4]
        return image.width * image.height, rows[:, 2].tolist(), rows[:, 3].tolist()

    with ThreadPoolExecutor(workers) as threads:
        images = list(threads.map(one, paths))
    count = sum(n for n, _, _ in images)
    mean = [sum(s[c] for _, s, _ in images) / count for c in range(3)]
    square = [sum(q[c] for _, _, q in images) / count for c in range(3)]
    return Answer(
        [m / 255 for m in mean],
        [math.sqrt(q - m * m) / 255 for m, q in zip(mean, square, strict=True)],
        "pooled",
    )
