"""Images that the tests make for themselves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpustats.datasets.demo import natural_image


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Encode an image in memory."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(height: int = 60, width: int = 80, seed: int = 0) -> Image.Image:
    """A synthetic photograph."""
    return Image.fromarray(natural_image(np.random.default_rng(seed), height, width))


def write_photos(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write small JPEGs of odd sizes, some grey, into two subfolders."""
    rng = np.random.default_rng(seed)
    paths = []
    for i in range(count):
        height, width = (int(x) for x in rng.integers(1, 70, 2))
        image = Image.fromarray(natural_image(rng, height + 1, width + 1).copy())
        if i % 7 == 3:
            image = image.convert("L")
        path = folder / ("a" if i % 2 else "b") / f"{i:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=int(rng.integers(60, 96)), subsampling=int(rng.integers(0, 3)))
        paths.append(path)
    return paths


def pillow_pixels(path: Path | str) -> NDArray[np.uint8]:
    """Decode as a plain script would."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
