"""Many files from few: hard links, so that a million images take no room, or a tar file; and images of one size."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gpustats.datasets.demo import natural_image
from gpustats.sources import open_source

__all__ = ["JPEG_SUFFIXES", "image_paths", "link_images", "write_sized", "write_tar"]

_FILES_A_FOLDER = 1000

JPEG_SUFFIXES = (".jpg", ".jpeg")


def image_paths(folder: Path, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    """Return the paths of the images in a folder, those with certain endings."""
    samples = (sample for sample in open_source(folder).samples() if isinstance(sample, tuple))
    return [item for _, _, item in samples if isinstance(item, str) and item.lower().endswith(suffixes)]


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


def write_tar(target: Path, originals: Sequence[str | Path], count: int) -> None:
    """Write a tar file of `count` members that repeat `originals`.

    Member by member, for `tarfile.TarFile` remembers every member that it wrote.
    """
    contents = [Path(path).read_bytes() for path in originals]
    endings = [Path(path).suffix.lower() for path in originals]
    with target.open("wb") as file:
        for i in range(count):
            data = contents[i % len(contents)]
            member = tarfile.TarInfo(f"image_{i:08d}{endings[i % len(endings)]}")
            member.size = len(data)
            file.write(member.tobuf(tarfile.USTAR_FORMAT))
            file.write(data)
            file.write(bytes(-len(data) % tarfile.BLOCKSIZE))
        file.write(bytes(2 * tarfile.BLOCKSIZE))


def write_sized(
    folder: Path, height: int, width: int, count: int, *, quality: int = 90, grey: bool = False, **options: Any
) -> list[Path]:
    """Write `count` natural-looking JPEGs of one size, the same pixels for every encoding; return their paths.

    `options` are those that Pillow's JPEG writer has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(height * 100_003 + width)
    paths = []
    for i in range(count):
        path = folder / f"{width}x{height}_{i}.jpg"
        image = Image.fromarray(natural_image(rng, height, width))
        (image.convert("L") if grey else image).save(path, quality=quality, **options)
        paths.append(path)
    return paths
