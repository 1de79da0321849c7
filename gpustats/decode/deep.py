"""Images of more than 8 bits a sample, floats, and any number of bands: as they are stored, under mode ``"native"``.

Each format has a function that looks at the header and returns a `Deep`, which decodes; it raises `ImageError` where
the file is of a kind that is not measured.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.depth import BIG_ENDIAN_BIGTIFF, TiffTags, jpeg2000_components, tiff_pieces, tiff_tags
from gpustats.decode.headers import png_damage
from gpustats.decode.plain import plain_png
from gpustats.failures import ImageError
from gpustats.wording import option

__all__ = ["Deep", "deep_jpeg2000", "deep_png", "deep_pnm", "deep_tiff", "integers"]


class Deep(NamedTuple):
    """What a header says, and how to decode what follows.

    Attributes
    ----------
    height, width, channels : int
        The shape of the pixels.
    dtype : dtype
        Of integers or floats.
    decode : callable
        Returns the pixels, of shape (H, W), (H, W, C) or, for separate planes, (C, H, W).
    largest_piece : int
        Pixels of the largest tile that the decoder has to hold.
    colours : int
        How many channels are colours (1 or 3), where the others are alpha; 0 for bands that are neither.
    value_range : int
        The largest value of the depth that the file says to have; 0 where it is that of the type, or signed.
    note : str
        What a reader of the result must know of how the values are meant; it counts with the decoder.
    bytes_a_sample : int
        That decoding takes at its peak, 0 for the usual.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    decode: Callable[[], NDArray[Any]]
    largest_piece: int = 0
    colours: int = 0
    value_range: int = 0
    bytes_a_sample: int = 0
    note: str = ""

    def peak(self) -> int:
        """Return the bytes that decoding takes at its peak."""
        each = self.bytes_a_sample or (12 if self.dtype.itemsize == 2 else 3 * self.dtype.itemsize)
        return self.height * self.width * self.channels * each

    @property
    def is_plain(self) -> bool:
        """Whether the pixels are 8-bit colours, with 1.0 at 255."""
        return self.dtype == np.uint8 and self.colours > 0 and self.value_range in (0, 255)

    def pixels(self) -> NDArray[Any]:
        """Return the pixels, of shape (H, W, C)."""
        pixels = self.decode()
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        elif pixels.shape == (self.channels, self.height, self.width):
            pixels = pixels.transpose(1, 2, 0)
        if pixels.shape != (self.height, self.width, self.channels) or pixels.dtype != self.dtype:
            raise ImageError("corrupt", f"decoded as {pixels.dtype} of shape {pixels.shape}, unlike the header says")
        return pixels

    def in_mode(self, pixels: NDArray[Any], mode: str) -> NDArray[Any]:
        """Return pixels of shape (H, W, C) in a mode: of ``"RGB"`` and ``"L"``, alpha is dropped.

        Raises
        ------
        ImageError
            Where they are no colours, or colours where one channel is wanted.
        """
        if mode == "native":
            return pixels
        wanted = 3 if mode == "RGB" else 1
        if self.colours not in (1, wanted):
            channels = "3 channels" if self.colours else f"{self.channels} bands"
            raise ImageError("unsupported", f"{channels} are not {mode}; use {option('mode', 'native')}")
        return np.repeat(pixels[:, :, :1], wanted, axis=2) if self.colours == 1 else pixels[:, :, :wanted]


_UINT16 = np.dtype(np.uint16)
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7 (PNG, section 8.2): first column and row of each pass, and the steps between its columns and rows."""


def deep_png(data: bytes) -> Deep:
    """Return a PNG of 16 bits a sample; its tRNS chunk is no channel."""
    plain = plain_png(data)
    if plain is None:
        if damage := png_damage(data):
            raise ImageError("corrupt", f"PNG: {damage}")
        if b"IEND" not in data[-64:]:
            raise ImageError("truncated", "PNG: the file ends before its last chunk")
        raise ImageError("unsupported", "PNG with 16 bits a sample that is animated or has chunks of odd kinds")
    decode = partial(_decode_png, plain.data, plain.samples)
    return Deep(plain.height, plain.width, plain.samples, _UINT16, decode, colours=plain.samples - 1 | 1)


def _decode_png(data: bytes, samples: int) -> NDArray[Any]:
    import imagecodecs

    _check_rows(data, samples)
    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    return pixels


def _check_rows(data: bytes, samples: int) -> None:
    """Raise `ImageError` where libpng would find an error: imagecodecs 2026.3.6 then releases None once too often."""
    width, height = struct.unpack_from(">II", data, 16)
    passes = _PASSES if data[28] else ((0, 0, 1, 1),)
    rows = [(-(-(height - y) // dy), -(-(width - x) // dx)) for x, y, dx, dy in passes if x < width and y < height]
    expected = sum(count * (1 + 2 * samples * columns) for count, columns in rows)
    stream = zlib.decompressobj()
    inflated = stream.decompress(_png_stream(data), expected + 1)
    if len(inflated) != expected or not stream.eof:
        raise ImageError("corrupt", f"PNG: the compressed rows do not end after {expected:,} bytes, as they should")
    start = 0
    for count, columns in rows:
        length = 1 + 2 * samples * columns
        filters = np.frombuffer(inflated, np.uint8, count * length, start)[::length]
        if filters.max() > 4:
            raise ImageError("corrupt", f"PNG: a row has the filter {filters.max()}, which does not exist")
        start += count * length


def _png_stream(data: bytes) -> bytes:
    parts, position = [], 8
    while position < len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        if name == b"IDAT":
            parts.append(data[position + 8 : position + 8 + size])
        elif name == b"IEND":
            break
        position += 12 + size
    return b"".join(parts)


def integers(bits: int, signed: bool = False) -> np.dtype[Any]:
    """Return the smallest type of integers with so many bits."""
    return np.dtype(f"{'i' if signed else 'u'}{next(size for size in (1, 2, 4, 8) if bits <= 8 * size)}")


_PNM = re.compile(rb"P([2356])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" * 3 + rb"\s")


def deep_pnm(data: bytes) -> Deep:
    """Return a binary PGM or PPM of 16 bits (Netpbm, "pgm" and "ppm": the most significant byte is first)."""
    header = _PNM.match(data, 0, 4096)
    if header is None or header[1] in b"23":
        raise ImageError("unsupported", "PNM of more than 8 bits a sample, written as text; only binary ones are read")
    width, height, maximum = map(int, header.groups()[1:])
    if maximum > 65535:
        raise ImageError("corrupt", f"PNM: values up to {maximum}; a file holds 65535 at most")
    channels = 3 if header[1] == b"6" else 1

    def decode() -> NDArray[Any]:
        count = height * width * channels
        if len(data) - header.end() < 2 * count:
            raise ImageError("truncated", "PNM: the pixels end before the last row")
        pixels = np.frombuffer(data, ">u2", count, header.end()).astype(np.uint16)
        if pixels.max() > maximum:
            raise ImageError("corrupt", f"PNM: the value {pixels.max()}, where the header says {maximum} at most")
        return pixels.reshape(height, width, channels)

    return Deep(height, width, channels, _UINT16, decode, colours=channels, value_range=maximum)


_MOST_BITS = 20


def deep_jpeg2000(data: bytes) -> Deep:
    """Return a JPEG 2000 file of up to 20 bits a sample: from 24 on, OpenJPEG writes other values or reads them."""
    height, width, components = jpeg2000_components(data)
    depths = {depth for depth, _, _ in components}
    if len(components) > 4 or len(depths) != 1 or b"pclr" in data[:4096]:
        raise ImageError("unsupported", "JPEG 2000 with a palette, components of several depths, or more than four")
    if any((dx, dy) != (1, 1) for _, dx, dy in components):
        raise ImageError("unsupported", "JPEG 2000 with components that are sampled at a lower rate")
    (depth,) = depths
    if abs(depth) > _MOST_BITS:
        raise ImageError("unsupported", f"JPEG 2000 of {abs(depth)} bits a sample; up to {_MOST_BITS} can be measured")
    dtype = integers(abs(depth), depth < 0)
    return Deep(
        height,
        width,
        len(components),
        dtype,
        partial(_decode_jpeg2000, data),
        colours=len(components) - 1 | 1,
        value_range=(1 << depth) - 1 if depth > 0 else 0,
        bytes_a_sample=12,  # OpenJPEG holds 32 bits, several times
    )


def _decode_jpeg2000(data: bytes) -> NDArray[Any]:
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.jpeg2k_decode(data, numthreads=1)
    return pixels


_SAMPLES = {
    **{(1, bits): integers(bits) for bits in (*range(1, 33), 64)},
    **{(2, bits): integers(bits, True) for bits in (8, 16, 32, 64)},
    **{(3, bits): np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
}
"""NumPy's types by TIFF's sample format and bits."""
_COLOURS = {1: 1, 2: 3}
"""Samples of a colour by the photometric interpretation: grey and RGB."""
_STRAIGHT_ALPHA = 2
_DEFLATE = (8, 32946)
_INFLATED_AT_ONCE = 1 << 20  # bytes


def deep_tiff(data: bytes) -> Deep:
    """Return the first image of a TIFF of any number of bands, read by libtiff."""
    if data[:4] == BIG_ENDIAN_BIGTIFF:
        raise ImageError("unsupported", "TIFF with 64-bit offsets in big-endian order")
    tags = tiff_tags(data)
    formats, bits = set(tags.formats), set(tags.bits)
    dtype = _SAMPLES.get((*formats, *bits)) if len(formats) == len(bits) == 1 else None  # type: ignore[arg-type]
    if dtype is None:
        raise ImageError(
            "unsupported",
            f"TIFF with samples of {_words(tags)}; unsigned integers of up to 32 bits, signed ones of 8, 16 and 32 and "
            "floats can be measured",
        )
    colours = _COLOURS.get(tags.photometric or 0)
    if colours is None:
        raise ImageError("unsupported", f"TIFF of {tags.samples} bands whose colours are neither grey nor RGB")
    if tags.samples != colours and (tags.samples, tags.extra) != (colours + 1, (_STRAIGHT_ALPHA,)):
        colours = 0
    (depth,) = bits
    said = (1 << depth) - 1 if dtype.kind == "u" and depth < 8 * dtype.itemsize else 0
    decode = partial(_decode_tiff, data, tags.directory)
    return Deep(tags.height, tags.width, tags.samples, dtype, decode, tags.largest_piece, colours, said)


def _decode_tiff(data: bytes, directory: Any) -> NDArray[Any]:
    import imagecodecs

    compression, pieces = tiff_pieces(directory)
    end = max((end for _, end in pieces), default=0)
    if end > len(data):
        raise ImageError("truncated", f"TIFF: the pixels end at byte {end:,} of {len(data):,}")
    if compression in _DEFLATE:
        _check_deflate(data, pieces)
    pixels: NDArray[Any] = imagecodecs.tiff_decode(data)
    return pixels


def _check_deflate(data: bytes, pieces: list[tuple[int, int]]) -> None:
    """Raise `ImageError` where data are damaged: of some, the libtiff of imagecodecs 2026.3.6 makes pixels."""
    for start, end in pieces:
        stream = zlib.decompressobj()
        left = data[start:end]
        try:
            while left and not stream.eof:
                stream.decompress(left, _INFLATED_AT_ONCE)
                left = stream.unconsumed_tail
        except zlib.error as error:
            raise ImageError("corrupt", f"TIFF: the compressed data are damaged: {error}") from None
        if not stream.eof:
            raise ImageError("corrupt", "TIFF: the compressed data have no end")


def _words(tags: TiffTags) -> str:
    kinds = {1: "unsigned", 2: "signed", 3: "float", 5: "complex integer", 6: "complex"}
    return ", ".join(
        sorted({f"{bits} bits {kinds.get(kind, '')}".strip() for bits in tags.bits for kind in tags.formats})
    )
