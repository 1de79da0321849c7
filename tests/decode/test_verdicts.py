"""The decoder's limits, its memory, its strips, and its word for each kind of damage."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from gpustats.decode import decoder as module
from gpustats.decode import modes, pillow
from gpustats.decode.decoder import PILLOW, SIMPLEJPEG, Decoder, check_size, versions, whole_images_only
from gpustats.decode.formats import FORMATS
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from tests import badfiles
from tests.images import encoded, photo

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


class Budget(MemoryBudget):
    """A budget whose share is nothing, so that every reservation is asked for, and kept in a list."""

    def __init__(self, common: int) -> None:
        super().__init__(1 << 30, 1)
        self.share, self.common, self._free = 1, common, common
        self.asked: list[int] = []

    def reserve(self, size: int) -> int:
        self.asked.append(size)
        return super().reserve(size)

    @property
    def free(self) -> int:
        return self._free


PHOTO = photo(40, 50)
PIXELS = 40 * 50
PEAKS: list[tuple[str, bytes, int]] = [
    ("WebP", encoded(PHOTO, "WEBP"), 20),
    ("WebP lossless", encoded(PHOTO.convert("RGBA"), "WEBP", lossless=True), 20),
    ("TIFF", encoded(PHOTO, "TIFF"), 8),
    ("JPEG 2000", encoded(PHOTO, "JPEG2000"), 28),
    ("PNG", encoded(PHOTO, "PNG"), 7),
    ("GIF", encoded(PHOTO, "GIF"), 7),
    ("BMP", encoded(PHOTO, "BMP"), 7),
    ("PNM", encoded(PHOTO, "PPM"), 7),
    ("JPEG of CMYK", encoded(PHOTO.convert("CMYK")), 7),
    ("JPEG of CMYK, progressive", encoded(PHOTO.convert("CMYK"), progressive=True), 15),
]
if features.check("avif"):
    PEAKS.append(("AVIF", encoded(PHOTO, "AVIF"), 16))


def test_webp_asks_before_its_decoder_allocates(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(20 * PIXELS - 1)
    monkeypatch.setattr(module, "open_image", lambda *_: pytest.fail("opened before memory was asked for"))
    with pytest.raises(ImageError, match="decoding takes about"):
        Decoder(PIXELS, budget).decode(encoded(PHOTO, "WEBP"))


@pytest.mark.parametrize(("name", "data", "each"), PEAKS, ids=[name for name, _, _ in PEAKS])
def test_a_format_asks_for_its_peak(name: str, data: bytes, each: int) -> None:
    budget = Budget(each * PIXELS)
    decoder = Decoder(PIXELS, budget)
    assert decoder.decode(data)[0].shape == (40, 50, 3)
    assert max(budget.asked) == each * PIXELS
    assert budget.free == 0, "held until it is given back"
    decoder.release()
    assert budget.free == each * PIXELS
    budget = Budget(each * PIXELS - 1)
    decoder = Decoder(PIXELS, budget)
    with pytest.raises(ImageError, match="decoding takes about") as caught:
        decoder.decode(data)
    assert caught.value.reason == "too_large"
    decoder.release()
    assert budget.free == budget.common


@needs_avif
def test_avif_is_decoded_as_pillow_does() -> None:
    for image in (PHOTO, PHOTO.convert("RGBA"), photo(37, 21)):
        data = encoded(image, "AVIF")
        pixels, used = Decoder(10**6, MemoryBudget(1 << 30, 1)).decode(data)
        assert used == PILLOW
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(("progressive", "each"), [(False, 3), (True, 9)])
def test_a_large_jpeg_asks_for_its_peak(progressive: bool, each: int) -> None:
    side = 600  # 3 bytes a pixel: more than the buffer that a decoder keeps
    data = encoded(photo(side, side), progressive=progressive)
    pixels = side * side
    budget = Budget(each * pixels)
    assert Decoder(pixels, budget).decode(data)[1] == SIMPLEJPEG
    assert budget.asked == [each * pixels]
    with pytest.raises(ImageError, match="decoding takes about"):
        Decoder(pixels, Budget(each * pixels - 1)).decode(data)


def test_a_jpeg_that_fits_the_buffer_asks_for_nothing() -> None:
    budget = Budget(1)
    decoder = Decoder(10**6, budget)
    data = encoded(Image.new("RGB", (1 << 9, (1 << 11) // 3)))  # 341 rows: 1 KiB less than the buffer
    assert decoder.decode(data)[0].shape == (682, 512, 3)
    assert budget.asked == []
    with pytest.raises(ImageError):
        decoder.decode(encoded(Image.new("RGB", (512, 683))))


def test_a_kept_buffer_grows_only_within_a_share() -> None:
    data = encoded(photo(600, 600))
    size = 600 * 600 * 3
    for share, kept in [(3 * size, True), (3 * size - 1, False)]:
        budget = MemoryBudget(1 << 30, 1)
        budget.share = share
        decoder = Decoder(10**6, budget)
        first = decoder.decode(data)[0]
        second = decoder.decode(data)[0]
        assert np.shares_memory(first, second) is kept
        assert (first == second).all()


def test_a_bomb_of_scans_small_enough_for_the_buffer() -> None:
    data = badfiles.scan_bomb(512, 9000)
    with pytest.raises(ImageError, match=r"9,0\d\d scans over 262,144 pixels") as caught:
        Decoder(10**9, MemoryBudget(1 << 30, 1)).decode(data)
    assert caught.value.reason == "too_large"


def test_a_file_held_alone_counts_with_its_pixels() -> None:
    data = encoded(PHOTO, "PNG")
    size = 1000
    budget = Budget(size + 7 * PIXELS)
    decoder = Decoder(PIXELS, budget)
    decoder.expect_file(size)
    assert budget.free == 0, "it is read alone"
    decoder.expect_file(size)  # once
    decoder.decode(data)
    assert budget.asked == []
    decoder.release()
    assert budget.free == budget.common
    decoder.release()
    assert budget.free == budget.common
    decoder = Decoder(PIXELS, Budget(size + 7 * PIXELS - 1))
    decoder.expect_file(size)
    with pytest.raises(ImageError, match="decoding takes about"):
        decoder.decode(data)
    with pytest.raises(ImageError, match="decoding takes about"):
        Decoder(PIXELS, Budget(999)).expect_file(1000)
    budget = Budget(1000)
    budget.share = 500
    Decoder(PIXELS, budget).expect_file(500)
    assert budget.free == 1000, "small enough for a share"


ENCODED = {
    "JPEG": encoded(PHOTO),
    "JPEG of CMYK": encoded(PHOTO.convert("CMYK")),
    **{name: data for name, data, _ in PEAKS if "JPEG of" not in name},
}


@pytest.mark.parametrize("name", ENCODED)
def test_the_limit_of_pixels_holds_for_every_format(name: str) -> None:
    data = ENCODED[name]
    assert Decoder(PIXELS, MemoryBudget(1 << 30, 1)).decode(data)[0].shape == (40, 50, 3)
    with pytest.raises(ImageError, match="max_pixels=1,999") as caught:
        Decoder(PIXELS - 1, MemoryBudget(1 << 30, 1)).decode(data)
    assert caught.value.reason == "too_large"


def test_sizes() -> None:
    check_size(1, 1, 1)
    check_size(2, 3, 6)
    for height, width in [(0, 1), (1, 0), (-1, -1), (-1, 5)]:
        with pytest.raises(ImageError, match=f"the header gives a size of {width} x {height} pixels") as caught:
            check_size(height, width, 100)
        assert caught.value.reason == "corrupt"
    with pytest.raises(ImageError, match=r"the header gives 3 x 2 = 6 pixels, more than max_pixels=5") as caught:
        check_size(2, 3, 5)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    ("tile", "limit", "refused"),
    [((16, 16), 256, False), ((32, 16), 511, True), ((32, 16), 512, False), ((1 << 20, 1 << 20), 512, True)],
)
def test_tiles_larger_than_any_image(tile: tuple[int, int], limit: int, refused: bool) -> None:
    data = badfiles.tiff(16, 16, tile=tile)
    decoder = Decoder(limit, MemoryBudget(1 << 30, 1))
    if not refused:
        assert decoder.decode(data)[0].shape == (16, 16, 3)
        return
    with pytest.raises(ImageError) as caught:
        decoder.decode(data)
    assert str(caught.value) == f"TIFF: tiles of {tile[0]} x {tile[1]} pixels, more than max_pixels={limit:,}"
    assert caught.value.reason == "too_large"


def test_strips_that_are_wider_than_the_image() -> None:
    """Without a width of tiles, a strip is as wide as the image; without a height, one row is enough."""

    class Tags:
        width, height = 7, 9

        def __init__(self, **tags: Any) -> None:
            self.tag_v2 = {int(name[1:]): value for name, value in tags.items()}

    pillow.check_tiles(Tags(), 7)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="tiles of 7 x 1 pixels"):
        pillow.check_tiles(Tags(), 6)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="tiles of 7 x 2 pixels"):
        pillow.check_tiles(Tags(_323=2), 13)  # type: ignore[arg-type]
    pillow.check_tiles(Tags(_323=2), 14)  # type: ignore[arg-type]
    pillow.check_tiles(Tags(_322=(1 << 30, 1), _323=5), 1)  # type: ignore[arg-type]
    pillow.check_tiles(Tags(_322=5, _323="x"), 1)  # type: ignore[arg-type]
    pillow.check_tiles(Tags(_322=1), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Image.DecompressionBombError("x"), "too_large"),
        (Image.DecompressionBombWarning("truncated"), "too_large"),
        (OSError("image file is Truncated (3 bytes)"), "truncated"),
        (OSError("Unexpected End of file"), "truncated"),
        (EOFError("x"), "truncated"),
        (EOFError(), "truncated"),
        (ValueError("Decompressed Data Too Large"), "too_large"),
        (OSError("compression not supported"), "unsupported"),
        (OSError("Unsupported BMP pixel depth"), "unsupported"),
        (OSError("cannot handle 7-bit samples"), "unsupported"),
        (OSError("broken data stream"), "corrupt"),
        (KeyError(), "corrupt"),
        (ValueError("two\n  lines"), "corrupt"),
    ],
)
def test_the_word_for_an_error(error: Exception, reason: str) -> None:
    verdict = pillow.verdict(FORMATS["PNM"], error, bytes(100))
    assert verdict.reason == reason
    text = " ".join(str(error).split()) or type(error).__name__
    assert str(verdict) == f"PNM: {text}"


def test_a_file_that_ends_early_is_truncated_whatever_the_error() -> None:
    assert pillow.verdict(FORMATS["PNM"], ValueError("x"), bytes(25)).reason == "truncated"
    assert pillow.verdict(FORMATS["JPEG"], ValueError("too large"), bytes(100)).reason == "truncated"
    assert pillow.verdict(FORMATS["JPEG"], ValueError("x"), bytes(98) + b"\xff\xd9").reason == "corrupt"


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (MemoryError(), "too_large", "not enough memory to decode this BMP"),
        (NotImplementedError("layers"), "unsupported", "BMP: layers"),
        (RecursionError("deep"), "corrupt", "BMP: deep"),
        (ImageError("missing", "passed on"), "missing", "passed on"),
    ],
)
def test_what_pillow_raises(error: Exception, reason: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any) -> None:
        raise error

    data = encoded(PHOTO, "BMP")
    monkeypatch.setattr("PIL.BmpImagePlugin.BmpImageFile.load", fails)
    with pytest.raises(ImageError) as caught:
        Decoder(10**6, MemoryBudget(1 << 30, 1)).decode(data)
    assert (caught.value.reason, str(caught.value)) == (reason, message)


def test_a_png_whose_checksums_are_wrong() -> None:
    data = encoded(PHOTO, "PNG")
    whole = data[:-16] + bytes([data[-16] ^ 1]) + data[-15:]  # the checksum of the last pixels
    with pytest.raises(ImageError, match=r"^PNG: the checksum of IDAT is wrong$") as caught:
        Decoder(10**6, MemoryBudget(1 << 30, 1)).decode(whole)
    assert caught.value.reason == "corrupt"
    with pytest.raises(ImageError, match=r"^PNG: the checksum of IDAT is wrong$") as caught:
        Decoder(10**6, MemoryBudget(1 << 30, 1)).decode(whole[:-12])
    assert caught.value.reason == "truncated"


STRIP = 1 << 17


@pytest.mark.parametrize(
    ("width", "height"), [(512, 256), (512, 257), (STRIP, 1), (STRIP, 2), (STRIP + 1, 2), (1, STRIP + 1), (401, 701)]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "CMYK"])
def test_strips_are_the_whole(width: int, height: int, mode: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    image = image.convert(mode)
    found = modes.image_pixels(image, "RGB", "PNG")
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_large_images_are_converted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[int] = []
    real = Image.Image.crop

    def crop(self: Any, box: Any = None) -> Any:
        heights.append(box[3] - box[1])
        return real(self, box)

    monkeypatch.setattr(Image.Image, "crop", crop)
    modes.image_pixels(Image.new("L", (512, 256)), "RGB", "PNG")
    assert heights == [], "as large as one strip"
    modes.image_pixels(Image.new("L", (512, 257)), "RGB", "PNG")
    assert heights == [256, 1]
    heights.clear()
    modes.image_pixels(Image.new("L", (STRIP + 1, 2)), "RGB", "PNG")
    assert heights == [1, 1]


def test_formats_whose_pixels_would_be_clipped() -> None:
    for mode, kind, shown in [
        ("I;16", "PNG", "PNG with 16 bits a sample; only 8 can be read"),
        ("F", "TIFF", "TIFF with floats; only unsigned integers can be read"),
        ("I", "TIFF", "TIFF with signed integers; only unsigned integers can be read"),
        ("LAB", "TIFF", "TIFF of mode LAB; only 8-bit grey and RGB can be read"),
    ]:
        image = Image.new(mode, (8, 8))
        with pytest.raises(ImageError, match=shown) as caught:
            Decoder(100, MemoryBudget(1 << 30, 1)).decode(encoded(image, kind))
        assert caught.value.reason == "unsupported"


@pytest.fixture
def loose() -> Iterator[None]:
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    yield
    ImageFile.LOAD_TRUNCATED_IMAGES = before


@pytest.mark.usefixtures("loose")
def test_strictness_lasts_as_long_as_the_last_run() -> None:
    first, second = whole_images_only(), whole_images_only()
    first.__enter__()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    second.__enter__()
    first.__exit__(None, None, None)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False, "another run lasts"
    second.__exit__(None, None, None)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    with pytest.raises(KeyError), whole_images_only():
        raise KeyError
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_warnings_of_pillow_do_not_decide() -> None:
    data = encoded(photo(8, 8).quantize(4), "PNG", transparency=bytes(4))
    tiff = encoded(photo(8, 8), "TIFF")
    at = tiff.find(struct.pack("<HHI", 258, 3, 3))
    assert at > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with whole_images_only():
            for file in (data, tiff):
                assert Decoder(100, MemoryBudget(1 << 30, 1)).decode(file)[0].shape == (8, 8, 3)
            code = compile("import warnings; warnings.warn('odd metadata')", "PIL/x.py", "exec")
            exec(code, {"__name__": "PIL.x"})
        with pytest.raises(UserWarning, match="odd"):
            exec(code, {"__name__": "PIL.x"})


def test_the_names_of_the_decoders() -> None:
    import imagecodecs
    import simplejpeg

    found = {name: version for name, version in versions().items() if name not in ("pillow-heif", "pydicom")}
    assert found == {
        "simplejpeg": simplejpeg.__version__,
        "imagecodecs": imagecodecs.__version__,
        "numpy": np.__version__,
        "pillow": Image.__version__,
    }
