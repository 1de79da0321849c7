"""Names of images without their ending, as in lists of identifiers."""

from __future__ import annotations

import os

from gpustats.decode.formats import IMAGE_SUFFIXES

__all__ = ["with_ending"]

_ENDINGS = (*sorted(IMAGE_SUFFIXES), ".JPG", ".JPEG", ".PNG")


def with_ending(path: str) -> list[str]:
    """Return the files whose names are this path, or this path and the ending of an image.

    A path that exists, or has the ending of an image itself, is returned as it is.
    """
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES or os.path.lexists(path):
        return [path]
    found: dict[tuple[int, int], str] = {}
    for ending in _ENDINGS:
        try:
            status = os.stat(path + ending)
        except (OSError, ValueError):
            continue
        found.setdefault((status.st_dev, status.st_ino), path + ending)  # once where case does not count
    return list(found.values())
