"""The exact answer of every definition, by Pillow and integer sums of NumPy: what peers are checked against."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["error", "exact"]

F64 = NDArray[np.float64]


def exact(paths: Iterable[str]) -> dict[str, tuple[F64, F64]]:
    """Return mean and std on [0, 1] for the definitions ``pooled``, ``image`` and ``image_unbiased``."""
    pixels = 0
    total, squares = [0, 0, 0], [0, 0, 0]
    rows: list[tuple[list[float], list[float], list[float]]] = []
    levels = np.arange(256, dtype=np.uint64)
    for path in paths:
        with Image.open(path) as image:
            values = np.asarray(image.convert("RGB")).reshape(-1, 3)
        n = len(values)
        pixels += n
        row: tuple[list[float], list[float], list[float]] = ([], [], [])
        for c in range(3):
            counts = np.bincount(values[:, c], minlength=256).astype(np.uint64)
            s, q = int((counts * levels).sum()), int((counts * levels * levels).sum())
            total[c] += s
            squares[c] += q
            spread = n * q - s * s
            row[0].append(s / (255 * n))
            row[1].append(math.sqrt(spread) / (255 * n))
            row[2].append(math.sqrt(spread / (n * (n - 1))) / 255 if n > 1 else math.nan)
        rows.append(row)
    means, stds, unbiased = (np.array([row[i] for row in rows]) for i in range(3))
    pooled_mean = np.array([s / (255 * pixels) for s in total])
    pooled_std = np.array([math.sqrt(pixels * q - s * s) / (255 * pixels) for s, q in zip(total, squares, strict=True)])
    mean = means.mean(axis=0)
    return {
        "pooled": (pooled_mean, pooled_std),
        "image": (mean, stds.mean(axis=0)),
        "image_unbiased": (mean, np.nanmean(unbiased, axis=0)),
    }


def error(answer: dict[str, Any], references: dict[str, tuple[F64, F64]]) -> tuple[float, float]:
    """Return how far mean and std of an answer are from those of its definition, in the worst channel."""
    mean, std = references[answer["definition"]]
    return float(np.abs(mean - answer["mean"]).max()), float(np.abs(std - answer["std"]).max())
