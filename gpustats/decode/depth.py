"""What a file holds that does not fit into 8-bit grey or RGB, from its header.

A decoder that gives 8-bit pixels would clip, shift or wrap such values without a word, so the file is refused instead.
Each function returns what is in the file and what can be read, or None where the file fits or its header is damaged.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any, NamedTuple

from gpustats.decode.headers import jpeg_precision
from gpustats.failures import ImageError

__all__ = [
    "BIG_ENDIAN_BIGTIFF",
    "TiffTags",
    "gdal_nodata",
    "jpeg2000_components",
    "jpeg2000_misfit",
    "jpeg_misfit",
    "png_misfit",
    "pnm_misfit",
    "tiff_directories",
    "tiff_misfit",
    "tiff_pieces",
    "tiff_tags",
    "too_deep",
]

BIG_ENDIAN_BIGTIFF = b"MM\0+"
"""How a file begins whose tags Pillow misreads."""

_SUBFILE, _SHORT = 254, 3
_NO_PAGE = 1 | 4
"""A smaller copy of another image, or a mask of one."""
_PNM = re.compile(rb"P[2356]" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d+)" * 3 + rb"(?!\w)")
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 277, 338, 339
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_GDAL_NODATA = 42113
_AS_STORED = (1, 2)  # photometric interpretations of which a decoder gives what is stored: grey and RGB
_PIECES = ((273, 279), (324, 325))
"""Where strips and tiles start, and their lengths."""
_COLOURS: dict[int | None, int] = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
"""Samples of a colour by TIFF's photometric interpretation: white or black is zero, RGB, palette, CMYK, YCbCr, Lab."""
_KINDS_OF_SAMPLES = {2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex floats"}


def too_deep(count: object) -> str:
    return f"{count} bits a sample; only 8 can be read"


def _bands(count: int) -> str:
    return f"{count} bands; only grey and RGB can be read, with or without alpha"


def jpeg_misfit(data: bytes) -> str | None:
    """Look at the precision in the frame header (ITU-T T.81, B.2.2); lossless files have 2 to 16 bits."""
    precision = jpeg_precision(data)
    return None if precision in (0, 8) else too_deep(precision)


def png_misfit(data: bytes) -> str | None:
    """Look at the bit depth in IHDR. Smaller depths are scaled to 8 bits, which is exact."""
    return too_deep(16) if data[12:16] == b"IHDR" and data[24:25] == b"\x10" else None


def pnm_misfit(data: bytes) -> str | None:
    """Look at the maximum value, the fourth word of the header of PGM and PPM."""
    header = _PNM.match(data, 0, 4096)
    if header is None:
        return None
    maximum = int(header[3])
    return f"values up to {maximum}; only values up to 255 can be read" if maximum > 255 else None


def jpeg2000_components(data: bytes) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Return height, width, and of every component its depth and sampling, from the SIZ segment (ITU-T T.800, A.5.1).

    The depth of a signed component is negative. There is none where the segment is missing or cut off.
    """
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return 0, 0, []
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (count,) = struct.unpack_from(">H", data, start + 40)
    sizes = data[start + 42 : start + 42 + 3 * count]  # a depth is stored less one; its highest bit says signed
    components = [
        (((depth & 0x7F) + 1) * (-1 if depth & 0x80 else 1), dx, dy)
        for depth, dx, dy in zip(sizes[::3], sizes[1::3], sizes[2::3], strict=False)
    ]
    return bottom - top, right - left, components


def jpeg2000_misfit(data: bytes) -> str | None:
    """Look at the depth of every component."""
    _, _, components = jpeg2000_components(data)
    depths = {depth for depth, _, _ in components}
    if any(depth < 0 for depth in depths):
        return "signed integers; only unsigned ones can be read"
    if depths - {8}:
        return too_deep(max(depths))
    return _bands(len(components)) if len(components) > 4 else None


class TiffTags(NamedTuple):
    """What the tags of the first image of a TIFF say.

    Attributes
    ----------
    height, width, samples : int
        Its shape.
    bits, formats : tuple of int
        Bits of each sample, and their types.
    photometric : int or None
        What the samples mean.
    extra : tuple of int
        What the samples are that are no colours.
    largest_piece : int
        Pixels of a tile.
    directory : mapping of int to object
        All tags, as Pillow reads them.
    """

    height: int
    width: int
    samples: int
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    photometric: int | None
    extra: tuple[int, ...]
    largest_piece: int
    directory: Any


def tiff_misfit(data: bytes) -> str | None:
    """Look at the samples of the first image: their bits, their type, and how many of them are no colour."""
    if data[:4] == BIG_ENDIAN_BIGTIFF:
        return "64-bit offsets in big-endian order; only little-endian BigTIFF can be read"
    try:
        tags = tiff_tags(data)
    except Exception:  # noqa: BLE001 - hostile files make Pillow raise nearly anything; its decoder names the damage
        return None
    for kind in tags.formats:
        if kind in _KINDS_OF_SAMPLES:
            return f"{_KINDS_OF_SAMPLES[kind]}; only unsigned integers can be read"
    if set(tags.bits) - {1, 2, 4, 8}:
        return too_deep(max(tags.bits))
    colours = _COLOURS.get(tags.photometric)
    if colours is None:
        return None
    if tags.samples > colours + 1 or (tags.samples == colours + 1 and tags.extra[:1] not in ((1,), (2,))):
        return _bands(tags.samples)
    return None


def tiff_tags(data: bytes) -> TiffTags:
    """Return the tags of the first image; raises nearly anything where they are damaged."""
    tags = _directory(data)
    photometric = tags.get(_PHOTOMETRIC, 0)
    return TiffTags(
        height=int(tags.get(_HEIGHT, 0)),
        width=int(tags.get(_WIDTH, 0)),
        samples=int(tags.get(_SAMPLES, _COLOURS.get(photometric) or 1)),
        bits=_numbers(tags.get(_BITS, 1)),
        formats=_numbers(tags.get(_SAMPLE_FORMAT, 1)),
        photometric=photometric,
        extra=_numbers(tags.get(_EXTRA_SAMPLES, ())),
        largest_piece=int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_HEIGHT, 0)),
        directory=tags,
    )


def tiff_pieces(directory: Any) -> tuple[int, list[tuple[int, int]]]:
    """Return the compression of an image of a TIFF, and where its strips or tiles start and end."""
    pieces = [
        (start, start + length)
        for starts, lengths in _PIECES
        for start, length in zip(
            _numbers(directory.get(starts, ())), _numbers(directory.get(lengths, ())), strict=False
        )
    ]
    return directory.get(_COMPRESSION, 1), pieces


def tiff_directories(data: bytes, most: int) -> tuple[list[int], int, str | None]:
    """Return where the directories of the pages of a TIFF start, how many others there are, and why it ends early.

    A directory that is a smaller copy or a mask of another (NewSubfileType, TIFF 6.0, page 36) is no page.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count_form, entry_size, offset_form = ("Q", 20, "Q") if big else ("H", 12, "I")
    pages: list[int] = []
    others = 0
    seen: set[int] = set()
    try:
        (start,) = struct.unpack_from(order + offset_form, data, 8 if big else 4)
        while start:
            if start in seen:
                return pages, others, "its directories go round in a circle"
            if len(seen) == most:
                return pages, others, f"it has more than {most:,} directories"
            seen.add(start)
            (count,) = struct.unpack_from(order + count_form, data, start)
            first = start + struct.calcsize(count_form)
            (following,) = struct.unpack_from(order + offset_form, data, first + count * entry_size)
            subtype = 0
            for place in range(first, first + count * entry_size, entry_size):
                tag, kind = struct.unpack_from(order + "HH", data, place)
                if tag == _SUBFILE:
                    form = order + ("H" if kind == _SHORT else "I")
                    (subtype,) = struct.unpack_from(form, data, place + entry_size // 2 + 2)
                if tag >= _SUBFILE:
                    break
            if subtype & _NO_PAGE:
                others += 1
            else:
                pages.append(start)
            start = following
    except struct.error:
        return pages, others, "the file ends before its last directory"
    return pages, others, None


def gdal_nodata(data: bytes) -> float | None:
    """Return the value that stands for no data in a TIFF, as GDAL writes it: text in a tag of its own.

    None where the file says nothing, or no number, or where its directory is damaged.

    Raises
    ------
    ImageError
        Where a decoder gives other values than those that are stored, so that none of them can be compared.
    """
    try:
        value = float(str(_directory(data).get(_GDAL_NODATA, "")).strip("\0 "))
        tags = tiff_tags(data)
    except Exception:  # noqa: BLE001 - hostile files make Pillow raise nearly anything; the decoder names the damage
        return None
    if tags.photometric not in _AS_STORED or min(tags.bits) < 8:
        raise ImageError(
            "unsupported",
            "TIFF with a GDAL_NODATA tag and a palette, inverted grey, converted colours, or less than 8 bits",
        )
    return value


def _directory(data: bytes) -> Any:
    """Return the first directory as Pillow reads it."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2(data[:16] if data[2:3] == b"+" else data[:8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
