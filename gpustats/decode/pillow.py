"""How Pillow is used: which of its classes opens a file, what is looked at beside it, and what its errors mean."""

from __future__ import annotations

import importlib
import io

import simplejpeg
from PIL import Image, ImageFile

from gpustats.decode.formats import Format, looks_cut_off, sniff
from gpustats.decode.jpegxl import jpegxl_orientation
from gpustats.failures import ImageError
from gpustats.wording import option

__all__ = ["check_scan", "check_tiles", "exif_orientation", "open_image", "too_large_tiles", "verdict"]

_ENDS_EARLY = ("premature end of data segment", "found marker 0xd9 instead of RST")
"""libjpeg's warnings JWRN_HIT_MARKER and JWRN_MUST_RESYNC: a marker, or the end of the image, where data should be."""

_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # TIFF tags
_ORIENTATION = 274  # a tag of EXIF


def open_image(kind: Format, data: bytes) -> ImageFile.ImageFile:
    """Open a file of a format."""
    # Straight to the format's own class: Image.open would try every plugin (some run other programs) and
    # holds every caller to one process-wide pixel limit.
    module, _, name = kind.pillow.rpartition(".")
    factory = getattr(importlib.import_module(module), name)
    image: ImageFile.ImageFile = factory(io.BytesIO(data))
    return image


def check_scan(data: bytes, mode: str) -> None:
    """Refuse a JPEG whose compressed data end too early; with an end marker behind them, Pillow fills in grey."""
    try:
        simplejpeg.decode_jpeg(data, "CMYK" if mode == "CMYK" else "RGB")
    except Exception as error:  # noqa: BLE001 - for this one question; Pillow decides about everything else
        if any(words in str(error) for words in _ENDS_EARLY):
            raise ImageError("truncated", "JPEG: the compressed data end before the last row") from None


def check_tiles(image: Image.Image, max_pixels: int) -> None:
    """Refuse a TIFF whose tiles or strips are larger than any image may be: libtiff allocates a whole one."""
    tags = image.tag_v2  # type: ignore[attr-defined]  # TIFF images have it
    width, height = tags.get(_TILE_WIDTH, image.width), tags.get(_TILE_HEIGHT, 1)
    if isinstance(width, int) and isinstance(height, int) and width * height > max(max_pixels, 1):
        raise too_large_tiles(f"of {width} x {height} pixels", max_pixels)


def too_large_tiles(words: str, max_pixels: int) -> ImageError:
    """Return the failure of a TIFF with such tiles."""
    return ImageError("too_large", f"TIFF: tiles {words}, more than {option('max_pixels', max_pixels)}")


def verdict(kind: Format, error: Exception, data: bytes) -> ImageError:
    """Return the failure that an error of a decoder stands for."""
    message = " ".join(str(error).split()) or type(error).__name__
    lower = message.lower()
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError("too_large", f"{kind.name}: {message}")
    if "truncated" in lower or "unexpected end" in lower or isinstance(error, EOFError) or looks_cut_off(kind, data):
        return ImageError("truncated", f"{kind.name}: {message}")
    if "too large" in lower:  # inflated texts and profiles
        return ImageError("too_large", f"{kind.name}: {message}")
    if "unknown pixel mode" in lower or "not supported" in lower or "unsupported" in lower or "cannot handle" in lower:
        return ImageError("unsupported", f"{kind.name}: {message}")
    return ImageError("corrupt", f"{kind.name}: {message}")


def exif_orientation(data: bytes, by_pillow: bool) -> int:
    """Return the EXIF orientation of an encoded image, 1 where it has none, as Pillow reads it.

    Of a TIFF that Pillow decoded (`by_pillow`) it is 1: Pillow turns a TIFF when it loads the pixels.

    Raises
    ------
    ImageError
        Where the metadata are damaged.
    """
    kind = sniff(data, weak=True)
    if kind is not None and kind.name == "JPEG XL":
        return jpegxl_orientation(data)
    if kind is None or not kind.pillow or (kind.name == "TIFF" and by_pillow):
        return 1
    try:
        with open_image(kind, data) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:  # noqa: BLE001 - damaged metadata make Pillow raise nearly anything; one image, named
        raise ImageError("corrupt", f"{kind.name}: the EXIF orientation cannot be read: {error}") from None
