"""JPEGs by kind: those of a folder, and computed ones for the kinds that it lacks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["KINDS", "by_kind", "kind_of", "truncated"]

KINDS = ("4:2:0", "4:2:2", "4:4:4", "grey", "progressive", "EXIF rotated")

_SAMPLING = {(2, 2): "4:2:0", (2, 1): "4:2:2", (1, 1): "4:4:4"}
_FRAMES = (0xC0, 0xC1, 0xC2)
_ROTATED = 6  # EXIF orientation
_ORIENTATION = 0x0112


def kind_of(data: bytes) -> str | None:
    """Return which of `KINDS` a JPEG is, the last that fits; None where it is of none of them."""
    position, rotated = 2, False
    while position + 10 < len(data) and data[position] == 0xFF:
        marker, size = data[position + 1], data[position + 2] << 8 | data[position + 3]
        if marker == 0xE1:
            rotated = _orientation(data[position + 4 : position + 2 + size]) > 1
        if marker in _FRAMES:
            components = data[position + 9]
            if rotated:
                return "EXIF rotated"
            if marker == 0xC2:
                return "progressive"
            if components == 1:
                return "grey"
            sampling = data[position + 11]
            return _SAMPLING.get((sampling >> 4, sampling & 15)) if components == 3 else None
        position += 2 + size
    return None


def _orientation(segment: bytes) -> int:
    """Return the orientation in an APP1 segment, 1 where there is none."""
    if not segment.startswith(b"Exif\0\0"):
        return 1
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(segment)
    except Exception:  # noqa: BLE001 - damaged EXIF is no orientation
        return 1
    value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def by_kind(paths: Sequence[str], each: int, *, least: int = 4, tiny: bool = False) -> dict[str, list[bytes]]:
    """Return up to `each` JPEGs of every kind, spread over the paths, and at least `least` with computed ones."""
    found: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    step = max(1, len(paths) // 1000)
    for path in paths[::step]:
        data = Path(path).read_bytes()
        kind = kind_of(data)
        if kind is not None and len(found[kind]) < each:
            found[kind].append(data)
    for number, (kind, images) in enumerate(found.items()):
        while len(images) < least:
            images.append(_computed(kind, 10 * number + len(images), tiny))
    return found


def _computed(kind: str, seed: int, tiny: bool) -> bytes:
    """Make a JPEG of a kind, of an odd size."""
    from PIL import Image

    from gpustats.datasets.demo import natural_image

    height, width = (45 + seed % 7, 61 + seed % 5) if tiny else (375 + seed % 7, 500 + seed % 5)
    image = Image.fromarray(natural_image(np.random.default_rng(seed), height, width))
    options = {"quality": 90, "subsampling": kind if kind.startswith("4:") else "4:2:0"}
    if kind == "progressive":
        options["progressive"] = True
    if kind == "EXIF rotated":
        exif = Image.Exif()
        exif[_ORIENTATION] = _ROTATED
        options["exif"] = exif
    file = io.BytesIO()
    (image.convert("L") if kind == "grey" else image).save(file, "JPEG", **options)
    return file.getvalue()


def truncated(data: bytes, *, end_marker: bool) -> bytes:
    """Cut a JPEG in the middle of its scan, and put an end marker behind it where that is asked for."""
    start = data.index(b"\xff\xda")
    cut = data[: start + (len(data) - start) // 2].rstrip(b"\xff")
    return cut + b"\xff\xd9" if end_marker else cut
