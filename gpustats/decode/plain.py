"""PNG and WebP files whose structure leaves no doubt, for imagecodecs, which decodes without the interpreter lock.

Pillow decides what is a whole image, and it looks at every chunk of a file. So a file goes to imagecodecs only where
its chunks are complete, their checksums right, and each of them one that Pillow accepts or passes over. imagecodecs
gets the chunks that make the pixels, and nothing else. All other files, and those that imagecodecs refuses, are left
to Pillow.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

__all__ = ["Doubt", "Plain", "plain_png", "plain_webp"]

_CHUNK = struct.Struct(">I4s")
_CHECKSUM = struct.Struct(">I")
_IHDR = struct.Struct(">IIBBBBB")
_FIRST_CHUNK, _AFTER_IHDR = 8, 33

_PALETTE = 3
_SAMPLES = {0: 1, 2: 3, _PALETTE: 3, 4: 2, 6: 4}
"""Samples a pixel by the colour type of a PNG, where the colours of a palette are put in."""
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), _PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

_SHORTEST = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"eXIf": 0}
"""Chunks that Pillow accepts whatever they hold, and how long they must be at least."""
_SHORTEST_TRANSPARENCY = {0: 2, 2: 6, _PALETTE: 0, 4: 0, 6: 0}
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_MOST_OTHERS = 60  # chunks, so that all of their texts are less than the 64 MiB that Pillow takes
_LONGEST_TEXT = 1 << 16
_INFLATES_TO = 1 << 20
"""Bytes to which Pillow inflates a text or a profile; more is an error."""
_NEVER_MORE = 1000
"""Bytes that cannot inflate to more than that: deflate makes at most 1,032 of one."""


class Plain(NamedTuple):
    """What the structure of a file says that imagecodecs can decode.

    Attributes
    ----------
    height, width : int
        Its size.
    samples : int
        Channels of the pixels; a palette has 3.
    data : bytes
        What of the file makes the pixels.
    decode : callable, optional
        Makes them, where the codec of the format does not.
    """

    height: int
    width: int
    samples: int
    data: bytes
    decode: Callable[[], NDArray[Any]] | None = None


class Doubt(Exception):
    """There is something in a file that Pillow has to look at."""


def plain_png(data: bytes) -> Plain | None:
    """Return a PNG (W3C, third edition) that imagecodecs can decode, None where Pillow should have it."""
    try:
        width, height, depth, color, *methods = _IHDR.unpack_from(data, 16)
        if depth not in _DEPTHS.get(color, ()) or methods not in ([0, 0, 0], [0, 0, 1]):
            return None
        pixels, colors = _png_pixels(data, color)
    except (struct.error, Doubt):
        return None
    if color == _PALETTE and not 0 < colors <= 1 << depth:
        return None
    return Plain(height, width, _SAMPLES[color], pixels)


def _png_pixels(data: bytes, color: int) -> tuple[bytes, int]:
    """Return what of a PNG makes its pixels, and how many colours its palette has.

    Raises
    ------
    struct.error, Doubt
        Where Pillow should look at the file.
    """
    view = memoryview(data)
    parts = [view[:_AFTER_IHDR]]
    others = palette = pixels_end = 0
    position = _FIRST_CHUNK
    name = b""
    while name != b"IEND":
        size, name = _CHUNK.unpack_from(data, position)
        body, end = position + 8, position + 8 + size
        if zlib.crc32(view[position + 4 : end]) != _CHECKSUM.unpack_from(data, end)[0]:
            raise Doubt
        start, position = position, end + 4
        if (name == b"IHDR") != (start == _FIRST_CHUNK):
            raise Doubt
        if name == b"IDAT":
            if pixels_end not in (0, start):  # something in between
                raise Doubt
            pixels_end = position
        elif name == b"PLTE":
            if palette or pixels_end or size % 3:
                raise Doubt
            palette = size // 3
        elif name != b"IHDR" and name != b"IEND":
            others += 1
            if others > _MOST_OTHERS or not _is_accepted(name, data[body:end], color):
                raise Doubt
            continue
        parts.append(view[max(start, _AFTER_IHDR) : position])
    return (b"".join(parts) if others else data), palette


def _is_accepted(name: bytes, body: bytes, color: int) -> bool:
    """Say whether Pillow reads an ancillary chunk of a PNG without an error, and without an effect on the pixels."""
    if name in _SHORTEST:
        return len(body) >= _SHORTEST[name]
    if name == b"tRNS":
        return len(body) >= _SHORTEST_TRANSPARENCY[color]
    if name == b"tEXt":
        return len(body) <= _LONGEST_TEXT
    if name == b"iTXt":
        _, _, rest = body.partition(b"\0")
        return len(body) <= (_NEVER_MORE if rest[:1] != b"\0" else _LONGEST_TEXT)
    if name in (b"zTXt", b"iCCP"):
        _, end, rest = body.partition(b"\0")
        return bool(end) and rest[:1] == b"\0" and _inflates(rest[1:])
    return name.isalpha() and name[:1].islower() and name not in _ANIMATION


def _inflates(data: bytes) -> bool:
    """Say whether Pillow inflates the data, or takes it for damaged and passes it over; too much is an error."""
    if len(data) <= _NEVER_MORE:
        return True
    stream = zlib.decompressobj()
    try:
        stream.decompress(data, _INFLATES_TO)
    except zlib.error:
        return True
    return not stream.unconsumed_tail


_RIFF_CHUNK = struct.Struct("<4sI")
_ANIMATED = 0x02  # a bit of the first byte of VP8X
_ONCE = (b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L", b"EXIF", b"XMP ")
_IMAGES = (b"VP8 ", b"VP8L")


def plain_webp(data: bytes, size: tuple[int, int]) -> Plain | None:
    """Return a WebP file (RFC 9649) that imagecodecs can decode, None where Pillow should have it.

    Parameters
    ----------
    data : bytes
        The file.
    size : tuple of int
        Its height and width, see `gpustats.decode.headers.webp_size`.
    """
    position, end = 12, 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        return None
    found: list[bytes] = []
    while position < end:
        if position + 8 > end:
            return None
        name, length = _RIFF_CHUNK.unpack_from(data, position)
        if name not in _ONCE or name in found:
            return None
        if name == b"VP8X" and (found or data[position + 8] & _ANIMATED):
            return None
        found.append(name)
        position += 8 + length + length % 2
    images = [name for name in found if name in _IMAGES]
    if position != end or len(images) != 1 or (found[0] != b"VP8X" and found != images):
        return None
    return Plain(*size, 3, data)
