"""CPU decoding: Pillow's pixels, Pillow's verdict, our limits."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from gpustats.decode.decoder import IMAGECODECS, PILLOW, SIMPLEJPEG, Decoder, whole_images_only
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from tests.images import encoded, photo


def decoder(max_pixels: int = 10**8) -> Decoder:
    return Decoder(max_pixels, MemoryBudget(1 << 30, 1))


def grey16() -> Image.Image:
    return Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20)


PALETTE = photo().quantize(17)
CASES = {
    "jpeg 4:2:0": (encoded(photo(), subsampling=2), SIMPLEJPEG),
    "jpeg 4:4:4 odd": (encoded(photo(37, 53), subsampling=0), SIMPLEJPEG),
    "jpeg 4:2:2 1x1": (encoded(photo(1, 1), subsampling=1), SIMPLEJPEG),
    "jpeg progressive": (encoded(photo(61, 33), progressive=True), SIMPLEJPEG),
    "jpeg grey": (encoded(photo().convert("L")), SIMPLEJPEG),
    "jpeg turned by EXIF": (
        encoded(photo(), exif=bytes.fromhex("45786966000049492a0008000000010012010300010000000600000000000000")),
        SIMPLEJPEG,
    ),
    "jpeg cmyk": (encoded(photo().convert("CMYK")), PILLOW),
    "jpeg with bytes after the end": (encoded(photo()) + b"tail" * 9, SIMPLEJPEG),
    "png": (encoded(photo(), "PNG"), IMAGECODECS),
    "png grey": (encoded(photo().convert("L"), "PNG"), IMAGECODECS),
    "png 1-bit": (encoded(photo().convert("1"), "PNG"), IMAGECODECS),
    "png alpha": (encoded(photo().convert("RGBA"), "PNG"), IMAGECODECS),
    "png grey alpha": (encoded(photo().convert("LA"), "PNG"), PILLOW),
    "png palette": (encoded(PALETTE, "PNG"), IMAGECODECS),
    "png palette with transparency": (encoded(PALETTE, "PNG", transparency=bytes(range(17))), IMAGECODECS),
    "webp": (encoded(photo(), "WEBP"), IMAGECODECS),
    "webp lossless alpha": (encoded(photo().convert("RGBA"), "WEBP", lossless=True), IMAGECODECS),
    "webp animated": (encoded(photo(), "WEBP", save_all=True, append_images=[photo(seed=3)]), PILLOW),
    "bmp": (encoded(photo(), "BMP"), PILLOW),
    "gif animated": (encoded(photo(), "GIF", save_all=True, append_images=[photo(seed=1)]), PILLOW),
    "tiff": (encoded(photo(), "TIFF"), IMAGECODECS),
    "tiff deflate": (encoded(photo(), "TIFF", compression="tiff_deflate"), IMAGECODECS),
    "tiff palette": (encoded(PALETTE, "TIFF"), PILLOW),
    "pnm": (encoded(photo(), "PPM"), PILLOW),
    "pgm": (encoded(photo().convert("L"), "PPM"), PILLOW),
}


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_of_pillow(name: str) -> None:
    data, expected_decoder = CASES[name]
    pixels, used = decoder().decode(data)
    with Image.open(io.BytesIO(data)) as image:
        image.info.pop("transparency", None)  # convert() would warn about it; the colours are the same
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
    assert used == expected_decoder
    assert pixels.flags.c_contiguous


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 1000) + b"IDAT" + bytes(100)


def jpeg_of_size(width: int, height: int) -> bytes:
    data = encoded(photo(8, 8))
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def webp_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded(photo(8, 8), "WEBP"))
    assert data[12:16] == b"VP8 "
    data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


JPEG = encoded(photo())
BROKEN = {
    "empty": (b"", "not_an_image", "empty"),
    "text": (b"<html>404 not found</html>", "not_an_image", "first bytes"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "truncated", "truncated"),
    "jpeg without its end marker": (JPEG[:-2], "truncated", "truncated"),
    "only a jpeg header": (JPEG[:200], "truncated", "JPEG"),
    "three bytes of a jpeg": (JPEG[:3], "truncated", "JPEG"),
    "half a png": (CASES["png"][0][:2000], "truncated", "truncated"),
    "half a gif": (CASES["gif animated"][0][:900], "truncated", "truncated"),
    "half a bmp": (CASES["bmp"][0][:900], "truncated", "truncated"),
    "half a tiff": (CASES["tiff"][0][:900], "truncated", "TIFF"),
    "half a webp": (CASES["webp"][0][:900], "truncated", "WebP"),
    "half a pnm": (CASES["pnm"][0][:900], "truncated", "truncated"),
    "png with a wrong checksum": (
        CASES["png"][0][:60] + b"\xff\x00\xff" + CASES["png"][0][63:],
        "corrupt",
        "PNG",
    ),
    "16-bit grey": (encoded(grey16(), "PNG"), "unsupported", "16 bits a sample"),
    "float tiff": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "unsupported", "TIFF with floats"),
    "jpeg bomb": (jpeg_of_size(65500, 65500), "too_large", "65500 x 65500"),
    "png bomb": (png_header(10**6, 10**6), "too_large", "1000000 x 1000000"),
    "webp bomb": (webp_of_size(16383, 16383), "too_large", "16383 x 16383"),
    "jpeg without height": (jpeg_of_size(8, 0), "corrupt", "JPEG"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_fails_with_its_reason(name: str) -> None:
    data, reason, message = BROKEN[name]
    with pytest.raises(ImageError, match=message) as caught:
        decoder().decode(data)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


def test_pillow_stays_strict_inside_a_run_and_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with whole_images_only(), whole_images_only():
        with pytest.raises(ImageError):
            decoder().decode(BROKEN["half a jpeg"][0])
        with pytest.raises(ImageError):
            decoder().decode(BROKEN["half a png"][0])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_the_process_wide_pixel_limit_of_pillow_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decoder().decode(CASES["png"][0])[0].shape == (60, 80, 3)


def test_the_limit_is_exact() -> None:
    assert decoder(60 * 80).decode(JPEG)[0].shape == (60, 80, 3)
    with pytest.raises(ImageError, match="max_pixels=4,799"):
        decoder(60 * 80 - 1).decode(JPEG)


def test_images_larger_than_the_buffer_and_back() -> None:
    one = decoder()
    large = encoded(photo(700, 900), quality=50)
    for data in (JPEG, large, JPEG):
        pixels, _ = one.decode(data)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(pixels, np.asarray(image))
        one.release()
