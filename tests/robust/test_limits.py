"""What hostile and huge images may take: memory by the header, scans, the budget."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image, features

import gpustats
from gpustats.decode import modes
from gpustats.decode.headers import jpeg_scans
from gpustats.limits.memory import MemoryBudget, parse_memory
from tests import badfiles
from tests.images import encoded, photo
from tests.robust.test_failures import decode

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")

_PEAKS = """
import importlib, json, pickle, sys
from gpustats.decode.decoder import Decoder, whole_images_only
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget

for plugin in ("Jpeg", "Png", "WebP", "Gif", "Tiff", "Bmp", "Ppm", "Jpeg2K", "Avif", "Qoi", "Tga"):
    importlib.import_module(f"PIL.{plugin}ImagePlugin")

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

for data in pickle.load(sys.stdin.buffer):
    budget = MemoryBudget(8 << 30, 1)
    budget.share, asked = 1, [0]  # every reservation is asked for
    budget.reserve = lambda size: asked.append(size) or 0
    decoder = Decoder(512_000_000, budget, mode=sys.argv[1])
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = memory("VmRSS")
    try:
        with whole_images_only():
            decoder.decode(data)
        reason = "good"
    except ImageError as error:
        reason = error.reason
    print(json.dumps([reason, memory("VmHWM") - before, max(asked)]))
"""


def peaks(files: list[bytes], mode: str = "RGB") -> list[tuple[str, int, int]]:
    """Decode files in a fresh process; return for each the verdict, how far memory grew, and what was asked for."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAKS, mode], input=pickle.dumps(files), capture_output=True, check=True, timeout=300
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@needs_proc
def test_bombs_cost_next_to_nothing() -> None:
    bombs = badfiles.bombs()
    found = dict(zip(bombs, peaks([data for data, _ in bombs.values()]), strict=True))
    assert {name: verdict for name, (verdict, _, _) in found.items()} == {n: reason for n, (_, reason) in bombs.items()}
    assert {name: grown for name, (_, grown, _) in found.items() if grown > 4 << 20} == {}


@needs_proc
def test_a_decoder_takes_no_more_than_it_asks_for() -> None:
    x = np.linspace(0, 255, 1900).astype(np.uint8)
    square = np.broadcast_to(x[:, None], (1900, 1900)), np.broadcast_to(x, (1900, 1900)), x[:, None] ^ x[None]
    image = Image.fromarray(np.stack(square, -1))
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("WEBP", "RGBA", {"lossless": True, "method": 0}),
        ("GIF", "P", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw", "strip_size": 1 << 30}),
        ("BMP", "RGB", {}),
        ("PPM", "RGB", {}),
        ("JPEG2000", "RGB", {}),
        ("QOI", "RGB", {}),
        ("TGA", "RGB", {"compression": "tga_rle"}),
        *([("AVIF", "RGB", {"speed": 10})] if features.check("avif") else []),
    ]
    for kind, (verdict, grown, asked) in zip(
        kinds, peaks([encoded(image.convert(mode), kind, **options) for kind, mode, options in kinds]), strict=True
    ):
        assert verdict == "good", kind
        assert grown < asked + (3 << 20), f"{kind}: {grown / 1900**2:.1f} bytes a pixel, asked {asked / 1900**2:.1f}"


@needs_proc
def test_deep_images_take_no_more_than_they_ask_for() -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    array = np.random.default_rng(0).integers(0, 4096, (1300, 1200, 3)).astype(np.uint16)

    def tiff(pixels: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric="rgb", **options)
        return file.getvalue()

    files = {
        "PNG": imagecodecs.png_encode(array),
        "PNM": b"P6 1200 1300 65535\n" + array.astype(">u2").tobytes(),
        "JPEG 2000": imagecodecs.jpeg2k_encode(array, level=0, reversible=True),
        "TIFF": tiff(array),
        "TIFF, one strip": tiff(array, compression="zlib", rowsperstrip=1300),
        "TIFF, planes": tiff(np.moveaxis(array, 2, 0).copy(), planarconfig="separate", compression="lzw"),
        "TIFF, doubles": tiff(array.astype(np.float64), compression="zlib", predictor=True, tile=(512, 512)),
    }
    for kind, (verdict, grown, asked) in zip(files, peaks(list(files.values()), "native"), strict=True):
        assert verdict == "good", kind
        assert grown < asked + (3 << 20), (
            f"{kind}: {grown / array.size:.1f} bytes a sample, asked {asked / array.size:.1f}"
        )


@needs_proc
@pytest.mark.parametrize("mode", ["RGB", "native"])
def test_what_packages_behind_extras_read_takes_no_more(mode: str) -> None:
    for module in ("pillow_heif", "pydicom"):
        pytest.importorskip(module)
    from tests.decode.test_extras import dicom, heic, jpegxl

    array = np.random.default_rng(0).integers(0, 256, (1300, 1200, 3), np.uint8)
    deep = array[..., 0].astype(np.uint16) * 16
    files = {
        "HEIC": heic(array),
        "JPEG XL": jpegxl(array, effort=2),
        "JPEG XL, lossy": jpegxl(array, effort=2, lossless=False, distance=1.0),
        "DICOM, RGB": dicom(array),
    }
    if mode == "native":
        files |= {
            "HEIC, 10 bits": heic(array.astype(np.uint16) * 257, "RGB;16"),
            "DICOM": dicom(deep),
            "DICOM, rescaled": dicom(deep, RescaleSlope="0.5", RescaleIntercept="3"),
        }
    for kind, (verdict, grown, asked) in zip(files, peaks(list(files.values()), mode), strict=True):
        assert verdict == "good", kind
        # The packages themselves take some megabytes when the first file comes.
        assert grown < asked + (24 << 20), f"{kind}: {grown / 1e6:.0f} MB, asked {asked / 1e6:.0f}"


def test_scans_are_counted_only_where_they_can_hurt() -> None:
    plain, progressive = encoded(photo(90, 120)), encoded(photo(90, 120), progressive=True)
    assert not jpeg_scans(plain, 90 * 120)
    assert jpeg_scans(progressive, 90 * 120)
    assert decode(badfiles.scan_bomb(64, 3000)) == "good", "small: no harm in it"


def test_a_bomb_of_scans_is_refused_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*arguments: object, **options: object) -> None:
        raise AssertionError("the decoder was asked")

    bomb = badfiles.scan_bomb(4000, 5000)
    monkeypatch.setattr("simplejpeg.decode_jpeg", decoded)
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", decoded)
    assert decode(bomb) == "too_large"


def test_large_images_are_the_same_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    images = {
        "P": photo(301, 203).quantize(50),
        "CMYK": photo(301, 203).convert("CMYK"),
        "1": photo(301, 203).convert("1"),
    }
    images |= {mode: photo(301, 203).convert(mode) for mode in ("L", "RGB", "RGBA", "LA", "YCbCr", "HSV")}
    whole = {mode: modes.image_pixels(image, "RGB", "PNG") for mode, image in images.items()}
    monkeypatch.setattr(modes, "_STRIP_PIXELS", 5 * 203)
    for mode, image in images.items():
        assert (modes.image_pixels(image, "RGB", "PNG") == whole[mode]).all(), mode


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2GB", 2 * 10**9),
        ("512MiB", 512 << 20),
        ("1.5g", 1_500_000_000),
        ("25%", 1 << 30),
        (0.5, 2 << 30),
        (10**9, 10**9),
    ],
)
def test_memory_in_words(given: object, expected: int) -> None:
    assert parse_memory(given, usable=4 << 30) == expected


@pytest.mark.parametrize("given", ["lots", "-1GB", "2XB", 0, 1.5, -0.1, "1MB", True, "150%", None, float("nan")])
def test_memory_that_makes_no_sense(given: object) -> None:
    with pytest.raises(ValueError, match=r"memory should be at least 64 MiB"):
        parse_memory(given, usable=4 << 30)


def test_a_budget_never_makes_two_workers_wait_for_each_other() -> None:
    budget = MemoryBudget(8000, workers=4)

    def work(seed: int) -> None:
        for i in range(300):
            size = (seed * 7919 + i * 104729) % budget.common + 1
            held = budget.reserve_all(size) if i % 5 == 0 else budget.reserve(size)
            budget.release(held)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert budget._free == budget.common


def test_files_larger_than_the_budget_fail_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(photo(), "PNG"))
    with (tmp_path / "b.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(1 << 30)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(tmp_path, memory="128MiB", progress=False)
    assert [(failure.key, failure.reason) for failure in stats.failures] == [("b.jpg", "too_large")]
    assert stats.n_images == 1
