"""Images that stand in a table themselves, as ``data:`` URLs (RFC 2397)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from urllib.parse import unquote_to_bytes

from gpustats.failures import ImageError
from gpustats.sources.items import check_bytes

__all__ = ["inline_image"]


def inline_image(text: str, max_bytes: int) -> bytes | ImageError | None:
    """Return the bytes that a ``data:`` URL holds, or what is wrong with it; None for any other text.

    >>> inline_image("data:image/gif;base64,R0lGODlh", 100), inline_image("a.jpg", 100)
    (b'GIF89a', None)
    """
    if text[:5].lower() != "data:":
        return None
    head, comma, body = text.partition(",")
    if not comma:
        return ImageError("corrupt", "the data: URL has no comma, so no data")
    try:
        check_bytes(len(body) * 3 // 4 if head.lower().endswith(";base64") else 0, max_bytes)
        data = unquote_to_bytes(body)
        if head.lower().endswith(";base64"):
            data = b64decode(b"".join(data.split()), validate=True)
        check_bytes(len(data), max_bytes)
    except ImageError as error:
        return error
    except binascii.Error as error:
        return ImageError("corrupt", f"the data: URL is no base64: {error}")
    return data
