"""Pillow and NumPy in one process: the plain loop."""

from __future__ import annotations

import math

from benchmarks.peers import Answer

NAME = "Pillow + NumPy, one process"
NEEDS = ("PIL", "numpy")


def settings(cores: int) -> list[int]:
    """One process whatever the machine has."""
    return [1]


def image_moments(path: str) -> tuple[int, list[float], list[float]]:
    """Pixels, mean and mean of squares of one image, as scripts compute them."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")) / 255
    return (
        pixels.shape[0] * pixels.shape[1],
        pixels.mean(axis=(0, 1)).tolist(),
        (pixels**2).mean(axis=(0, 1)).tolist(),
    )


def pooled(images: list[tuple[int, list[float], list[float]]]) -> Answer:
    """Combine images, each with the weight of its pixels."""
    pixels = sum(count for count, _, _ in images)
    mean = [sum(count * m[c] for count, m, _ in images) / pixels for c in range(3)]
    mean_sq = [sum(count * q[c] for count, _, q in images) / pixels for c in range(3)]
    return Answer(mean, [math.sqrt(q - m * m) for m, q in zip(mean, mean_sq, strict=True)], "pooled")


def run(paths: list[str], workers: int) -> Answer:
    """One image after the other."""
    return pooled([image_moments(path) for path in paths])
