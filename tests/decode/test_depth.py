"""What a file holds is measured as it is or refused by name: every depth, type and number of bands, in every format.

The files are made by tifffile, imagecodecs and by hand; the truth is the array that they were made of.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.decode.decoder import Decoder
from gpustats.decode.depth import pnm_misfit
from gpustats.decode.headers import jpeg_precision
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from tests.badfiles import chunk
from tests.images import encoded, photo

BANDS = (1, 2, 3, 4, 7)
TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")


def pattern(dtype: str, bands: int) -> Any:
    """Small values, so that a low byte alone or a sign would show, and one large one."""
    values = np.arange(9 * 7 * bands).reshape(9, 7, bands) % 120
    values[0, 0] = 119
    return values.astype(dtype)


def decoded(data: bytes) -> Any:
    return Decoder(10**6, MemoryBudget(1 << 30, 1)).decode(data)[0].copy()


def as_rgb(array: Any, alpha: bool) -> Any:
    """Return what 8-bit RGB of an array is: grey three times, alpha dropped."""
    colours = array[..., :-1] if alpha else array
    return np.repeat(colours, 3, axis=-1) if colours.shape[-1] == 1 else colours


def check(data: bytes, array: Any, alpha: bool, fits: bool) -> None:
    """Hold that a file gives its array, or is refused as `unsupported`."""
    if fits:
        assert np.array_equal(decoded(data), as_rgb(array, alpha))
        return
    with pytest.raises(ImageError) as caught:
        decoded(data)
    assert caught.value.reason == "unsupported", str(caught.value)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_tiff(dtype: str, bands: int, order: Any, big: bool) -> None:
    tifffile: Any = pytest.importorskip("tifffile", reason="tifffile is not installed")
    array = pattern(dtype, bands)
    for photometric in ("minisblack", "rgb") if bands >= 3 else ("minisblack",):
        colours = 3 if photometric == "rgb" else 1
        for extra in ("unspecified", "unassalpha") if bands > colours else ("",):
            file = io.BytesIO()
            options = {"extrasamples": [extra] * (bands - colours)} if extra else {}
            stored = array if bands > 1 else array[..., 0]
            layout = {"planarconfig": "contig"} if bands > 1 else {}
            tifffile.imwrite(file, stored, byteorder=order, bigtiff=big, photometric=photometric, **layout, **options)
            alpha = extra == "unassalpha" and bands == colours + 1
            fits = dtype == "uint8" and (bands == colours or alpha) and not (big and order == ">")
            check(file.getvalue(), array, alpha, fits)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_png(bits: int, bands: int) -> None:
    if bits < 8 and bands > 1:
        pytest.skip("PNG has no such depth for several channels")
    array = pattern("uint16", bands) % min(1 << bits, 120)
    rows = array.astype(">u2" if bits == 16 else np.uint8)
    if bits < 8:
        lines = [
            np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
            for row in array[..., 0]
        ]
    else:
        lines = [row.tobytes() for row in rows]
    header = struct.pack(">IIBBBBB", 7, 9, bits, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + line for line in lines))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    check(data, array * (255 // ((1 << bits) - 1)), bands in (2, 4), bits <= 8)


@pytest.mark.parametrize("maximum", [15, 255, 256, 1023, 65535])
@pytest.mark.parametrize("kind", [b"P2", b"P3", b"P5", b"P6"])
@pytest.mark.parametrize("comment", [b"", b"# of 99 bits\n"])
def test_pnm(kind: bytes, maximum: int, comment: bytes) -> None:
    bands = 3 if kind in (b"P3", b"P6") else 1
    array = pattern("uint16", bands) % min(maximum + 1, 120)
    if kind in (b"P2", b"P3"):
        body = b" ".join(b"%d" % value for value in array.ravel())
    else:
        body = array.astype(">u2" if maximum > 255 else np.uint8).tobytes()
    data = kind + b"\n" + comment + b"7 9\n%d\n" % maximum + body
    check(data, array * (255 // maximum or 1), False, maximum <= 255)


@pytest.mark.parametrize("codec", ["jp2", "j2k"])
@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_jpeg_2000(dtype: str, bands: int, codec: str) -> None:
    imagecodecs: Any = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    array = pattern(dtype, bands)
    stored = array if bands > 1 else array[..., 0]
    data = imagecodecs.jpeg2k_encode(stored, level=0, reversible=True, codecformat=codec)
    check(data, array, bands == 4, dtype == "uint8")


@pytest.mark.parametrize("bits", [2, 7, 9, 12, 16])
def test_jpeg_2000_of_other_depths(bits: int) -> None:
    data = bytearray(encoded(photo(16, 16), "JPEG2000", no_jp2=True))
    at = data.find(b"\xff\x51") + 40
    assert data[at] == 7
    data[at] = data[at + 3] = data[at + 6] = bits - 1
    with pytest.raises(ImageError, match=f"JPEG 2000 with {bits} bits a sample") as caught:
        decoded(bytes(data))
    assert caught.value.reason == "unsupported"


def test_pnm_headers() -> None:
    assert pnm_misfit(b"P5 #300\n2# 9\r#\n 2\t256\n") == "values up to 256; only values up to 255 can be read"
    for data in (b"P5 2 2 255\n", b"P4 2 2 300\n", b"P5 2 2 300x", b"P5 2 2", b"P5 2 2 #300", b"P7\n2 2 300\n", b""):
        assert pnm_misfit(data) is None
    assert pnm_misfit(b"P6" + b"\n" * 4090 + b"2 2 300\n") is None, "a header of more than 4,096 bytes"


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif(bits: int) -> None:
    imagecodecs: Any = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    array = np.full((16, 16, 3), 100, np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.avif_encode(array, bitspersample=bits, level=100)
    if bits == 8:
        assert np.abs(decoded(data).astype(int) - 100).max() <= 2
        return
    with pytest.raises(ImageError, match=f"AVIF with {bits} bits a sample; .* mode='native' measures it as") as caught:
        decoded(data)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("bits", [2, 3, 5, 7, 8, 12, 16])
@pytest.mark.parametrize("bands", [1, 3])
def test_lossless_jpeg(bits: int, bands: int) -> None:
    """libjpeg-turbo decodes 2 to 7 bits too, and gives them as values of 8 bits."""
    imagecodecs: Any = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    array = (pattern("uint16", bands) % min(1 << bits, 120)).astype(np.uint8 if bits <= 8 else np.uint16)
    data = imagecodecs.jpeg8_encode(array if bands > 1 else array[..., 0], lossless=True, bitspersample=bits)
    assert jpeg_precision(data) == bits
    if bits == 8:
        assert np.array_equal(decoded(data), as_rgb(array, alpha=False))
        return
    with pytest.raises(ImageError, match=f"JPEG with {bits} bits a sample") as caught:
        decoded(data)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=repr)
def test_a_scan_that_ends_too_early_is_truncated_also_with_an_end_marker(mode: str, options: dict[str, Any]) -> None:
    """Between two scans of a progressive file nothing is missing, as far as libjpeg can tell."""
    data = encoded(photo(90, 120).convert(mode), **options)
    assert decoded(data).shape == (90, 120, 3)
    for share in (0.4, 0.6, 0.9, 0.99) if "progressive" not in options else (0.9, 0.99):
        with pytest.raises(ImageError, match="JPEG: the compressed data end before the last row") as caught:
            decoded(data[: int(len(data) * share)] + b"\xff\xd9")
        assert caught.value.reason == "truncated"


def test_what_libjpeg_reads_without_a_warning_is_whole() -> None:
    for data in (encoded(photo(90, 120)) + bytes(500), encoded(photo(90, 120), restart_marker_blocks=1)):
        assert decoded(data).shape == (90, 120, 3)


@pytest.mark.parametrize("mode", ["I", "LAB", "I;16", "I;16B"])
def test_pil_images(mode: str) -> None:
    image = Image.new("I" if mode == "I" else mode, (5, 4), 3000 if mode.startswith("I") else 0)
    if mode == "LAB":
        with pytest.raises(gpustats.AllImagesFailed, match=f"0: unsupported: PIL image of mode {mode};"):
            gpustats.compute([image], progress=False)
    else:
        assert gpustats.compute([image], progress=False).totals["moments"]["sum"] == [3000 * 20]


def test_a_pil_image_that_is_not_decoded_yet_and_has_16_bits_a_sample(tmp_path: Any) -> None:
    tifffile: Any = pytest.importorskip("tifffile", reason="tifffile is not installed")
    tifffile.imwrite(tmp_path / "a.tif", pattern("uint16", 3), photometric="rgb")
    message = "PIL image of 16 bits a sample, of which Pillow would give 8"
    with Image.open(tmp_path / "a.tif") as image, pytest.raises(gpustats.AllImagesFailed, match=message):
        gpustats.compute([image], progress=False)
