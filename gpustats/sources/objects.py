from __future__ import annotations

from typing import Any

from gpustats.errors import DataError


def is_image_object(x: object) -> bool:
    return False


def open_object(data: Any, key: str, options: Any) -> Any:
    raise DataError(
        f"cannot read images from {type(data).__name__} {data!r:.80}; give a folder, a file, a glob or a list of paths"
    )
