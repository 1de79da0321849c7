"""Names of images without their ending, as in lists of identifiers."""

from __future__ import annotations

import os

from gpustats.decode.formats import IMAGE_SUFFIXES

__all__ = ["has_image_ending", "with_ending"]

_ENDINGS = (*sorted(IMAGE_SUFFIXES), ".JPG", ".JPEG", ".PNG")


def with_ending(path: str, endings: tuple[str, ...] | None = None) -> list[str]:
    """Return the files whose names are this path, or this path and an ending, by default that of an image.

    A path that exists, or has the ending of an image itself, is returned as it is.
    """
    if has_image_ending(path) or os.path.lexists(path):
        return [path]
    found: dict[tuple[int, int], str] = {}
    for ending in _ENDINGS if endings is None else endings:
        try:
            status = os.stat(path + ending)
        except (OSError, ValueError):
            continue
        found.setdefault((status.st_dev, status.st_ino), path + ending)  # once where case does not count
    return list(found.values())


def has_image_ending(path: str) -> bool:
    """Say whether a path ends as an image does."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES
