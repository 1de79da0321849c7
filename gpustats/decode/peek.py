"""What an image is by its header alone: format and size, without its pixels."""

from __future__ import annotations

from gpustats.decode.decoder import jpeg_header
from gpustats.decode.extras import needs
from gpustats.decode.formats import sniff
from gpustats.decode.pillow import open_image, verdict
from gpustats.failures import ImageError

__all__ = ["peek"]


def peek(data: bytes) -> tuple[str, int, int]:
    """Return format, height and width of an encoded image from its first bytes, or all of them.

    Raises
    ------
    ImageError
        Where they are no image, or not enough of one.
    """
    header = jpeg_header(data)
    if header is not None:
        return "JPEG", header[0], header[1]
    kind = sniff(data, weak=True)
    if kind is None:
        what = "the file is empty" if not data else "the first bytes are those of no image format"
        raise ImageError("not_an_image", what)
    try:
        if kind.extra:
            needs(kind.extra, kind.name)
        if kind.size is not None:
            return kind.name, *kind.size(data)
        with open_image(kind, data) as image:
            return kind.name, image.height, image.width
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - hostile headers make Pillow raise nearly anything; one image, named
        raise verdict(kind, error, data) from None
