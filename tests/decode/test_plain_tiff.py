"""TIFF through imagecodecs: the pixels and the verdict are those of Pillow, whatever the file."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from gpustats.decode import decoder as module
from gpustats.decode.decoder import IMAGECODECS, PILLOW, Decoder, whole_images_only
from gpustats.decode.formats import FORMATS
from gpustats.decode.plain_tiff import plain_tiff
from gpustats.limits.memory import MemoryBudget
from tests.decode.test_plain import PHOTO, check, outcome, with_alpha
from tests.fuzz.mutate import mutated
from tests.images import encoded, photo

Entries = list[tuple[int, int, int, bytes]]

ARRAYS = {
    "RGB": np.asarray(PHOTO),
    "grey": np.asarray(PHOTO.convert("L")),
    "RGBA": np.asarray(with_alpha(PHOTO)),
    "grey with alpha": np.asarray(with_alpha(PHOTO).convert("LA")),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips of 7 rows": {"rowsperstrip": 7},
    "strips of 11 rows": {"rowsperstrip": 11},
    "tiles": {"tile": (16, 32)},
    "one tile": {"tile": (48, 48)},
    "wide tiles": {"tile": (16, 48)},
}
COMPRESSIONS: dict[str, dict[str, Any]] = {
    "raw": {},
    "LZW": {"compression": "lzw"},
    "LZW, predictor": {"compression": "lzw", "predictor": True},
    "deflate": {"compression": "zlib"},
    "deflate, predictor": {"compression": "zlib", "predictor": True},
    "packbits": {"compression": "packbits"},
    "JPEG": {"compression": "jpeg"},
}


def tiff(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    samples = array.shape[2] if array.ndim == 3 else 1
    kind = {"photometric": "rgb" if samples > 2 else "minisblack"}
    if samples in (2, 4):
        kind |= {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
    tifffile.imwrite(file, array, **kind | options)
    return file.getvalue()


TIFFS = {
    f"{name}, {compression}, {layout}, {order}": tiff(
        array, byteorder=order, **COMPRESSIONS[compression], **LAYOUTS[layout]
    )
    for (name, array), compression, layout, order in itertools.product(ARRAYS.items(), COMPRESSIONS, LAYOUTS, "<>")
    if compression != "JPEG" or name in ("RGB", "grey")
}
TIFFS |= {
    f"as wide as its tiles, {compression}": tiff(np.asarray(photo(33, 48)), tile=(16, 48), **options)
    for compression, options in COMPRESSIONS.items()
}
TIFFS |= {
    f"YCbCr {subsampling}, {layout}": tiff(
        ARRAYS["RGB"], compression="jpeg", photometric="ycbcr", subsampling=subsampling, **LAYOUTS[layout]
    )
    for subsampling in ((1, 1), (2, 1), (2, 2))
    for layout in ("one strip", "one tile", "tiles")
}
TIFFS |= {
    f"Pillow, {mode} {compression}": encoded(PHOTO.convert(mode), "TIFF", compression=compression, dpi=(72, 72))
    for mode in ("RGB", "L")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
}


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(name: str) -> None:
    check(TIFFS[name])


def entries(data: bytes) -> tuple[str, Entries]:
    """Return the order of a TIFF, and tag, type, count and bytes of every entry of its first directory."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    found = []
    for position in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number, offset = struct.unpack_from(order + "HHII", data, position)
        size = number * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}.get(kind, 1)
        at = position + 8 if size <= 4 else offset
        found.append((tag, kind, number, data[at : at + size]))
    return order, found


def with_entries(data: bytes, parts: Entries, order: str) -> bytes:
    """Return a TIFF whose directory is written again, at its end."""
    start = len(data) + len(data) % 2
    at = start + 2 + 12 * len(parts) + 4
    directory, later = struct.pack(order + "H", len(parts)), b""
    for tag, kind, number, body in parts:
        if len(body) <= 4:
            value = body.ljust(4, b"\0")
        else:
            value = struct.pack(order + "I", at + len(later))
            later += body + bytes(len(body) % 2)
        directory += struct.pack(order + "HHI", tag, kind, number) + value
    head = data[:4] + struct.pack(order + "I", start) + data[8:]
    return head + bytes(len(data) % 2) + directory + bytes(4) + later


def changed(data: bytes, *parts: tuple[int, int, int, bytes], without: tuple[int, ...] = ()) -> bytes:
    """Return a TIFF with other entries, or some less."""
    order, old = entries(data)
    new = {part[0]: part for part in old} | {part[0]: part for part in parts}
    return with_entries(data, [new[tag] for tag in sorted(new) if tag not in without], order)


RGB, STRIPS, TILES = (
    TIFFS[f"RGB, {name}, <"] for name in ("deflate, one strip", "raw, strips of 7 rows", "raw, tiles")
)
JPEG = TIFFS["YCbCr (2, 1), one strip"]


def short(tag: int, *values: int) -> tuple[int, int, int, bytes]:
    return tag, 3, len(values), struct.pack(f"<{len(values)}H", *values)


def long(tag: int, *values: int) -> tuple[int, int, int, bytes]:
    return tag, 4, len(values), struct.pack(f"<{len(values)}I", *values)


def values(data: bytes, tag: int) -> list[int]:
    _, found = entries(data)
    kind, count, body = next(part[1:] for part in found if part[0] == tag)
    return list(struct.unpack(f"<{count}{'H' if kind == 3 else 'I'}", body))


@pytest.mark.parametrize(
    "data",
    [
        changed(RGB),
        changed(RGB, long(256, 41), long(257, 33)),
        changed(RGB, short(266, 1), short(274, 1), short(284, 1)),
        changed(RGB, short(339, 1)),
        changed(RGB, short(339, 1, 1, 1)),
        changed(RGB, short(296, 3), long(330, 1, 2, 3)),
        changed(RGB, (700, 1, 5, b"<xmp>"), (34675, 7, 9, b"a profile"), (65000, 2, 6, b"hello\0")),
        changed(RGB, long(34665, 8)),
        changed(RGB, long(34853, 10**6)),
        changed(RGB, (42112, 2, 30, b"<GDALMetadata></GDALMetadata>\0"), (42113, 2, 2, b"0\0")),
        changed(STRIPS, long(278, 7)),
        *(changed(data, long(278, rows)) for data in (RGB, JPEG) for rows in (99, (1 << 16) - 1, (1 << 32) - 1)),
        changed(JPEG, without=(278,)),
        changed(STRIPS, without=(282, 283, 296, 305)),
    ],
)
def test_what_else_a_file_may_say(data: bytes) -> None:
    assert plain_tiff(data) is not None
    with whole_images_only():
        check(data)


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0",
        RGB[:8],
        tiff(ARRAYS["RGB"], bigtiff=True),
        tiff(np.moveaxis(ARRAYS["RGB"], 2, 0).copy(), planarconfig="separate"),
        tiff(ARRAYS["RGBA"], extrasamples=["assocalpha"]),
        tiff(ARRAYS["RGBA"], extrasamples=["unspecified"]),
        tiff(ARRAYS["RGB"], compression="lzma"),
        tiff(ARRAYS["grey"], photometric="miniswhite"),
        tiff(ARRAYS["RGB"].astype(np.uint16)),
        tiff(ARRAYS["grey"].astype(np.int8)),
        *(encoded(PHOTO.convert(mode), "TIFF") for mode in ("1", "P", "CMYK", "YCbCr")),
        encoded(PHOTO, "TIFF", exif=b"Exif\0\0II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"),
        *(changed(RGB, short(tag, 2)) for tag in (266, 274, 284)),
        *(changed(RGB, short(tag, 2, 2)) for tag in (256, 259, 262, 277)),
        *(changed(RGB, part) for part in (short(258, 8), short(258, 8, 8), short(258, 8, 8, 4), short(277, 4))),
        *(changed(RGB, part) for part in (short(339, 2), short(339, 1, 1, 2), short(317, 3), short(338, 2))),
        changed(RGB, long(282, 72)),
        changed(RGB, (282, 5, 2, struct.pack("<4I", 1, 1, 1, 1))),
        changed(RGB, (34665, 9, 1, struct.pack("<i", -1))),
        changed(RGB, (34853, 2, 4, b"text")),
        *(changed(RGB, short(tag, 1)) for tag in (40965, 0xBC01, 512, 521)),
        *(changed(RGB, long(tag, 0)) for tag in (256, 257, 278, 279)),
        changed(RGB, (270, 99, 4, b"text")),
        changed(RGB, (270, 2, 0, b"")),
        changed(RGB, long(273, len(RGB))),
        changed(RGB, without=(273,)),
        changed(RGB, short(322, 16), short(323, 16)),
        changed(RGB, without=(262,)),
        changed(STRIPS, short(278, 8)),
        changed(STRIPS, long(279, *values(STRIPS, 279)[:-1])),
        changed(STRIPS, long(279, *values(STRIPS, 279)[:-1], 1)),
        changed(STRIPS, long(279, 1, *values(STRIPS, 279)[1:])),
        changed(STRIPS, short(317, 2)),
        changed(RGB, long(278, 1 << 16)),
        changed(TILES, long(325, 1, *values(TILES, 325)[1:])),
        changed(TILES, long(325, *values(TILES, 325)[:-1], 1)),
        changed(TILES, short(323, 24)),
        changed(TILES, short(322, 0)),
        changed(TIFFS["RGB, deflate, one tile, <"], long(322, 1 << 14), long(323, 1 << 14)),
    ],
)
def test_what_is_left_to_pillow(data: bytes) -> None:
    assert plain_tiff(data) is None


def test_directories_that_are_left_to_pillow() -> None:
    order, parts = entries(RGB)
    assert plain_tiff(with_entries(RGB, parts, order)) is not None
    for odd in (parts[:1] + parts, parts[1:] + parts[:1]):
        assert plain_tiff(with_entries(RGB, odd, order)) is None, "twice, or in another order"
    large = [(65000 + i, 2, 900, bytes(900)) for i in range(5)]
    data = with_entries(RGB, parts + large, order)
    assert plain_tiff(data) is not None
    assert plain_tiff(data[:-1]) is None, "a text ends behind the file"
    for count, fits in ((len(data) // 6, True), (len(data) // 4, False)):
        shared = bytearray(data)
        for tag, *_ in large:
            at = data.index(struct.pack("<HHI", tag, 2, 900))
            shared[at : at + 12] = struct.pack("<HHII", tag, 2, count, 8)
        assert (plain_tiff(bytes(shared)) is not None) is fits, "texts that are longer than the file together"
    assert plain_tiff(changed(RGB, (65000, 7, 1 << 31, bytes(8)))) is None


def test_for_every_length_of_a_file() -> None:
    for data in (RGB, STRIPS, TILES):
        for size in range(len(data)):
            plain_tiff(data[:size])


def stored_jpeg(piece: bytes) -> bytes:
    """Return a TIFF of one strip, which is that JPEG."""
    data = TIFFS["YCbCr (2, 2), one strip"]
    (start,), (size,) = values(data, 273), values(data, 279)
    assert start + size == len(data)
    return changed(data[:start] + piece, long(279, len(piece)), long(278, 33))


def jpeg_of_three_scans() -> bytes:
    """Return a JPEG whose components come one after the other, which a decoder has to hold all."""
    planes = [encoded(plane, "JPEG") for plane in PHOTO.convert("YCbCr").split()]
    first = planes[0]
    frame, scan = first.index(b"\xff\xc0"), first.index(b"\xff\xda")
    components = b"".join(bytes((i, 0x11, 0)) for i in (1, 2, 3))
    header = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 33, 41, 3) + components
    scans = b"".join(
        b"\xff\xda\0\x08\1" + bytes((i, 0, 0, 63, 0)) + plane[plane.index(b"\xff\xda") + 10 : -2]
        for i, plane in enumerate(planes, 1)
    )
    return first[:frame] + header + first[frame + 13 : scan] + scans + b"\xff\xd9"


def test_jpegs_that_are_left_to_pillow() -> None:
    """Their header is not what the tags say, or they keep a decoder busy, or need memory, that nobody expects."""
    check(stored_jpeg(encoded(PHOTO)))
    for piece in (
        encoded(PHOTO, progressive=True),
        encoded(PHOTO, subsampling=1),
        encoded(PHOTO.convert("L")),
        encoded(photo(33, 40)),
        encoded(photo(32, 41)),
        encoded(PHOTO)[:2],
        encoded(PHOTO)[:300],
    ):
        data = stored_jpeg(piece)
        plain = plain_tiff(data)
        assert plain is not None
        assert module._decode_with_imagecodecs(FORMATS["TIFF"], plain) is None
    data = stored_jpeg(jpeg_of_three_scans())
    check(changed(data, short(530, 1, 1)), PILLOW)
    lossless = stored_jpeg(imagecodecs.jpeg8_encode(ARRAYS["RGB"], lossless=True))
    plain = plain_tiff(changed(lossless, short(262, 2)))
    assert plain is not None
    assert module._decode_with_imagecodecs(FORMATS["TIFF"], plain) is None
    tables = encoded(PHOTO)
    for odd in ((347, 3, 2, bytes(4)), short(347, 1), short(530, 2), short(530, 2, 34), (530, 5, 1, bytes(8))):
        assert plain_tiff(changed(stored_jpeg(tables), odd)) is None


def test_deflate_that_is_left_to_pillow() -> None:
    (start,), (size,) = values(RGB, 273), values(RGB, 279)
    rows = zlib.decompress(RGB[start : start + size])
    for piece, fits in [
        (zlib.compress(rows), True),
        (zlib.compress(rows) + b"more", True),
        (zlib.compress(rows[:-1]), False),
        (zlib.compress(rows + b"1"), False),
        (zlib.compress(rows)[:-1], False),
        (zlib.compress(rows)[:-1] + b"?", False),
    ]:
        plain = plain_tiff(changed(RGB[:start] + piece, long(279, len(piece))))
        assert plain is not None
        assert (module._decode_with_imagecodecs(FORMATS["TIFF"], plain) is not None) is fits


def _change_an_entry(data: bytes, dice: random.Random) -> bytes:
    order, parts = entries(data)
    i = dice.randrange(len(parts))
    tag, kind, count, body = parts[i]
    how = dice.randrange(6)
    if how == 0:
        kind = dice.randrange(15)
    elif how == 1:
        count = dice.choice((0, 1, 2, count - 1, count + 1, 1000)) % (1 << 32)
    elif how == 2 and body:
        changed = bytearray(body)
        changed[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
        body = bytes(changed)
    elif how == 3:
        size = {3: 2, 4: 4}.get(kind, 1)
        number = dice.choice((0, 1, 2, 3, 5, 6, 7, 8, 16, 32, 255, 32773, 65535)) % (1 << 8 * size)
        body = number.to_bytes(size, "little" if order == "<" else "big") * (len(body) // size)
    elif how == 4:
        tag = dice.choice((tag + 1, 255, 266, 274, 284, 317, 322, 338, 339, 347, 512, 530, 532, 34665, 0xBC01))
    else:
        parts.append(parts[dice.randrange(len(parts))])
    parts[i] = tag, kind, count, body
    if dice.random() < 0.8:
        parts.sort(key=lambda part: part[0])
    if dice.random() < 0.2:
        del parts[dice.randrange(len(parts))]
    return with_entries(data, parts, order)


def mutated_tiff(data: bytes, seed: int) -> bytes:
    dice = random.Random(seed)
    how = dice.random()
    if how < 0.3:
        return mutated(data, seed)
    if how < 0.6:  # what is compressed
        order, parts = entries(data)
        starts = next(body for tag, _, _, body in parts if tag in (273, 324))
        i = dice.randrange(len(starts) // 4)
        (start,) = struct.unpack_from(order + "I", starts, 4 * i)
        size = min(512, len(data) - start)
        out = bytearray(data)
        for _ in range(dice.choice((1, 1, 2, 20))):
            at = start + dice.randrange(max(size, 1))
            if at < len(out):
                out[at] = dice.choice((0, 255, out[at] ^ 1 << dice.randrange(8)))
        return bytes(out)
    for _ in range(dice.choice((1, 1, 2))):
        data = _change_an_entry(data, dice)
    return data


def test_mutated_files_are_what_pillow_says(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    decoder = Decoder(10**6, MemoryBudget(1 << 30, 1))
    real, used = module._decode_with_imagecodecs, set()
    with whole_images_only():
        for seed, data in zip(range(800), itertools.cycle(TIFFS.values()), strict=False):
            data = mutated_tiff(data, seed)
            found, name = outcome(decoder, data)
            monkeypatch.setattr(module, "_decode_with_imagecodecs", lambda *_: None)
            expected, _ = outcome(decoder, data)
            monkeypatch.setattr(module, "_decode_with_imagecodecs", real)
            assert found == expected, seed
            used.add(name)
    assert used == {IMAGECODECS, PILLOW, "failed"}
    assert caplog.records == []
    assert capfd.readouterr() == ("", ""), "no word of a C library on the terminal"
