"""JPEGs at a reduced scale: what Pillow makes of them in the same way, the verdict of the whole decode, and a result
that says so."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

import gpustats
from gpustats.decode.decoder import REDUCED, Decoder
from gpustats.decode.transform import Transform, transform_of
from gpustats.engines import resample
from gpustats.errors import DataError, OptionError
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from tests.images import encoded, photo

FAST = Transform((64,), "bilinear", (50, 50), fast=True)


def decoder(transform: Transform, memory: int = 1 << 30, **options: Any) -> Decoder:
    return Decoder(10**7, MemoryBudget(memory, 1), transform, **options)


def drafted(data: bytes, transform: Transform, by: int, mode: str = "RGB") -> NDArray[np.uint8]:
    """Return what Pillow makes of a JPEG in its draft mode, with the part of the last pixels that is in the image."""
    with Image.open(io.BytesIO(data)) as image:
        orientation = image.getexif().get(274, 1)
        (width, height) = whole = image.size
        if orientation > 4:
            whole = whole[::-1]
        image.draft(mode, (width // by, height // by))
        assert image.size == (-(-width // by), -(-height // by))
        upright = ImageOps.exif_transpose(image).convert(mode)
    high, wide = transform.size(*whole[::-1])
    box = (0, 0, whole[0] / by, whole[1] / by)
    small = upright.resize((wide, high), Image.Resampling[transform.interpolation.upper()], box)
    top, left = round((high - transform.crop[0]) / 2), round((wide - transform.crop[1]) / 2)
    return np.asarray(small)[top : top + transform.crop[0], left : left + transform.crop[1]]


@pytest.mark.parametrize(
    ("size", "by"),
    [
        ((64, 64), 1),
        ((127, 300), 1),
        ((128, 300), 2),
        ((131, 257), 2),
        ((255, 255), 2),
        ((256, 333), 4),
        ((511, 700), 4),
        ((512, 512), 8),
        ((700, 519), 8),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_scale_and_pixels(size: tuple[int, int], by: int, settings: dict[str, Any]) -> None:
    data = encoded(photo(*size), "JPEG", quality=90, **settings)
    one = decoder(FAST)
    pixels, name = one.decode(data)
    assert pixels.shape[:2] == (-(-size[0] // by), -(-size[1] // by))
    assert (name, one.whole) == (("simplejpeg", None) if by == 1 else (REDUCED, size))
    assert FAST.reduction(*size) == by
    assert np.array_equal(FAST.apply(pixels, 10**7, one.whole), drafted(data, FAST, by))
    one.release()
    assert one.whole is None


def test_every_size() -> None:
    """simplejpeg is asked by size, and of tiny images several scales have the same one."""
    for height, width in itertools.product(range(1, 40), (1, 2, 3, 8, 9, 17)):
        transform = Transform((max(height // 4, 1), max(width // 4, 1)), fast=True)
        data = encoded(photo(height, width), "JPEG", quality=90)
        by = transform.reduction(height, width)
        pixels, _ = decoder(transform).decode(data)
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (width // by, height // by))
            assert by == 1 or np.array_equal(pixels, np.asarray(image)), (height, width)


def test_a_run_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_FEW_IMAGES", 3)
    resample.resampler_of.cache_clear()
    expected = []
    for number in range(24):
        size = ((130, 257), (129, 258), (258, 517))[number % 3]
        data = encoded(photo(*size, seed=number), "JPEG", quality=90)
        (tmp_path / f"{number}.jpg").write_bytes(data)
        expected.append(drafted(data, FAST, FAST.reduction(*size)))
    Image.fromarray(np.asarray(photo(130, 257))).save(tmp_path / "whole.png")
    expected.append(Transform(*[FAST.resize, FAST.interpolation, FAST.crop]).apply(np.asarray(photo(130, 257)), 10**7))
    options: dict[str, Any] = {"resize": 64, "crop": 50, "fast": True, "progress": False}
    stats = gpustats.compute(tmp_path, workers=2, **options)
    moments = stats.totals["moments"]
    assert moments["sum"] == np.sum(expected, axis=(0, 1, 2), dtype=np.int64).tolist()
    assert moments["sumsq"] == (np.stack(expected).astype(np.int64) ** 2).sum(axis=(0, 1, 2)).tolist()
    passes = resample.resampler_of(FAST)._passes
    assert {size[3:] for size in passes} >= {(130, 257), (129, 258), (258, 517)}, "all of different parts of pixels"
    assert None not in passes.values(), "the last images were resampled here"
    assert stats.runs[0]["images_by_decoder"] == {"imagecodecs": 1, REDUCED: 24}
    assert (
        gpustats.compute(sorted(map(str, tmp_path.iterdir()), reverse=True), workers=1, **options).totals["moments"]
        == moments
    )
    assert gpustats.compute(tmp_path, isolate=True, workers=2, **options).totals == stats.totals
    resample.resampler_of.cache_clear()


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("resize", [64, (60, 130)])
def test_turned_images(orientation: int, resize: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(photo(131, 275), "JPEG", quality=90, exif=exif)
    (tmp_path / "a.jpg").write_bytes(data)
    stats = gpustats.compute(
        tmp_path, resize=resize, crop=50, exif="turn", fast=True, statistics=["sizes"], progress=False
    )
    transform = transform_of(resize, 50, fast=True)
    upright = (275, 131) if orientation > 4 else (131, 275)
    by = 1 if orientation > 4 and resize == (60, 130) else 2
    assert transform.reduction(*upright) == by
    assert stats.totals["moments"]["sum"] == drafted(data, transform, by).sum(axis=(0, 1), dtype=np.int64).tolist()
    assert (stats.sizes.height.median, stats.sizes.width.median) == upright, "as it came"


def test_unreadable_orientation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(data: bytes, by_pillow: bool) -> int:
        raise ImageError("corrupt", "the EXIF orientation cannot be read")

    monkeypatch.setattr("gpustats.decode.decoder.exif_orientation", fails)
    data = encoded(photo(300, 300), "JPEG", quality=90)
    for resize in (64, (60, 61)):
        for file, reason in ((data, "corrupt"), (data[: len(data) // 2], "truncated")):
            with pytest.raises(ImageError) as error:
                decoder(transform_of(resize, fast=True), turn=True).decode(file)
            assert error.value.reason == reason


def test_verdicts_are_those_of_the_whole_decode() -> None:
    rng = np.random.default_rng(5)
    for settings in ({}, {"progressive": True}, {"restart_marker_blocks": 3}, {"subsampling": 0, "optimize": True}):
        data = encoded(photo(160, 200), "JPEG", quality=75, **settings)
        files = [data[:cut] for cut in range(300, len(data), 97)]
        files += [data[:cut] + b"\xff\xd9" for cut in range(300, len(data), 97)]
        for _ in range(60):
            damaged = bytearray(data)
            damaged[int(rng.integers(300, len(data)))] = int(rng.integers(256))
            files.append(bytes(damaged))
        found = set()
        for file in files:
            verdicts = []
            for transform in (Transform((20,)), Transform((20,), fast=True)):
                try:
                    decoder(transform).decode(file)
                    verdicts.append("whole")
                except ImageError as error:
                    verdicts.append(f"{error.reason}: {error}")
            assert verdicts[0] == verdicts[1]
            found.add(verdicts[0].partition(":")[0])
        assert {"whole", "truncated"} <= found


def test_what_is_decoded_whole(tmp_path: Path) -> None:
    photo(300, 400).convert("CMYK").save(tmp_path / "cmyk.jpg")
    for ending in ("png", "webp", "tiff", "bmp", "gif"):
        photo(300, 400).save(tmp_path / f"a.{ending}")
    fast = gpustats.compute(tmp_path, resize=64, fast=True, progress=False)
    slow = gpustats.compute(tmp_path, resize=64, progress=False)
    assert fast.totals == slow.totals
    assert REDUCED not in fast.runs[0]["images_by_decoder"]


@pytest.mark.parametrize("mode", ["L", "native"])
def test_grey(mode: str, tmp_path: Path) -> None:
    data = encoded(photo(300, 400).convert("L"), "JPEG", quality=90)
    (tmp_path / "a.jpg").write_bytes(data)
    stats = gpustats.compute(tmp_path, resize=64, crop=50, fast=True, mode=mode, progress=False)
    assert stats.totals["moments"]["sum"] == [int(drafted(data, FAST, 4, "L").sum())]


def test_memory_of_a_reduced_image() -> None:
    """24 megapixels are 72 MB; at an eighth they fit into 16 MB. Those of several scans are kept whole by libjpeg."""
    image = Image.new("RGB", (6000, 4000), "gray")
    transform = Transform((64,), fast=True)
    one = Decoder(10**8, MemoryBudget(16 << 20, 1), transform)
    assert one.decode(encoded(image, "JPEG"))[0].shape == (500, 750, 3)
    with pytest.raises(ImageError) as error:
        one.decode(encoded(image, "JPEG", progressive=True))
    assert error.value.reason == "too_large"
    with pytest.raises(ImageError, match="max_pixels"):
        Decoder(10**6, MemoryBudget(16 << 20, 1), transform).decode(encoded(image, "JPEG"))


def test_the_result_says_it_and_does_not_mix(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    photo(300, 400).save(folder / "a.jpg", quality=90)
    options: dict[str, Any] = {"resize": 64, "progress": False}
    slow = gpustats.compute(folder, checkpoint=tmp_path / "kept", **options)
    fast = gpustats.compute(folder, fast=True, **options)
    words = "JPEG at reduced scale, resize 64 bilinear"
    assert fast.definition.transform == words
    assert f"transform: {words}" in str(fast)
    assert fast.to_dict()["definition"]["transform"] == words
    fast.save(tmp_path / "fast.json")
    assert json.loads((tmp_path / "fast.json").read_text())["definition"]["transform"] == words
    with pytest.raises(ValueError, match="transform"):
        gpustats.Stats.load(tmp_path / "fast.json") + slow
    with pytest.raises(DataError, match="transform"):
        gpustats.compute(folder, fast=True, checkpoint=tmp_path / "kept", **options)
    assert (fast.mean != slow.mean).any()
    assert np.abs(fast.mean - slow.mean).max() < 0.01


@pytest.mark.parametrize("options", [{}, {"crop": 20}, {"exif": "turn"}])
def test_it_is_for_a_resize(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="fast=True decodes JPEGs at a scale near that of a resize; give resize, too"):
        gpustats.compute("nothing", fast=True, **options)
    assert transform_of(crop=224, crop_pct=0.9, fast=True) == Transform((248,), "bilinear", (224, 224), fast=True)
    assert transform_of(recipe="clip", fast=True).fast
