"""What a file holds that does not fit into 8-bit grey or RGB, from its header.

A decoder that gives 8-bit pixels would clip, shift or wrap such values without a word, so the file is refused instead.
Each function returns what is in the file and what can be read, or None where the file fits or its header is damaged.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any

from gpustats.decode.headers import jpeg_precision

__all__ = ["avif_misfit", "jpeg2000_misfit", "jpeg_misfit", "png_misfit", "pnm_misfit", "tiff_misfit"]

_BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 262, 277, 338, 339
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
"""Samples of a colour by TIFF's photometric interpretation: white or black is zero, RGB, palette, CMYK, YCbCr, Lab."""
_KINDS_OF_SAMPLES = {2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex floats"}


def _bits(count: object) -> str:
    return f"{count} bits a sample; only 8 can be read"


def _bands(count: int) -> str:
    return f"{count} bands; only grey and RGB can be read, with or without alpha"


def jpeg_misfit(data: bytes) -> str | None:
    """Look at the precision in the frame header (ITU-T T.81, B.2.2); lossless files have 2 to 16 bits."""
    precision = jpeg_precision(data)
    return None if precision in (0, 8) else _bits(precision)


def png_misfit(data: bytes) -> str | None:
    """Look at the bit depth in IHDR. Smaller depths are scaled to 8 bits, which is exact."""
    return _bits(16) if data[12:16] == b"IHDR" and data[24:25] == b"\x10" else None


def pnm_misfit(data: bytes) -> str | None:
    """Look at the maximum value, the fourth word of the header of PGM and PPM."""
    words = re.sub(rb"#[^\r\n]*", b" ", data[:4096]).split(maxsplit=4)
    if len(words) < 4 or words[0] not in (b"P2", b"P3", b"P5", b"P6") or not words[3].isdigit():
        return None
    maximum = int(words[3])
    return f"values up to {maximum}; only values up to 255 can be read" if maximum > 255 else None


def jpeg2000_misfit(data: bytes) -> str | None:
    """Look at the depth of every component in the SIZ segment (ITU-T T.800, A.5.1)."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return None
    (components,) = struct.unpack_from(">H", data, start + 40)
    depths = data[start + 42 : start + 42 + 3 * components : 3]  # less one; the highest bit says signed
    if any(depth & 0x80 for depth in depths):
        return "signed integers; only unsigned ones can be read"
    if set(depths) - {7}:
        return _bits(max(depths) + 1)
    return _bands(components) if components > 4 else None


def avif_misfit(data: bytes) -> str | None:
    """Look at the AV1 configuration of the first item (AV1 in ISOBMFF, section 2.3.3)."""
    start = data.find(b"av1C")
    if start < 0 or len(data) < start + 7 or not data[start + 6] & 0x40:
        return None
    return _bits(12 if data[start + 6] & 0x20 else 10)


def tiff_misfit(data: bytes) -> str | None:
    """Look at the samples of the first image: their bits, their type, and how many of them are no colour."""
    if data[:4] == b"MM\0+":
        return "64-bit offsets in big-endian order; only little-endian BigTIFF can be read"  # Pillow misreads it
    try:
        tags = _tiff_tags(data)
        bits, kinds = _numbers(tags.get(_BITS, 1)), _numbers(tags.get(_SAMPLE_FORMAT, 1))
        colours = _COLOURS.get(tags.get(_PHOTOMETRIC, 0))
        extra = _numbers(tags.get(_EXTRA_SAMPLES, ()))
        samples = int(tags.get(_SAMPLES, colours or 1))
    except Exception:  # noqa: BLE001 - hostile files make Pillow raise nearly anything; its decoder names the damage
        return None
    for kind in kinds:
        if kind in _KINDS_OF_SAMPLES:
            return f"{_KINDS_OF_SAMPLES[kind]}; only unsigned integers can be read"
    if set(bits) - {1, 2, 4, 8}:
        return _bits(max(bits))
    if colours is not None and (samples > colours + 1 or (samples == colours + 1 and extra[:1] not in ((1,), (2,)))):
        return _bands(samples)
    return None


def _tiff_tags(data: bytes) -> Any:
    """Return the tags of the first image as Pillow reads them."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2(data[:16] if data[2:3] == b"+" else data[:8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
