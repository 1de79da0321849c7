"""PNG and WebP through imagecodecs: the pixels and the verdict are those of Pillow, whatever the file."""

from __future__ import annotations

import io
import itertools
import random
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from gpustats.decode import decoder as module
from gpustats.decode.decoder import IMAGECODECS, PILLOW, Decoder, whole_images_only
from gpustats.decode.headers import webp_size
from gpustats.decode.plain import plain_png, plain_webp
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from tests.badfiles import chunk
from tests.fuzz.mutate import mutated
from tests.images import encoded, photo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunks = list[tuple[bytes, bytes]]


def decoded(data: bytes) -> tuple[Any, str]:
    return Decoder(10**6, MemoryBudget(1 << 30, 1)).decode(data)


def pillow(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        image.info.pop("transparency", None)
        return np.asarray(image.convert("RGB"))


def check(data: bytes, decoder: str = IMAGECODECS) -> None:
    """Hold that a file gives what Pillow gives, through that decoder."""
    pixels, used = decoded(data)
    assert used == decoder
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, pillow(data))


def noise(height: int = 33, width: int = 41, channels: int = 3) -> Any:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.fromarray(noise(image.height, image.width, 1)[..., 0]))
    return image


def chunks(data: bytes) -> Chunks:
    found, position = [], 8
    while position + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, position)
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + size]))
        position += 12 + size
    return found


def of_chunks(parts: Chunks) -> bytes:
    return SIGNATURE + b"".join(chunk(name, body) for name, body in parts)


def interlaced(pixels: Any) -> bytes:
    """Encode (H, W, 1 to 4) of uint8 or uint16 with Adam7, without filters."""
    height, width, channels = pixels.shape
    rows = b""
    for x, y, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:  # noqa: E501 # fmt: skip
        part = pixels[y::dy, x::dx].astype(pixels.dtype.newbyteorder(">"))
        rows += b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 1)
    return of_chunks([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


PHOTO = photo(33, 41)
PNGS = {
    "RGB": encoded(PHOTO, "PNG"),
    "grey": encoded(PHOTO.convert("L"), "PNG"),
    "grey with alpha": encoded(with_alpha(PHOTO).convert("LA"), "PNG"),
    "RGBA": encoded(with_alpha(PHOTO), "PNG"),
    "1 bit": encoded(PHOTO.convert("1"), "PNG"),
    **{f"palette of {n}": encoded(PHOTO.quantize(n), "PNG") for n in (1, 2, 3, 4, 9, 16, 17, 256)},
    "palette of 200, transparent": encoded(PHOTO.quantize(200), "PNG", transparency=bytes(range(200))),
    "palette of 9, one colour transparent": encoded(PHOTO.quantize(9), "PNG", transparency=3),
    "RGB, one colour transparent": encoded(PHOTO, "PNG", transparency=PHOTO.getpixel((3, 3))),
    "grey, one value transparent": encoded(PHOTO.convert("L"), "PNG", transparency=77),
    "one pixel": encoded(photo(4, 4).crop((0, 0, 1, 1)), "PNG"),
    **{f"interlaced, {n} channels": interlaced(noise(channels=n)) for n in (1, 2, 3, 4)},
    "interlaced, 2 x 3": interlaced(noise(3, 2)),
}


def text(**texts: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for name, value in texts.items():
        info.add_text(name, value)
        info.add_text(name, value, zip=True)
        info.add_itxt(name, value)
    return info


PNGS["profile, texts, EXIF, resolution"] = encoded(
    PHOTO, "PNG", icc_profile=bytes(range(256)) * 40, pnginfo=text(a="b" * 500), exif=b"Exif\0\0II*\0", dpi=(72, 72)
)
WEBPS = {
    f"{mode}{' ' + name if (name := ' '.join(options)) else ''}": encoded(image, "WEBP", **options)
    for mode, image in [("RGB", PHOTO), ("RGBA", with_alpha(PHOTO))]
    for options in (
        {},
        {"lossless": True},
        {"lossless": True, "exact": True},
        {"quality": 20},
        {"icc_profile": b"x" * 300, "exif": b"Exif\0\0II*\0", "xmp": b"y" * 33},
    )
}


@pytest.mark.parametrize("name", PNGS)
def test_png(name: str) -> None:
    """libspng has no grey with alpha."""
    check(PNGS[name], PILLOW if name in ("grey with alpha", "interlaced, 2 channels") else IMAGECODECS)


@pytest.mark.parametrize("name", WEBPS)
def test_webp(name: str) -> None:
    check(WEBPS[name])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_colours_that_a_palette_does_not_have(bits: int) -> None:
    parts = chunks(encoded(PHOTO.quantize(2), "PNG", bits=8))
    header = bytearray(parts[0][1])
    header[8] = bits
    rows = b"".join(b"\0" + row.tobytes() for row in noise(33, -(-41 * bits // 8), 1))
    parts = [(b"IHDR", bytes(header)), parts[1], (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    check(of_chunks(parts))


def test_what_is_left_to_pillow() -> None:
    frames = [photo(20, 30, seed=i) for i in range(3)]
    for kind in ("PNG", "WEBP"):
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1:])
        check(file.getvalue(), PILLOW)
    data = PNGS["RGB"]
    check(data[:-12], PILLOW)  # no end
    check(data[:-1], PILLOW)  # no checksum of the end
    header, pixels, end = chunks(data)
    half = len(pixels[1]) // 2
    check(of_chunks([header, (b"IDAT", pixels[1][:half]), (b"IDAT", b""), (b"IDAT", pixels[1][half:]), end]))
    split = [(b"IDAT", pixels[1][:half]), (b"tEXt", b"a\0b"), (b"IDAT", pixels[1][half:])]
    assert plain_png(of_chunks([header, *split, end])) is None
    for parts in ([(b"PLTE", bytes(6)), (b"PLTE", bytes(6)), pixels], [pixels, (b"PLTE", bytes(6))]):
        assert plain_png(of_chunks([header, *parts, end])) is None
    check(of_chunks([header, pixels, (b"tEXt", b"a\0b"), end]) + b"something behind the end")
    check(of_chunks([header, *[(b"tEXt", b"a\0b")] * 60, pixels, end]))
    check(of_chunks([header, *[(b"tEXt", b"a\0b")] * 61, pixels, end]), PILLOW)


@pytest.mark.parametrize(
    ("name", "body", "accepted"),
    [
        *((name, bytes(n), True) for name, n in [(b"gAMA", 4), (b"cHRM", 32), (b"sRGB", 1), (b"pHYs", 9)]),
        *((name, bytes(n - 1), False) for name, n in [(b"gAMA", 4), (b"cHRM", 32), (b"sRGB", 1), (b"pHYs", 9)]),
        (b"tRNS", bytes(6), True),
        (b"tRNS", bytes(5), False),
        (b"tIME", b"anything", True),
        (b"prVt", b"anything", True),
        (b"tEXt", b"\xff" * (1 << 16), True),
        (b"tEXt", b"\xff" * ((1 << 16) + 1), False),
        (b"zTXt", b"a\0\0" + zlib.compress(b"text"), True),
        (b"zTXt", b"a\0\1" + zlib.compress(b"text"), False),
        (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20)), True),
        (b"zTXt", b"a\0\0" + zlib.compress(bytes((1 << 20) + 20_000)), False),
        (b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 20)), True),
        (b"iCCP", b"a\0\0" + zlib.compress(bytes((1 << 20) + 20_000)), False),
        (b"iCCP", b"a\0\0" + b"damaged" * 200, True),
        (b"iCCP", b"no end of the name", False),
        (b"iCCP", b"a\0\1", False),
        (b"iTXt", b"a\0\0\0\0\0" + b"text" * 1000, True),
        (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(1 << 20))[:900], True),
        (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes((1 << 20) + 20_000)), False),
        (b"iTXt", b"a\0\0\0\0\0" + bytes(1 << 16), False),
        (b"acTL", struct.pack(">II", 1, 0), False),
        (b"PLTE", bytes(6), True),
        (b"PLTE", bytes(7), False),
        (b"CgBI", bytes(4), False),
        (b"IHDR", bytes(13), False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_chunks_that_pillow_looks_at(name: bytes, body: bytes, accepted: bool) -> None:
    header, pixels, end = chunks(PNGS["RGB"])
    files = [of_chunks([header, (name, body), pixels, end])]
    if name != b"PLTE":
        files.append(of_chunks([header, pixels, (name, body), end]))
    for data in files:
        assert (plain_png(data) is not None) is accepted
        if accepted:
            check(data)
    broken = bytearray(files[0])
    broken[33 + 8 + len(body)] ^= 1  # its checksum
    assert plain_png(bytes(broken)) is None


def test_headers_that_are_left_to_pillow() -> None:
    header, *rest = chunks(PNGS["RGB"])
    for place, value in [(8, 3), (8, 32), (9, 1), (9, 5), (9, 7), (10, 1), (11, 1), (12, 2), (9, 3)]:
        changed = bytearray(header[1])
        changed[place] = value
        assert plain_png(of_chunks([(b"IHDR", bytes(changed)), *rest])) is None, (place, value)
    assert plain_png(of_chunks([rest[0], header, rest[1]])) is None
    palette = chunks(encoded(PHOTO.quantize(16), "PNG"))
    palette[1] = (b"PLTE", bytes(3 * 17))
    assert plain_png(of_chunks(palette)) is None, "more colours than 4 bits can name"
    for size in range(len(PNGS["RGB"])):
        assert plain_png(PNGS["RGB"][:size]) is None


def riff(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_webp_that_is_left_to_pillow() -> None:
    def plain(data: bytes) -> bool:
        return plain_webp(data, webp_size(data)) is not None

    data = WEBPS["RGB"]
    pixels = (b"VP8 ", data[20:])
    assert riff(pixels)[: len(data)] == data
    assert plain(data + b"something behind the end")
    assert not plain(data[:-1])
    assert not plain(riff(pixels, pixels))
    assert not plain(riff(pixels, (b"EXIF", b"only after VP8X")))
    extended = (b"VP8X", bytes(4) + struct.pack("<I", 40)[:3] + struct.pack("<I", 32)[:3])
    animated = (b"VP8X", b"\x02" + extended[1][1:])
    exif, unknown = (b"EXIF", b"12345"), (b"abcd", b"1234")
    assert plain(riff(extended, pixels, exif))
    check(riff(extended, pixels, exif))
    for parts in [(animated, pixels), (extended, exif), (extended, extended, pixels), (pixels, extended),
                  (extended, pixels, exif, exif), (extended, pixels, unknown)]:  # fmt: skip
        assert not plain(riff(*parts)), parts
    cut = bytearray(riff(extended, pixels, exif))
    cut[4] -= 2
    assert not plain(bytes(cut))


def test_pixels_of_another_size_than_the_header_are_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (np.zeros((33, 40, 3), np.uint8), np.zeros((33, 41, 3), np.uint16)):
        monkeypatch.setattr(module.imagecodecs, "spng_decode", lambda data, wrong=wrong: wrong)
        check(PNGS["RGB"], PILLOW)


def _change_the_pixels(parts: Chunks, dice: random.Random) -> None:
    """Change what is compressed, or how; its checksum is right again."""
    where = [i for i, (name, _) in enumerate(parts) if name == b"IDAT"]
    if not where:
        return
    body = bytearray(parts[where[0]][1])
    how = dice.randrange(5)
    if how == 0 and body:
        body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
    elif how == 1 and body:
        body[-dice.randrange(1, 5)] ^= 0xFF  # Adler's checksum
    elif how == 2:
        del body[dice.randrange(len(body) + 1) :]
    elif how == 3:
        body += bytes(dice.randrange(50))
    else:
        try:
            rows = bytearray(zlib.decompress(bytes(body)))
        except zlib.error:
            return
        rows[dice.randrange(len(rows))] = dice.randrange(256)
        body = bytearray(
            zlib.compress(bytes(rows[: len(rows) - dice.choice((0, 0, 1, 90))]) + bytes(dice.choice((0, 500))))
        )
    parts[where[0]] = (b"IDAT", bytes(body))


def _change_the_header(parts: Chunks, dice: random.Random) -> None:
    header = bytearray(parts[0][1])
    header[dice.choice((3, 7, 8, 9, 10, 11, 12)) % len(header)] ^= 1 << dice.randrange(4)
    parts[0] = (parts[0][0], bytes(header))


def _move_a_chunk(parts: Chunks, dice: random.Random) -> None:
    part = parts.pop(dice.randrange(len(parts)))
    for _ in range(dice.randrange(3)):
        parts.insert(dice.randrange(len(parts) + 1), part)


def _cut_a_chunk(parts: Chunks, dice: random.Random) -> None:
    i = dice.randrange(len(parts))
    name, body = parts[i]
    parts[i] = (name, body[: dice.randrange(len(body) + 1)])


_CHANGES = (_change_the_pixels, _change_the_pixels, _change_the_header, _move_a_chunk, _cut_a_chunk)


def mutated_png(data: bytes, seed: int) -> bytes:
    dice = random.Random(seed)
    if dice.random() < 0.3:
        return mutated(data, seed)
    parts = chunks(data)
    dice.choice(_CHANGES)(parts, dice)
    return of_chunks(parts)


def mutated_webp(data: bytes, seed: int) -> bytes:
    out = bytearray(mutated(data, seed))
    if seed % 2 and len(out) > 12:
        out[4:8] = struct.pack("<I", len(out) - 8)
    return bytes(out)


def outcome(decoder: Decoder, data: bytes) -> tuple[Any, str]:
    try:
        pixels, used = decoder.decode(data)
        return (pixels.shape, pixels.tobytes()), used
    except ImageError as error:
        return (error.reason, str(error)), "failed"
    finally:
        decoder.release()


@pytest.mark.parametrize(
    ("files", "mutate", "decoders"),
    [(PNGS, mutated_png, {IMAGECODECS, PILLOW, "failed"}), (WEBPS, mutated_webp, {IMAGECODECS, "failed"})],
    ids=["PNG", "WebP"],
)
def test_mutated_files_are_what_pillow_says(
    files: dict[str, bytes],
    mutate: Callable[[bytes, int], bytes],
    decoders: set[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    decoder = Decoder(10**6, MemoryBudget(1 << 30, 1))
    real, used = module._decode_with_imagecodecs, set()
    with warnings.catch_warnings(), whole_images_only():
        for seed, data in zip(range(600), itertools.cycle(files.values()), strict=False):
            data = mutate(data, seed)
            found, name = outcome(decoder, data)
            monkeypatch.setattr(module, "_decode_with_imagecodecs", lambda *_: None)
            expected, _ = outcome(decoder, data)
            monkeypatch.setattr(module, "_decode_with_imagecodecs", real)
            assert found == expected, seed
            used.add(name)
    assert used == decoders
    assert caplog.records == [], "no word of a C library on the terminal"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is immortal")
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_file_that_imagecodecs_refuses_costs_no_reference(kind: str) -> None:
    """An extension that releases None once too often ends the process after some thousand files."""
    if kind == "PNG":
        header, (name, body), end = chunks(PNGS["RGB"])
        data = of_chunks([header, (name, body[:-50]), end])
    else:
        data = WEBPS["RGB lossless"][:-300] + bytes(300)
    decoder = Decoder(10**6, MemoryBudget(1 << 30, 1))
    outcome(decoder, data)
    before = sys.getrefcount(None)
    for _ in range(200):
        outcome(decoder, data)
    assert abs(sys.getrefcount(None) - before) < 50
