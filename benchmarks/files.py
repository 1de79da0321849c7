"""Many files from few: hard links, so that a million images take no room; and images of one size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gpustats.demo import natural_image

__all__ = ["link_images", "write_sized"]

_FILES_A_FOLDER = 1000


def link_images(target: Path, originals: Sequence[str | Path], count: int) -> None:
    """Make `count` names for `originals`, 1,000 a folder; a copy where the file system has no more links to give."""
    sources = [os.fspath(path) for path in originals]
    folder = ""
    for i in range(count):
        if i % _FILES_A_FOLDER == 0:
            folder = os.path.join(target, f"class_{i // _FILES_A_FOLDER:05d}")
            os.makedirs(folder)
        source = sources[i % len(sources)]
        name = os.path.join(folder, f"image_{i:08d}{os.path.splitext(source)[1].lower() or '.jpg'}")
        try:
            os.link(source, name)
        except OSError:  # too many links, another file system
            shutil.copyfile(source, name)
            sources[i % len(sources)] = name


def write_sized(folder: Path, height: int, width: int, count: int, quality: int = 90) -> list[Path]:
    """Write `count` natural-looking JPEGs of one size; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(height * 100_003 + width)
    paths = []
    for i in range(count):
        path = folder / f"{width}x{height}_{i}.jpg"
        Image.fromarray(natural_image(rng, height, width)).save(path, quality=quality)
        paths.append(path)
    return paths
