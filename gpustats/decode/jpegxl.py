"""The header of a JPEG XL file (ISO/IEC 18181-1, annexes D and E; boxes: 18181-2, 9): size, turn, depth and frames.

imagecodecs decodes the file, and no size is given before. Files that it does not decode to 8-bit grey or RGB as they
are stored are refused by name.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any, NamedTuple

from numpy.typing import NDArray

from gpustats.decode.plain import Plain
from gpustats.failures import ImageError

__all__ = ["jpegxl_misfit", "jpegxl_orientation", "jpegxl_size", "plain_jpegxl"]

_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by the three bits that stand for them."""
_LONGEST = 64  # bytes of the header that are looked at


class _Header(NamedTuple):
    height: int
    width: int
    orientation: int = 1
    several: bool = False
    bits: int = 8
    floats: bool = False
    extra: int = 0


class _Bits:
    """The bits of a codestream, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")
        self._count = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next bits as an integer."""
        if count > self._count:
            raise ImageError("truncated", "JPEG XL: the header is cut off")
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        self._count -= count
        return value

    def one_of(self, *choices: tuple[int, int]) -> int:
        """Return one of four: a number, and how many bits follow that are added to it."""
        base, count = choices[self.take(2)]
        return base + self.take(count)


def _codestream(data: bytes) -> bytes:
    """Return how the codestream begins, which a file may hold in boxes."""
    position = 0
    while not data.startswith(_CODESTREAM, position):
        if position + 16 > len(data):
            raise ImageError("truncated", "JPEG XL: the file ends before the image")
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        if kind in (b"jxlc", b"jxlp"):
            position += head + (4 if kind == b"jxlp" else 0)
            break
        if size < head:
            raise ImageError("corrupt", "JPEG XL: a box has no size")
        position += size
    if not data.startswith(_CODESTREAM, position):
        raise ImageError("corrupt", "JPEG XL: there is no image in its box")
    return data[position + 2 : position + 2 + _LONGEST]


def _size(bits: _Bits) -> tuple[int, int]:
    eighths = bits.take(1)

    def side() -> int:
        return 8 * (1 + bits.take(5)) if eighths else bits.one_of((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.take(3)
    if not ratio:
        return height, side()
    wide, high = _RATIOS[ratio - 1]
    return height, height * wide // high


def _header(data: bytes) -> _Header:
    bits = _Bits(_codestream(data))
    size = _size(bits)
    if bits.take(1):  # everything is as usual
        return _Header(*size)
    orientation = 1
    if bits.take(1):
        orientation = 1 + bits.take(3)
        if bits.take(1):  # the size that it is shown in
            _size(bits)
        if bits.take(1) or bits.take(1):  # a preview, an animation
            return _Header(*size, orientation, several=True)
    floats = bool(bits.take(1))
    if floats:
        depth = bits.one_of((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
    else:
        depth = bits.one_of((8, 0), (10, 0), (12, 0), (1, 6))
    bits.take(1)
    return _Header(*size, orientation, False, depth, floats, bits.one_of((0, 0), (1, 0), (2, 4), (1, 12)))


def jpegxl_size(data: bytes) -> tuple[int, int]:
    """Return height and width as they are stored."""
    return _header(data)[:2]


def jpegxl_orientation(data: bytes) -> int:
    """Return the orientation, with the meaning that it has in EXIF."""
    return _header(data).orientation


def jpegxl_misfit(data: bytes) -> str | None:
    """Look at depth, frames and extra channels; an extra channel is taken for alpha."""
    header = _header(data)
    if header.several:
        return "a preview or several frames; only single images can be read"
    if header.floats or header.bits != 8:
        return f"{header.bits} bits a sample{', floats' if header.floats else ''}; only 8 can be read"
    return f"{header.extra} extra channels; only alpha can be read" if header.extra > 1 else None


def plain_jpegxl(data: bytes) -> Plain | None:
    """Return the file for imagecodecs, None where it is a misfit."""
    if jpegxl_misfit(data) is not None:
        return None
    return Plain(*jpegxl_size(data), 3, data, partial(_decode, data))


def _decode(data: bytes) -> NDArray[Any]:
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.jpegxl_decode(data, keeporientation=True, numthreads=1)
    return pixels
