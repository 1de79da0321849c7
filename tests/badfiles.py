"""Every kind of bad file that a dataset meets, made from nothing, and the reason that gpustats should give."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.images import encoded, photo

Bad = dict[str, tuple[bytes, str]]


def _options(kind: str) -> dict[str, Any]:
    return {"compression": "tiff_lzw"} if kind == "TIFF" else {}


SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "PPM": ".ppm"}


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *before: bytes, rows: bytes = b"", interlaced: bool = False) -> bytes:
    """A PNG that claims a size, with chunks of one's own before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, int(interlaced))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *before,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


def tiff(width: int, height: int, tile: tuple[int, int] | None = None) -> bytes:
    """A TIFF without compression that claims a size, and perhaps tiles of a size."""
    fields = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    if tile:
        fields += [(322, 4, 1, tile[0]), (323, 4, 1, tile[1]), (324, 4, 1, 8), (325, 4, 1, 64)]
    else:
        fields += [(273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 64)]
    fields.sort()
    body = zlib.compress(bytes(1 << 16))[:64].ljust(64, b"\0")
    directory = struct.pack("<H", len(fields)) + b"".join(struct.pack("<HHII", *field) for field in fields)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + bytes(4)


def gif(width: int, height: int, frame: tuple[int, int]) -> bytes:
    """A GIF whose screen and first frame claim sizes of their own."""
    return (
        b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
        + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\x00;"
    )  # fmt: skip


def jpeg_of_size(width: int, height: int, padding: int = 0) -> bytes:
    """A small JPEG whose header claims a size."""
    data = bytearray(encoded(photo(16, 16)))
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data) + bytes(padding)


def scan_bomb(side: int, scans: int) -> bytes:
    """A progressive JPEG of black whose last scan, some bytes long, comes again and again."""
    data = encoded(Image.new("RGB", (side, side)), progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


def damaged() -> Bad:
    """Files of every format: cut off, emptied at the end, with headers that are wrong."""
    files: Bad = {
        "empty.jpg": (b"", "not_an_image"),
        "empty.png": (b"", "not_an_image"),
        "text.jpg": (b"This is not a JPEG, whatever its name says.\n" * 20, "not_an_image"),
        "html.png": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not_an_image"),
        "zeros.jpg": (bytes(5000), "not_an_image"),
        "three_bytes.jpg": (b"\xff\xd8\xff", "truncated"),
        "png_signature.png": (b"\x89PNG\r\n\x1a\n", "truncated"),
    }
    for kind, suffix in SUFFIX.items():
        data = encoded(photo(90, 120), kind, **_options(kind))
        files[f"half{suffix}"] = (data[: len(data) // 2], "truncated")
        files[f"nearly_whole{suffix}"] = (data[: len(data) * 97 // 100], "truncated")
    data = encoded(photo(90, 120))
    files["zeroed_tail.jpg"] = (data[: len(data) // 2] + bytes(len(data) - len(data) // 2), "truncated")
    data = encoded(photo(90, 120), "PNG")
    files["zeroed_tail.png"] = (data[: len(data) // 2] + bytes(len(data) - len(data) // 2), "truncated")
    # What Pillow alone takes: zeros that inflate, in a file whose checksum says that they were not written.
    files["zeroed_pixels.png"] = (data[: len(data) // 2] + bytes(len(data) - len(data) // 2 - 16) + data[-16:], "corrupt")  # noqa: E501 # fmt: skip
    files["wrong_checksum.png"] = (data[:29] + b"\0\0\0\0" + data[33:], "corrupt")
    middle = len(data) // 2
    files["scrambled.png"] = (data[:middle] + bytes(b ^ 0x5A for b in data[middle : middle + 200]) + data[middle + 200 :], "corrupt")  # noqa: E501 # fmt: skip
    data = bytearray(encoded(photo(90, 120)))
    at = data.find(b"\xff\xc4")
    data[at + 2 : at + 4] = b"\xff\xff"
    files["huffman_length.jpg"] = (bytes(data), "truncated")
    files["no_height.jpg"] = (jpeg_of_size(16, 0), "corrupt")
    files["twelve_bit.jpg"] = (encoded(photo(16, 16)).replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "unsupported")  # noqa: E501 # fmt: skip
    files["arithmetic_lossless.jpg"] = (encoded(photo(16, 16)).replace(b"\xff\xc0", b"\xff\xcb"), "corrupt")
    return files


def unsupported() -> Bad:
    """Whole images that cannot be read as 8-bit RGB without clipping or guessing."""
    grey16 = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
    floats = Image.fromarray(np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30))
    return {
        "sixteen_bit.png": (encoded(grey16, "PNG"), "unsupported"),
        "sixteen_bit.tif": (encoded(grey16, "TIFF"), "unsupported"),
        "floats.tif": (encoded(floats, "TIFF"), "unsupported"),
    }


def bombs() -> Bad:
    """Small files that claim a lot."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9))
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(200_000_000), 9))
    size = struct.pack("<IiiHHIIiiII", 40, 65500, 65500, 1, 24, 0, 0, 0, 0, 0, 0)
    bitmap = b"BM" + struct.pack("<IHHI", 75_000, 0, 0, 54) + size + bytes(75_000)
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (65499).to_bytes(3, "little") * 2
    return {
        "bomb.jpg": (jpeg_of_size(65500, 65500, padding=75_000), "too_large"),
        "bomb_scans.jpg": (scan_bomb(4000, 400), "too_large"),
        "bomb.png": (png(65500, 65500, rows=bytes(75_000)), "too_large"),
        "bomb_interlaced.png": (png(65500, 65500, rows=bytes(75_000), interlaced=True), "too_large"),
        "bomb_text.png": (png(8, 8, text, rows=bytes(8 * 25)), "too_large"),
        "bomb_profile.png": (png(60_000, 60_000, profile, rows=bytes(1000)), "too_large"),
        "bomb_screen.gif": (gif(65500, 65500, (1, 1)), "too_large"),
        "bomb_frame.gif": (gif(1, 1, (65500, 65500)), "too_large"),
        "bomb.tif": (tiff(65500, 65500), "too_large"),
        "bomb_tile.tif": (tiff(16, 16, tile=(65536, 65536)), "too_large"),
        "bomb.bmp": (bitmap, "too_large"),
        "bomb.webp": (b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended, "too_large"),
        "bomb.ppm": (b"P6 65500 65500 255\n" + bytes(75_000), "too_large"),
        "bomb.jp2": (_jpeg2000_of_size(65500, 65500), "too_large"),
    }


def _jpeg2000_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded(photo(16, 16), "JPEG2000", no_jp2=True))
    at = data.find(b"\xff\x51")
    data[at + 6 : at + 14] = struct.pack(">II", width, height)
    data[at + 22 : at + 30] = struct.pack(">II", width, height)
    return bytes(data)


def odd_but_good() -> dict[str, bytes]:
    """Unusual images that Pillow reads whole; they must count."""
    frames = [photo(20, 30, seed=i) for i in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    webp = io.BytesIO()
    frames[0].save(webp, "WEBP", save_all=True, append_images=frames[1:])
    image = photo(90, 120)
    return {
        "animated.gif": file.getvalue(),
        "animated.webp": webp.getvalue(),
        "cmyk.jpg": encoded(image.convert("CMYK")),
        "progressive.jpg": encoded(image, progressive=True),
        "grey.jpg": encoded(image.convert("L")),
        "trailing_garbage.jpg": encoded(image) + b"appended by a camera" * 50,
        "restart_markers.jpg": encoded(image, restart_marker_rows=1),
        "png_named.jpg": encoded(image, "PNG"),
        "palette.png": encoded(image.quantize(64), "PNG"),
        "transparent.png": encoded(image.convert("RGBA"), "PNG"),
        "one_bit.png": encoded(image.convert("1"), "PNG"),
        "one_pixel.png": encoded(photo(4, 4).crop((0, 0, 1, 1)), "PNG"),
        "cmyk.tif": encoded(image.convert("CMYK"), "TIFF"),
        "jpeg.tif": encoded(image, "TIFF", compression="jpeg"),
    }


def everything() -> Bad:
    """All bad contents."""
    return damaged() | unsupported() | bombs()


def unreadable(folder: Path) -> dict[str, str]:
    """Make names in `folder` that cannot be read; return the reasons. Few where links are not allowed."""
    reasons: dict[str, str] = {}
    try:
        (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
        (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
        reasons |= {"dangling.jpg": "missing", "loop.jpg": "unreadable"}
        if os.path.exists("/dev/zero"):
            (folder / "endless.jpg").symlink_to("/dev/zero")
            reasons["endless.jpg"] = "unreadable"
    except OSError:
        pass  # Windows without the right to make links
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.jpg")
        reasons["pipe.jpg"] = "unreadable"
    return reasons
