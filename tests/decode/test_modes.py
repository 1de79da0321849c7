"""Modes "L" and "native": every type and number of bands in every format is measured as it is, or refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.decode.decoder import Decoder
from gpustats.decode.headers import jpeg_precision
from gpustats.decode.modes import image_pixels, in_mode
from gpustats.definition import Definition
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from tests.badfiles import chunk
from tests.decode.test_depth import BANDS, TYPES, pattern
from tests.decode.test_matrix import packed, tiff_of_rows
from tests.decode.test_plain import PNGS, WEBPS, interlaced, of_chunks, with_alpha
from tests.images import encoded, photo

PHOTO = photo(33, 41)


def decoded(data: bytes, mode: str = "native") -> Any:
    return Decoder(10**6, MemoryBudget(1 << 30, 1), mode=mode).decode(data)[0].copy()


def refused(data: bytes, mode: str = "native") -> str:
    """Return the message of a file that is refused as `unsupported`."""
    with pytest.raises(ImageError) as caught:
        decoded(data, mode)
    assert caught.value.reason == "unsupported", str(caught.value)
    return str(caught.value)


def check(data: bytes, array: Any, fits: bool = True) -> None:
    """Hold that a file gives its array under "native", or is refused; where it is deep, "RGB" names the option."""
    if not fits:
        refused(data)
        return
    found = decoded(data)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array)
    if array.dtype != np.uint8 or array.shape[2] not in (1, 2, 3, 4):
        assert refused(data, "RGB").endswith("; mode='native' measures it as it is stored")
        assert refused(data, "L").endswith("; mode='native' measures it as it is stored")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_tiff(dtype: str, bands: int, order: Any, big: bool) -> None:
    tifffile: Any = pytest.importorskip("tifffile", reason="tifffile is not installed")
    array = pattern(dtype, bands)
    fits = not (big and order == ">")
    for photometric in ("minisblack", "rgb") if bands >= 3 else ("minisblack",):
        for planar in ("contig", "separate") if bands > 1 else ("",):
            for options in ({}, {"tile": (16, 16)}, {"compression": "zlib", "predictor": True}, {"compression": "lzw"}):
                if dtype == "float16" and "predictor" in options:
                    options = {"compression": "zstd"}
                stored = array if bands > 1 else array[..., 0]
                if planar == "separate":
                    stored = np.ascontiguousarray(np.moveaxis(array, 2, 0))
                layout = {"planarconfig": planar} if planar else {}
                file = io.BytesIO()
                tifffile.imwrite(
                    file, stored, byteorder=order, bigtiff=big, photometric=photometric, **layout, **options
                )
                check(file.getvalue(), array, fits)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("how", ["plain", "interlaced"])
def test_png_of_16_bits(samples: int, how: str) -> None:
    for height, width in ((9, 7), (1, 1), (3, 2), (20, 33)):
        array = np.random.default_rng(2).integers(0, 65536, (height, width, samples)).astype(np.uint16)
        data = imagecodecs.png_encode(array if samples > 1 else array[..., 0])
        if how == "interlaced":
            data = interlaced(array)
        check(data, array)
        extra = data[:33] + chunk(b"tEXt", b"a\0b") + chunk(b"gAMA", bytes(4)) + data[33:]
        check(extra, array)
        if samples in (1, 3):
            check(data[:33] + chunk(b"tRNS", bytes(2 * samples)) + data[33:], array)


@pytest.mark.parametrize("name", PNGS)
def test_png_of_8_bits(name: str) -> None:
    data = PNGS[name]
    samples = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}[data[25]]
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        image.info.pop("transparency", None)
        expected = np.asarray(image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples]))
    check(data, expected.reshape(*expected.shape[:2], samples))


@pytest.mark.parametrize("name", WEBPS)
def test_webp(name: str) -> None:
    with Image.open(io.BytesIO(WEBPS[name])) as image:
        check(WEBPS[name], np.asarray(image))


@pytest.mark.parametrize("maximum", [15, 255, 256, 1023, 65535])
@pytest.mark.parametrize("kind", [b"P2", b"P3", b"P5", b"P6"])
def test_pnm(kind: bytes, maximum: int) -> None:
    bands = 3 if kind in (b"P3", b"P6") else 1
    deep = maximum > 255
    array = (pattern("uint16", bands) % min(maximum + 1, 120)).astype(np.uint16 if deep else np.uint8)
    if deep:
        array[0, 0] = maximum
    text = kind in (b"P2", b"P3")
    body = b" ".join(b"%d" % v for v in array.ravel()) if text else array.astype(">u2" if deep else np.uint8).tobytes()
    for comment in (b"", b"# of 99 bits\n"):
        data = kind + b"\n" + comment + b"7 " + comment + b"9\n%d\n" % maximum + body
        check(data, array if deep else array * np.uint8(255 // maximum), not (deep and text))
        if deep and not text:
            with pytest.raises(ImageError, match="the pixels end before the last row") as caught:
                decoded(data[:-1])
            assert caught.value.reason == "truncated"
    if deep and not text and maximum < 65535:
        with pytest.raises(ImageError, match=f"the value 65535, where the header says {maximum} at most"):
            decoded(data[:-2] + b"\xff\xff")


@pytest.mark.parametrize("bits", [8, 9, 12, 16])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_jpeg_2000(bands: int, bits: int, codec: str) -> None:
    array = (pattern("uint32", bands) * 599 % (1 << bits)).astype(np.uint8 if bits == 8 else np.uint16)
    stored = array if bands > 1 else array[..., 0]
    data = imagecodecs.jpeg2k_encode(stored, level=0, reversible=True, codecformat=codec, bitspersample=bits)
    check(data, array)
    if bits > 8:
        for size in range(100, len(data), 37):
            for end in (b"", b"\xff\xd9"):
                with pytest.raises(ImageError) as caught:
                    decoded(data[:size] + end)
                assert caught.value.reason in ("truncated", "corrupt", "unsupported")


@pytest.mark.parametrize("bits", [5, 8, 12, 16, 20])
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg_2000_of_every_depth(bits: int, signed: bool) -> None:
    lowest = -(1 << bits - 1) if signed else 0
    dtype = f"{'int' if signed else 'uint'}{8 if bits <= 8 else 16 if bits <= 16 else 32}"
    array = np.random.default_rng(bits).integers(lowest, lowest + (1 << bits), (9, 7, 3)).astype(dtype)
    data = bytes(imagecodecs.jpeg2k_encode(array, level=0, reversible=True, bitspersample=bits))
    assert np.array_equal(decoded(data), array)
    if signed or bits != 8:
        assert ("signed" if signed else f"{bits} bits") in refused(data, "RGB")
    depth = data.index(b"\xff\x4f\xff\x51") + 42
    too_deep = data[:depth] + bytes([20, 1, 1] * 3) + data[depth + 9 :]
    assert "21 bits a sample; up to 20" in refused(too_deep)


@pytest.mark.parametrize("bits", [3, 9, 10, 12, 14, 24])
@pytest.mark.parametrize("bands", [1, 3])
def test_tiff_of_odd_depths(bits: int, bands: int) -> None:
    dtype = np.uint8 if bits < 8 else np.uint16 if bits <= 16 else np.uint32
    array = np.random.default_rng(bits).integers(0, 1 << bits, (9, 7, bands)).astype(dtype)
    rows = b"".join(packed(row, bits) for row in array)
    decoder = Decoder(10**6, MemoryBudget(1 << 30, 1), mode="native")
    assert np.array_equal(decoder.decode(tiff_of_rows(rows, bits, bands))[0], array)
    assert decoder.value_range == (1 << bits) - 1
    decoder.release()
    assert decoder.value_range == 0


def test_jpeg() -> None:
    for image, channels in ((PHOTO, 3), (PHOTO.convert("L"), 1)):
        data = encoded(image)
        with Image.open(io.BytesIO(data)) as again:
            check(data, np.asarray(again).reshape(33, 41, channels))
    assert refused(encoded(PHOTO.convert("CMYK"))) == (
        "JPEG of mode CMYK, whose channels cannot be measured as stored; use mode='RGB'"
    )


@pytest.mark.parametrize("bits", [2, 3, 5, 7, 8, 12, 16])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("mode", ["L", "native"])
def test_lossless_jpeg(bits: int, bands: int, mode: str) -> None:
    array = (pattern("uint16", bands) % min(1 << bits, 120)).astype(np.uint8 if bits <= 8 else np.uint16)
    data = imagecodecs.jpeg8_encode(array if bands > 1 else array[..., 0], lossless=True, bitspersample=bits)
    assert jpeg_precision(data) == bits
    if bits == 8:
        assert np.array_equal(decoded(data, mode), in_mode(array, mode))
    else:
        assert f"{bits} bits a sample" in refused(data, mode)


@pytest.mark.parametrize(
    "data",
    [
        *(encoded(PHOTO.convert(mode), "JPEG") for mode in ("RGB", "L", "CMYK")),
        encoded(PHOTO, progressive=True),
        *(encoded(PHOTO.convert(mode), "TIFF") for mode in ("RGB", "L", "CMYK", "1", "P")),
        *PNGS.values(),
        *WEBPS.values(),
        encoded(PHOTO, "GIF"),
        encoded(PHOTO, "BMP"),
        encoded(PHOTO, "JPEG2000"),
    ],
)
def test_grey_is_that_of_pillow(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        image.info.pop("transparency", None)
        expected = np.asarray(image.convert("L"))
    assert np.array_equal(decoded(data, "L"), expected[:, :, None])


def test_every_colour_as_pillow_greys_it() -> None:
    levels = np.array([0, 1, 2, 3, 50, 100, 127, 128, 200, 253, 254, 255], np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(12, -1, 3)
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    assert np.array_equal(in_mode(colours, "L")[..., 0], expected)
    assert np.array_equal(in_mode(np.dstack([colours, colours[..., :1]]), "L")[..., 0], expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
@pytest.mark.parametrize("wanted", ["L", "native"])
def test_images_of_pillow(mode: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.decode.modes._STRIP_PIXELS", 5 * 41)
    image = with_alpha(PHOTO).convert(mode) if "A" in mode else PHOTO.convert(mode)
    if wanted == "native" and mode in ("CMYK", "YCbCr", "HSV"):
        with pytest.raises(ImageError, match=f"TIFF of mode {mode}, whose channels cannot"):
            image_pixels(image, wanted, "TIFF")
        return
    expected = image.convert("L" if wanted == "L" or mode == "1" else "RGB" if mode == "P" else mode)
    assert np.array_equal(image_pixels(image, wanted, "TIFF").squeeze(), np.asarray(expected))


def test_a_png_of_16_bits_whose_rows_are_damaged() -> None:
    header = (b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, 0, 0, 0, 0))
    row = b"\0" + bytes(6)

    def file(rows: bytes) -> bytes:
        return of_chunks([header, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])

    check(file(2 * row), np.zeros((2, 3, 1), np.uint16))
    unended = of_chunks([header, (b"IDAT", zlib.compress(2 * row)[:-1]), (b"IEND", b"")])
    for data, words in [
        (file(2 * row[:-1]), "the compressed rows do not end after 14 bytes"),
        (file(3 * row), "the compressed rows do not end after 14 bytes"),
        (unended, "the compressed rows do not end after 14 bytes"),
        (file(row + b"\5" + bytes(6)), "a row has the filter 5"),
    ]:
        with pytest.raises(ImageError, match=words) as caught:
            decoded(data)
        assert caught.value.reason == "corrupt"
    animated = file(2 * row)
    for data, reason in [(animated[:-20], "truncated"), (animated[:-13] + b"\0" + animated[-12:], "corrupt")]:
        with pytest.raises(ImageError) as caught:
            decoded(data)
        assert caught.value.reason == reason
    animated = animated[:33] + chunk(b"acTL", struct.pack(">II", 1, 0)) + animated[33:]
    assert "animated" in refused(animated)


def test_what_a_tiff_is_refused_for() -> None:
    tifffile: Any = pytest.importorskip("tifffile", reason="tifffile is not installed")

    def file(array: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        return file.getvalue()

    deep = pattern("uint16", 3)
    assert "64 bits complex" in refused(file(pattern("complex64", 1)[..., 0]))
    assert "colours are neither" in refused(file(deep[..., 0], photometric="miniswhite"))
    assert "mode='native'" not in refused(file(deep[..., 0], photometric="miniswhite"), "RGB"), (
        "it would be refused again"
    )
    data = file(deep, photometric="rgb")
    with pytest.raises(ImageError, match="the pixels end at byte") as caught:
        decoded(data[:-100])
    assert caught.value.reason == "truncated"
    tiled = file(deep, photometric="rgb", tile=(1024, 1024), compression="zlib")
    with pytest.raises(ImageError, match=r"tiles of 1,048,576 pixels, more than max_pixels=1,000,000") as caught:
        decoded(tiled)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("predictor", [False, True])
def test_a_deep_tiff_whose_compressed_data_are_damaged(predictor: bool) -> None:
    tifffile: Any = pytest.importorskip("tifffile", reason="tifffile is not installed")
    array = np.random.default_rng(0).integers(0, 4000, (33, 41, 3)).astype(np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="rgb", compression="zlib", predictor=predictor)
    whole = file.getvalue()
    assert np.array_equal(decoded(whole), array)
    for at in range(500, len(whole), len(whole) // 50):
        data = bytearray(whole)
        data[at] ^= 4
        with pytest.raises(ImageError, match="the compressed data") as caught:
            decoded(bytes(data))
        assert caught.value.reason == "corrupt"


def test_limits_hold_for_deep_images() -> None:
    data = imagecodecs.png_encode(np.zeros((40, 50, 3), np.uint16))
    assert Decoder(2000, MemoryBudget(1 << 30, 1), mode="native").decode(data)[0].shape == (40, 50, 3)
    with pytest.raises(ImageError, match="max_pixels=1,999"):
        Decoder(1999, MemoryBudget(1 << 30, 1), mode="native").decode(data)
    budget = MemoryBudget(1 << 30, 1)
    budget.share, budget.common = 1, 40 * 50 * 3 * 12 - 1
    with pytest.raises(ImageError, match="decoding takes about"):
        Decoder(2000, budget, mode="native").decode(data)


def test_a_run(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 65536, (2, 20, 30, 3)).astype(np.uint16)
    for i, array in enumerate(values):
        (tmp_path / f"{i}.png").write_bytes(imagecodecs.png_encode(array))
    stats = gpustats.compute(tmp_path, mode="native", progress=False)
    arrays = gpustats.compute(values, progress=False)
    assert stats.totals["moments"] == arrays.totals["moments"]
    assert stats.definition == Definition(mode="native")
    stats.save(tmp_path / "stats.json")
    again = gpustats.Stats.load(tmp_path / "stats.json")
    assert (again.definition.mode, again.totals) == ("native", stats.totals)
    for options in ({"isolate": True}, {"checkpoint": tmp_path / "c.gpustats"}):
        assert gpustats.compute(tmp_path, mode="native", progress=False, **options).totals == stats.totals
    with pytest.raises(gpustats.DataError, match="belongs to another run: definition was"):
        gpustats.compute(tmp_path, progress=False, checkpoint=tmp_path / "c.gpustats")
    with pytest.raises(gpustats.AllImagesFailed, match="mode='native' measures it as it is stored"):
        gpustats.compute(tmp_path, progress=False)
    (tmp_path / "9.jpg").write_bytes(encoded(PHOTO))
    with pytest.raises(gpustats.DataError, match="these cannot be pooled"):
        gpustats.compute(tmp_path, mode="native", progress=False)


def test_results_of_different_modes_cannot_be_pooled(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(PHOTO))
    rgb, native = (gpustats.compute(tmp_path, mode=mode, progress=False) for mode in ("RGB", "native"))
    assert rgb.totals == native.totals
    with pytest.raises(gpustats.MergeError, match="different definitions"):
        gpustats.merge([rgb, native])


def test_grey_is_for_encoded_images() -> None:
    arrays = [np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9, 1), np.uint8), np.zeros((8, 9), np.uint8)]
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(arrays, mode="L", layout="auto", progress=False)
    assert [failure.message for failure in stats.failures] == [
        "3 channels; mode='L' makes encoded images grey, but not arrays or tensors"
    ]
    assert (stats.n_images, stats.definition.color_order) == (2, "L")


@pytest.mark.parametrize("mode", ["rgb", "", None, 3])
def test_unknown_modes(mode: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode should be 'RGB', 'L', 'RGBA' or 'native', got"):
        gpustats.compute(tmp_path, mode=mode)


def test_definitions_of_earlier_versions() -> None:
    definition = Definition(statistics=("moments", "histogram"))
    data = definition.to_dict()
    assert data.pop("mode") == "RGB"
    assert Definition.from_dict(data) == definition
    for mode in ("odd", None):
        with pytest.raises(gpustats.DataError, match="'definition' should hold"):
            Definition.from_dict({**data, "mode": mode})


def test_a_gpu_that_was_asked_for_does_not_decode_in_other_modes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(PHOTO))
    with pytest.raises(gpustats.DeviceError, match="mode='L' is decoded on the CPU"):
        gpustats.compute(tmp_path, device="gpu", mode="L")
    run = gpustats.compute(tmp_path, mode="L", progress=False).runs[0]
    assert run["gpu_not_used"] == "mode='L' is decoded on the CPU"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_rgba(mode: str, kind: str) -> None:
    """Straight alpha as it is stored, 255 where there is none: Pillow's conversion."""
    image = with_alpha(PHOTO).convert(mode) if mode in ("LA", "RGBA") else PHOTO.convert(mode)
    try:
        data = encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    except (OSError, ValueError):
        pytest.skip(f"Pillow writes no {kind} of mode {mode}")
    with Image.open(io.BytesIO(data)) as again:
        expected = np.asarray(again.convert("RGBA"))
    assert np.array_equal(decoded(data, "RGBA"), expected)
    if kind == "PNG" and mode in ("L", "RGB"):
        transparent = data[:33] + chunk(b"tRNS", bytes(2 * len(mode))) + data[33:]
        with Image.open(io.BytesIO(transparent)) as again:
            assert np.array_equal(decoded(transparent, "RGBA"), np.asarray(again.convert("RGBA")))


def test_a_run_of_rgba(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(PHOTO))
    Image.fromarray(np.full((4, 5, 4), 51, np.uint8)).save(tmp_path / "b.png")
    stats = gpustats.compute(tmp_path, mode="RGBA", progress=False, per_image=tmp_path / "a.csv")
    assert (stats.channels, stats.n_images) == (tuple("RGBA"), 2)
    assert stats.per_image.mean[3] == (1 + 0.2) / 2
    assert "mean_A" in (tmp_path / "a.csv").read_text().partition("\n")[0]
    assert gpustats.Stats.from_dict(stats.to_dict()) == stats
    for options, message in (({"alpha": "mask"}, "takes alpha out"), ({"resize": 4}, "cannot be resized")):
        with pytest.raises(gpustats.OptionError, match=message):
            gpustats.compute(tmp_path, mode="RGBA", **options)
    (tmp_path / "b.png").write_bytes(imagecodecs.png_encode(np.zeros((4, 5, 4), np.uint16)))
    with pytest.warns(gpustats.ImagesFailedWarning, match=r"b.png: unsupported: PNG with 16 bits .* mode='native'"):
        gpustats.compute(tmp_path, mode="RGBA", value_range=256, progress=False)
