"""Rows made the slow way: of images, with Python integers, or of numbers as they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpustats.statistics.base import Kind
from gpustats.statistics.builder import RowBuilder
from gpustats.statistics.rows import Rows

__all__ = ["packed", "random_images", "raw_rows", "rows_of"]


def packed(rows: Rows) -> tuple[str, list[bytes]]:
    """Return the form of rows and the bytes of each."""
    form, data = rows.pack()
    size = len(data) // max(len(rows), 1)
    return form, [data[i * size : (i + 1) * size] for i in range(len(rows))]


def raw_rows(
    dtype: str,
    height: Any,
    width: Any,
    *,
    keys: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    n: Any = None,
    **moments: Any,
) -> Rows:
    """Make rows with these columns of moments, each of shape (N, C); `n` is height times width where it isn't given."""
    height, width = np.asarray(height, np.uint64), np.asarray(width, np.uint64)
    channels = next(iter(moments.values())).shape[1]
    n = np.repeat((height * width)[:, None], channels, axis=1) if n is None else np.asarray(n, np.uint64)
    return Rows(
        Kind(channels, dtype),
        [f"image{i}" for i in range(len(height))] if keys is None else keys,
        [""] * len(height) if groups is None else groups,
        height,
        width,
        {"moments.n": n, **{f"moments.{name}": column for name, column in moments.items()}},
    )


def rows_of(images: Sequence[np.ndarray], first: int = 0, keys: Sequence[str] | None = None) -> Rows:
    """Make the rows of 8- or 16-bit images of shape (H, W, C); they are called image0, image1, ..."""
    flat = [image.reshape(-1, image.shape[-1]).astype(object) for image in images]
    channels, dtype = images[0].shape[-1], images[0].dtype
    return raw_rows(
        dtype.name,
        [image.shape[0] for image in images],
        [image.shape[1] for image in images],
        keys=[f"image{first + i}" for i in range(len(images))] if keys is None else keys,
        sum=np.array([x.sum(axis=0) for x in flat], np.uint64).reshape(-1, channels),
        sumsq=np.array([(x * x).sum(axis=0) for x in flat], np.uint64).reshape(-1, channels),
        min=np.array([x.min(axis=0) for x in flat], dtype).reshape(-1, channels),
        max=np.array([x.max(axis=0) for x in flat], dtype).reshape(-1, channels),
    )


def built(images: Sequence[np.ndarray], statistics: tuple[str, ...], first: int = 0) -> Rows:
    """Make the rows of images as the engine on the CPU does, with these statistics."""
    builder = RowBuilder(len(images), statistics)
    for i, image in enumerate(images):
        builder.add(f"image{first + i}", "", image)
    return builder.rows()


def random_images(seed: int, count: int, dtype: type = np.uint8) -> list[np.ndarray]:
    """Small images of three channels; every fifth is white."""
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    return [
        rng.integers(0, top + 1, (*rng.integers(1, 9, 2), 3)).astype(dtype) if i % 5 else np.full((3, 2, 3), top, dtype)
        for i in range(count)
    ]
