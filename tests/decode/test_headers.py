"""What headers say: signatures, scans of JPEG, sizes of WebP, checksums of PNG, where files are cut off."""

from __future__ import annotations

import importlib
import struct
import zlib

import pytest

from gpustats.decode import headers
from gpustats.decode.extras import EXTRAS
from gpustats.decode.formats import FORMATS, IMAGE_SUFFIXES, looks_cut_off, sniff
from gpustats.decode.headers import jpeg_scans, may_hide_scans, png_damage, webp_size
from gpustats.failures import ImageError
from tests import badfiles
from tests.images import encoded, photo

REST = bytes(20)
SIGNATURES = [
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("WebP", b"RIFF\1\2\n\4WEBP"),  # the size may hold any byte, a line feed as well
    ("BMP", b"BM"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
    ("TIFF", b"II+\0"),
    ("TIFF", b"MM\0+"),
    *[("PNM", b"P" + bytes([digit, blank])) for digit in b"123456" for blank in b" \n\t\r"],
    ("AVIF", b"\0\0\n\x20ftypavif"),
    ("AVIF", b"\0\0\0\x1cftypavis"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", b"\xff\x4f\xff\x51"),
    *[("HEIC", b"\0\0\0\x18ftyp" + brand) for brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")],
    ("QOI", b"qoif"),
    ("JPEG XL", b"\xff\x0a"),
    ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ("DICOM", bytes(128) + b"DICM"),
]


@pytest.mark.parametrize(("kind", "start"), SIGNATURES)
def test_every_signature(kind: str, start: bytes) -> None:
    entry = FORMATS[kind]
    assert sniff(start) is entry
    assert sniff(start + REST) is entry
    assert sniff(b"\0" + start) is None, "not at the start"
    for i, byte in enumerate(start):
        free = (kind == "WebP" and 4 <= i < 8) or (kind in ("AVIF", "HEIC") and i < 4) or (kind == "DICOM" and i < 128)
        digit = kind == "PNM" and i == 1
        changed = start[:i] + bytes([byte ^ 0x80]) + start[i + 1 :]
        assert sniff(changed + REST) is (entry if free else None), i
        assert not digit or sniff(b"P7\n") is None
    assert sniff(start[:-1]) is None


@pytest.mark.parametrize("data", [b"", b"P", b"P6", b"P0\n", b"P7\n", b"P6x", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x20ftypisom", b"p6\n"])  # fmt: skip # noqa: E501
def test_what_is_no_image(data: bytes) -> None:
    assert sniff(data + REST * bool(data)) is None
    assert sniff(data) is None


def test_the_table_of_formats() -> None:
    endings = [ending for entry in FORMATS.values() for ending in entry.endings]
    assert len(endings) == len(set(endings)), "an ending belongs to one format"
    assert " ".join(sorted(IMAGE_SUFFIXES)) == (
        ".avif .bmp .dcm .dib .dicom .gif .heic .heif .hif .jfif .jp2 .jpe .jpeg .jpg .jxl .pbm .pgm .png .pnm .ppm "
        ".qoi .tga .tif .tiff .webp"
    )
    for name, entry in FORMATS.items():
        module, _, cls = entry.pillow.rpartition(".")
        assert entry.name == name
        if entry.extra:
            pytest.importorskip(EXTRAS[entry.extra][0])
        if entry.pillow:
            assert getattr(importlib.import_module(module), cls).__name__ == cls
        else:
            assert entry.deep is not None or entry.plain is not None


WORK = 2_000_000_000


def test_how_long_a_jpeg_must_be_to_hide_scans() -> None:
    assert not may_hide_scans(bytes(1000), WORK // 100)
    assert may_hide_scans(bytes(1000), WORK // 100 + 1)
    assert not may_hide_scans(bytes(1009), WORK // 100), "a scan has ten bytes"
    assert may_hide_scans(bytes(1010), WORK // 100)
    assert not may_hide_scans(b"", 1 << 40)


PROGRESSIVE = encoded(photo(9, 8), progressive=True)
SCANS = PROGRESSIVE.count(b"\xff\xda")


def with_scans(count: int) -> bytes:
    last = PROGRESSIVE[PROGRESSIVE.rfind(b"\xff\xda") : -2]
    return PROGRESSIVE[:-2] + last * (count - SCANS) + b"\xff\xd9"


def test_how_many_scans_a_jpeg_may_have() -> None:
    assert headers.MAX_SCANS == 100
    pixels = 1 << 40
    assert jpeg_scans(with_scans(100), pixels)
    with pytest.raises(ImageError, match=r"101 scans over 1,099,511,627,776 pixels; more than 100") as caught:
        jpeg_scans(with_scans(101), pixels)
    assert caught.value.reason == "too_large"


def test_how_much_work_scans_may_be() -> None:
    data = with_scans(200)
    assert jpeg_scans(data, WORK // 200)
    with pytest.raises(ImageError, match="200 scans"):
        jpeg_scans(data, WORK // 200 + 1)


def test_scans_before_the_frame_do_not_count() -> None:
    thumbnail = b"\xff\xe1" + struct.pack(">H", 402) + b"\xff\xda" * 200
    assert jpeg_scans(PROGRESSIVE[:2] + thumbnail + PROGRESSIVE[2:], 1 << 40)


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def frame(marker: int, components: int) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, 9, 8, components) + b"\1\x11\0" * components)


def scan(components: int) -> bytes:
    return segment(0xDA, bytes([components]) + b"\1\0" * components + b"\0\x3f\0") + b"data" * 9


END = b"\xff\xd9"
START = b"\xff\xd8"
TABLES = b"".join(segment(marker, b"\x09" * 20) for marker in (0xDB, 0xC4, 0xC8, 0xCC))


@pytest.mark.parametrize(
    ("data", "several"),
    [
        (START + frame(0xC0, 3) + scan(3) + END, False),
        (START + frame(0xC0, 3) + scan(1) + END, True),
        (START + frame(0xC0, 3) + scan(2) + END, True),
        (START + frame(0xC0, 1) + scan(1) + END, False),
        (START + frame(0xC1, 3) + scan(3) + END, False),
        (START + frame(0xC2, 1) + scan(1) + END, True),
        (START + frame(0xC2, 3) + scan(3) + END, True),
        (START + frame(0xC3, 3) + scan(3) + END, False),
        (START + frame(0xC6, 3) + scan(3) + END, True),
        (START + frame(0xCA, 3) + scan(3) + END, True),
        (START + frame(0xCE, 3) + scan(3) + END, True),
        (START + frame(0xCD, 3) + scan(2) + END, True),
        (START + frame(0xCF, 3) + scan(2) + END, True),
        (START + frame(0xC0, 3) + TABLES + scan(3) + END, False),
        (START + TABLES + frame(0xC0, 3) + scan(1) + END, True),
        (START + frame(0xC2, 3) + END + scan(3) + END, False),  # the image ends before
        (START + frame(0xC2, 3) + b"\xff\xd0\xff\xd7\xff\x01\xff\x00\xff\xff\xff" + scan(3)[1:] + END, True),
        (START + frame(0xC2, 3) + b"junk" + scan(3) + END, True),
        (START + frame(0xC2, 3) + b"\xff" + scan(3) + END, True),
        (START + frame(0xC2, 3) + b"\xff\xff" + scan(3) + END, True),
        (START + b"\xff\xd8" + frame(0xC2, 3) + scan(3) + END, True),
        (START + scan(3) + END, False),
        (START + frame(0xC2, 3) + scan(3)[:9], False),  # too short to be a scan
        (START + frame(0xC2, 3) + scan(3)[:10], True),
        (START, False),
        (b"", False),
    ],
)
def test_images_of_several_scans(data: bytes, several: bool) -> None:
    assert jpeg_scans(data, 72) is several


def test_long_segments_are_stepped_over() -> None:
    body = bytes(300) + scan(1)  # what looks like a scan in a segment is none
    assert not jpeg_scans(START + frame(0xC0, 3) + segment(0xE1, body) + scan(3) + END, 72)
    assert jpeg_scans(START + segment(0xE1, body) + frame(0xC2, 3) + scan(3) + END, 72)


def webp(chunk: bytes, payload: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + chunk + bytes(4) + payload


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (2, 3), (256, 255), (257, 513), (16383, 1), (1, 16383), (16383, 16383)]
)
def test_the_size_of_webp(width: int, height: int) -> None:
    extended = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    assert webp_size(webp(b"VP8X", extended)) == (height, width)
    lossless = b"\x2f" + ((width - 1) | (height - 1) << 14 | 0xF << 28).to_bytes(4, "little") + b"\xff" * 5
    assert webp_size(webp(b"VP8L", lossless)) == (height, width)
    lossy = b"abc\x9d\x01\x2a" + struct.pack("<HH", width | 0xC000, height | 0x4000)  # the upper bits scale
    assert webp_size(webp(b"VP8 ", lossy)) == (height, width)


def test_the_largest_size_of_webp() -> None:
    assert webp_size(webp(b"VP8X", b"\xff" * 10)) == (1 << 24, 1 << 24)
    assert webp_size(webp(b"VP8L", b"\xff" * 10)) == (1 << 14, 1 << 14)


@pytest.mark.parametrize("height", [5, 16, 40])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0" + bytes(10)}])
def test_the_size_of_real_webp(options: dict[str, object], height: int) -> None:
    assert webp_size(encoded(photo(height, 33), "WEBP", **options)) == (height, 33)


def test_headers_of_webp_that_are_damaged() -> None:
    whole = webp(b"VP8X", bytes(10))
    for data, reason in [(whole[:29], "truncated"), (webp(b"VP8Y", bytes(10)), "corrupt"), (b"", "truncated")]:
        with pytest.raises(ImageError, match="WebP: the header is damaged") as caught:
            webp_size(data)
        assert caught.value.reason == reason
    assert webp_size(whole) == (1, 1)


SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(*chunks: tuple[bytes, bytes, int]) -> bytes:
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)
        for kind, data, wrong in chunks
    )


@pytest.mark.parametrize(
    ("chunks", "damage"),
    [
        ([(b"IHDR", b"x" * 13, 0), (b"IDAT", b"y", 0), (b"IEND", b"", 0)], None),
        ([(b"IHDR", b"x" * 13, 1), (b"IDAT", b"y", 0), (b"IEND", b"", 0)], "IHDR"),
        ([(b"IHDR", b"x" * 13, 0), (b"IDAT", b"y", 1 << 31), (b"IEND", b"", 0)], "IDAT"),
        ([(b"IHDR", b"x" * 13, 0), (b"IDAT", b"", 1), (b"IEND", b"", 0)], "IDAT"),
        ([(b"IHDR", b"x" * 13, 0), (b"tEXt", b"y", 1), (b"IEND", b"", 0)], None),  # not needed for the pixels
        ([(b"IHDR", b"x" * 13, 0), (b"IEND", b"", 1)], "IEND"),
        ([(b"IHDR", b"x" * 13, 0), (b"IEND", b"", 0), (b"IDAT", b"y", 1)], None),  # behind the end
        ([(b"IHDR", b"x" * 13, 0), (b"IDAT", b"a", 0), (b"IDAT", b"b", 1), (b"IEND", b"", 0)], "IDAT"),
        ([(b"I\xffAT", b"a", 1)], "I\ufffdAT"),
        ([], None),
    ],
)
def test_checksums_of_png(chunks: list[tuple[bytes, bytes, int]], damage: str | None) -> None:
    assert png_damage(png(*chunks)) == (damage and f"the checksum of {damage} is wrong")


def test_a_png_that_is_cut_off_is_not_judged_by_its_checksums() -> None:
    whole = png((b"IHDR", b"x" * 13, 0), (b"IDAT", b"yyyy", 1))
    assert png_damage(whole) == "the checksum of IDAT is wrong"
    for size in range(len(whole)):
        assert png_damage(whole[:size]) is None


@pytest.mark.parametrize("kind", ["WebP", "PNG", "JPEG", "GIF", "TIFF", "BMP", "PNM", "AVIF"])
def test_files_shorter_than_any_image_are_cut_off(kind: str) -> None:
    ends = {"PNG": b"IEND", "JPEG": b"\xff\xd9", "GIF": b"\x3b"}.get(kind, b"")
    starts = {"TIFF": b"II*\0\0\0\0\0"}.get(kind, b"")
    assert looks_cut_off(FORMATS[kind], starts.ljust(25 - len(ends), b"\0") + ends)
    assert not looks_cut_off(FORMATS[kind], starts.ljust(26 - len(ends), b"\0") + ends)


@pytest.mark.parametrize(
    ("kind", "whole"),
    [
        ("WebP", b"RIFF" + struct.pack("<I", 92) + b"\x07" * 92),
        ("BMP", b"BM" + struct.pack("<I", 300) + b"\x07" * 294),
        ("TIFF", b"II*\0" + struct.pack("<I", 300) + b"\x07" * 292),
        ("TIFF", b"MM\0*" + struct.pack(">I", 300) + b"\x07" * 292),
        ("GIF", bytes(30) + b"\x3b"),
    ],
)
def test_files_that_end_before_they_say(kind: str, whole: bytes) -> None:
    assert not looks_cut_off(FORMATS[kind], whole)
    assert looks_cut_off(FORMATS[kind], whole[:-1])
    assert not looks_cut_off(FORMATS[kind], whole + b"\0"), "bytes behind the end"


@pytest.mark.parametrize(("kind", "end", "distance"), [("PNG", b"IEND", 64), ("JPEG", b"\xff\xd9", 4096)])
def test_end_marks_near_the_end(kind: str, end: bytes, distance: int) -> None:
    assert not looks_cut_off(FORMATS[kind], bytes(9000) + end + bytes(distance - len(end)))
    assert looks_cut_off(FORMATS[kind], bytes(9000) + end + bytes(distance - len(end) + 1))
    assert looks_cut_off(FORMATS[kind], bytes(9000))


def test_formats_without_a_length_are_never_cut_off() -> None:
    for kind in ("PNM", "AVIF", "JPEG 2000"):
        assert not looks_cut_off(FORMATS[kind], bytes(26))
        assert not looks_cut_off(FORMATS[kind], bytes(5000))


def test_a_bomb_of_scans_is_refused_for_its_scans() -> None:
    data = badfiles.scan_bomb(4000, 400)
    with pytest.raises(ImageError, match=r"JPEG: \d+ scans over 16,000,000 pixels"):
        jpeg_scans(data, 4000 * 4000)
