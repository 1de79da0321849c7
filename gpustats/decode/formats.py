"""The image formats: `FORMATS` is the one table, with an entry for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from gpustats.decode.avif import avif_misfit, deep_avif
from gpustats.decode.deep import Deep, deep_jpeg2000, deep_png, deep_pnm, deep_tiff
from gpustats.decode.depth import (
    jpeg2000_misfit,
    jpeg_misfit,
    png_misfit,
    pnm_misfit,
    tiff_misfit,
)
from gpustats.decode.extras import deep_dicom, deep_heic, dicom_size, heic_misfit
from gpustats.decode.headers import jpeg_peak_bytes, png_damage, webp_size
from gpustats.decode.jpegxl import jpegxl_misfit, jpegxl_size, plain_jpegxl
from gpustats.decode.plain import Plain, plain_png, plain_webp
from gpustats.decode.plain_tiff import plain_tiff

__all__ = ["EIGHT_BIT_MODES", "FORMATS", "IMAGE_SUFFIXES", "Format", "looks_cut_off", "sniff"]

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"})
"""Modes of Pillow whose conversion to 8-bit grey or RGB loses nothing but alpha. The others (I;16, I, F, LAB ...) would
be clipped or guessed."""

_SMALLEST_FILE = 26  # bytes of the smallest image of any format, a GIF


@dataclass(frozen=True, slots=True, eq=False)
class Format:
    """An image format.

    Attributes
    ----------
    name : str
        What messages call it.
    endings : tuple of str
        The file name endings that are taken for it, lower case.
    signature : bytes
        A regular expression for the first bytes of a file.
    pillow : str
        Module and class of its decoder in Pillow, or with Pillow's interface; empty where it has none.
    peak_bytes : int
        Bytes a pixel that Pillow's decoder takes at its peak, the array of 3 that comes out of it included; measured as
        peak RSS on images of 36 megapixels, for the worst mode and subsampling (tests/robust/test_limits.py).
    peak_bytes_of : callable, optional
        The same where it depends on the file: from the file and its number of pixels.
    size : callable, optional
        Height and width from the file, where Pillow allocates memory for the pixels before it gives the size.
    extra : str
        The extra whose package reads it, see `gpustats.decode.extras`.
    weak : bool
        Whether the signature says so little that it counts only where a file is known to be an image.
    misfit : callable, optional
        What the file holds that does not fit into 8-bit grey or RGB, None where nothing; see `gpustats.decode.depth`.
    deep : callable, optional
        How to decode as stored what is a misfit; see `gpustats.decode.deep`.
    damage : callable, optional
        What is wrong with a file that Pillow decodes all the same, None where nothing is.
    plain : callable, optional
        What of the file imagecodecs can decode, None where it is Pillow's or a misfit; see `gpustats.decode.plain`.
    codec : str
        The function of imagecodecs that decodes it.
    is_cut_off : callable
        Whether a file of at least 26 bytes ends before its header says so.
    """

    name: str
    endings: tuple[str, ...]
    signature: bytes
    pillow: str = ""
    peak_bytes: int = 7  # 4 inside Pillow, 3 in the array
    peak_bytes_of: Callable[[bytes, int], int] | None = None
    size: Callable[[bytes], tuple[int, int]] | None = None
    misfit: Callable[[bytes], str | None] | None = None
    extra: str = ""
    weak: bool = False
    deep: Callable[[bytes], Deep] | None = None
    damage: Callable[[bytes], str | None] | None = None
    plain: Callable[[bytes], Plain | None] | None = None
    codec: str = ""
    is_cut_off: Callable[[bytes], bool] = field(default=lambda data: False)

    def peak(self, data: bytes, pixels: int) -> int:
        """Return how many bytes a file of that many pixels takes at the peak of its decoding."""
        return pixels * (self.peak_bytes_of(data, pixels) if self.peak_bytes_of else self.peak_bytes)


def _number(data: bytes, start: int, order: str = "little") -> int:
    return int.from_bytes(data[start : start + 4], order)  # type: ignore[arg-type]


FORMATS = {
    entry.name: entry
    for entry in (
        Format(
            "JPEG",
            (".jpg", ".jpeg", ".jpe", ".jfif"),
            rb"\xff\xd8\xff",
            "PIL.JpegImagePlugin.JpegImageFile",
            peak_bytes_of=jpeg_peak_bytes,
            misfit=jpeg_misfit,
            is_cut_off=lambda data: b"\xff\xd9" not in data[-4096:],
        ),
        Format(
            "PNG",
            (".png",),
            rb"\x89PNG\r\n\x1a\n",
            "PIL.PngImagePlugin.PngImageFile",
            misfit=png_misfit,
            deep=deep_png,
            damage=png_damage,
            plain=lambda data: None if png_misfit(data) else plain_png(data),
            codec="spng_decode",  # with every error, png_decode of imagecodecs 2026.3.6 releases None once too often
            is_cut_off=lambda data: b"IEND" not in data[-64:],
        ),
        Format(
            "WebP",
            (".webp",),
            rb"RIFF....WEBP",
            "PIL.WebPImagePlugin.WebPImageFile",
            peak_bytes=20,
            size=webp_size,
            plain=lambda data: plain_webp(data, webp_size(data)),
            codec="webp_decode",
            is_cut_off=lambda data: len(data) < 8 + _number(data, 4),
        ),
        Format(
            "BMP",
            (".bmp", ".dib"),
            rb"BM",
            "PIL.BmpImagePlugin.BmpImageFile",
            is_cut_off=lambda data: len(data) < _number(data, 2),
        ),
        Format(
            "GIF",
            (".gif",),
            rb"GIF8[79]a",
            "PIL.GifImagePlugin.GifImageFile",
            is_cut_off=lambda data: not data.rstrip(b"\0").endswith(b"\x3b"),
        ),
        Format(
            "DICOM",
            (".dcm", ".dicom"),
            rb".{128}DICM",  # before TIFF: the first 128 bytes are free, and may be the header of one
            extra="dicom",
            size=dicom_size,
            deep=deep_dicom,
        ),
        Format(
            "TIFF",
            (".tif", ".tiff"),
            rb"II[*+]\0|MM\0[*+]",
            "PIL.TiffImagePlugin.TiffImageFile",
            peak_bytes=8,
            misfit=tiff_misfit,
            deep=deep_tiff,
            plain=plain_tiff,
            codec="tiff_decode",
            # The header gives the position of the first directory.
            is_cut_off=lambda data: len(data) < _number(data, 4, "little" if data[:2] == b"II" else "big"),
        ),
        Format(
            "PNM",
            (".pbm", ".pgm", ".ppm", ".pnm"),
            rb"P[1-6]\s",
            "PIL.PpmImagePlugin.PpmImageFile",
            misfit=pnm_misfit,
            deep=deep_pnm,
        ),
        Format(
            "AVIF",
            (".avif",),
            rb"....ftypavi[fs]",
            "PIL.AvifImagePlugin.AvifImageFile",
            peak_bytes=16,
            misfit=avif_misfit,
            deep=deep_avif,
        ),
        Format(
            "JPEG 2000",
            (".jp2",),
            rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
            "PIL.Jpeg2KImagePlugin.Jpeg2KImageFile",
            peak_bytes=28,
            misfit=jpeg2000_misfit,
            deep=deep_jpeg2000,
        ),
        Format(
            "HEIC",
            (".heic", ".heif", ".hif"),
            rb"....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)",
            "pillow_heif.as_plugin.HeifImageFile",
            peak_bytes=20,
            extra="heif",
            misfit=heic_misfit,
            deep=deep_heic,
        ),
        Format(
            "JPEG XL",
            (".jxl",),
            rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
            peak_bytes=48,
            size=jpegxl_size,
            misfit=jpegxl_misfit,
            plain=plain_jpegxl,
        ),
        Format("QOI", (".qoi",), rb"qoif", "PIL.QoiImagePlugin.QoiImageFile"),
        Format(
            "TGA",
            (".tga",),
            # Whether there is a palette, the type, the bits of a pixel, and its direction (Truevision TGA 2.0, table 1)
            rb".(?:\x01[\x01\x09]|\0[\x02\x03\x0a\x0b]).{13}[\x08\x0f\x10\x18\x20][\0-\x3f]",
            "PIL.TgaImagePlugin.TgaImageFile",
            weak=True,
        ),
    )
}
"""Every format that is read, by its name."""

IMAGE_SUFFIXES = frozenset(ending for entry in FORMATS.values() for ending in entry.endings)
"""File name endings of images, lower case. The format itself is detected from the first bytes."""


def _signatures(weak: bool) -> tuple[re.Pattern[bytes], list[Format]]:
    """Return one expression with a group for each format, in the order of the table, and the formats."""
    entries = [entry for entry in FORMATS.values() if weak or not entry.weak]
    return re.compile(b"|".join(b"(%b)" % entry.signature for entry in entries), re.DOTALL), entries


_STRONG, _ALL = _signatures(weak=False), _signatures(weak=True)


def sniff(data: bytes, weak: bool = False) -> Format | None:
    """Detect the format of a file from its first 132 bytes, None where they are of no format in the table.

    Parameters
    ----------
    data : bytes
        A file, or how it begins.
    weak : bool
        Whether it is known to be an image, so that signatures count that little is needed for.

    >>> sniff(b"GIF89a").name
    'GIF'
    """
    signatures, entries = _ALL if weak else _STRONG
    found = signatures.match(data)
    return entries[found.lastindex - 1] if found and found.lastindex else None


def looks_cut_off(kind: Format, data: bytes) -> bool:
    """Return whether a file that could not be decoded ends too early: it is then truncated, not corrupt."""
    return len(data) < _SMALLEST_FILE or kind.is_cut_off(data)
