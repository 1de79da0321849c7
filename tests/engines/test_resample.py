"""A resize and a crop in one step: bit for bit what Pillow makes, or Pillow makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.decode.transform import Transform
from gpustats.engines import resample
from gpustats.engines.resample import Resampler
from gpustats.statistics.compiled import ready
from tests.images import write_photos

RECIPE = Transform((256,), "bilinear", (224, 224))

pytestmark = pytest.mark.skipif(not resample._SAME_ROUNDING, reason="Pillow does it on this machine")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_FEW_IMAGES", 0)


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def trained(transform: Transform, *shape: int) -> Resampler:
    """Return a resampler that has seen an image of this shape."""
    resampler = Resampler(transform)
    first = noise(*shape, seed=1)
    assert np.array_equal(resampler.apply(first, 1 << 30), transform.apply(first, 1 << 30))
    return resampler


def makes_itself(resampler: Resampler, pixels: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Hold that a result is that of Pillow, and say whether Pillow was left out."""
    expected = resampler._transform.apply(pixels, 1 << 30)
    with monkeypatch.context() as patch:
        patch.setattr(Transform, "apply", lambda *_: None)
        found = resampler.apply(pixels, 1 << 30)
    if found is None:
        return False
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(found, expected)
    return True


def test_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow takes rows first or columns first, by the sizes; there is no image that neither gives."""
    rng = np.random.default_rng(7)
    done = 0
    for i in range(300):
        height, width = (int(n) for n in rng.integers(1, 200, 2))
        to = tuple(int(n) for n in rng.integers(1, 200, 2))[: 1 + i % 2]
        transform = Transform(to, ("box", "bilinear", "bicubic")[i % 3])
        high, wide = transform.size(height, width)
        if not high or not wide or max(high, wide) > 2000:
            continue
        crop = int(rng.integers(1, high + 1)), int(rng.integers(1, wide + 1))
        transform = Transform(to, transform.interpolation, crop)
        channels = (1, 3)[i // 3 % 2]
        resampler = trained(transform, height, width, channels)
        assert None not in resampler._passes.values(), (height, width, transform)
        done += makes_itself(resampler, noise(height, width, channels), monkeypatch)
    assert done > 200


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (333, 500), (257, 300), (500, 500), (100, 130), (224, 700)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_photographs(size: tuple[int, int], interpolation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resampler = trained(Transform((256,), interpolation, (224, 224)), *size, 3)
    pixels = noise(*size, 3)
    pixels[: size[0] // 2] = np.where(pixels[: size[0] // 2] > 127, 255, 0)  # bicubic weights go beyond
    assert makes_itself(resampler, pixels, monkeypatch)
    assert not makes_itself(resampler, noise(size[0], size[1], 1), monkeypatch), "another shape was not seen yet"


def test_pixels_of_any_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    resampler = trained(RECIPE, 300, 400, 3)
    pixels = noise(300, 400, 3)
    fixed = pixels.copy()
    fixed.flags.writeable = False
    for same in (pixels, fixed, pixels.swapaxes(0, 1).copy().swapaxes(0, 1), noise(300, 800, 3)[:, ::2]):
        assert makes_itself(resampler, same, monkeypatch)
    assert len(ready(resample._resample_rows).signatures) == 1, "it is compiled once"


@pytest.mark.parametrize(
    "transform",
    [
        Transform((256,)),
        Transform((), "bilinear", (9, 9)),
        Transform((256,), "lanczos", (9, 9)),
        Transform((5,), "hamming", (5, 5)),
    ],
)
def test_what_is_left_to_pillow(transform: Transform, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(300, 400, 3)
    resampler = Resampler(transform)
    for _ in range(3):
        assert not makes_itself(resampler, pixels, monkeypatch)


@pytest.mark.parametrize(
    "pixels",
    [noise(300, 400), noise(256, 256, 3), noise(9, 9, 3).astype(np.uint16), np.ma.MaskedArray(noise(300, 400, 3))],
)
def test_images_that_are_left_to_transform(pixels: Any) -> None:
    """They are of another kind, or as large as they should be; or they cannot be transformed."""
    resampler = Resampler(RECIPE)
    for _ in range(3):
        try:
            expected = RECIPE.apply(pixels, 1 << 30)
        except gpustats.failures.ImageError as error:
            with pytest.raises(type(error), match=str(error)[:20]):
                resampler.apply(pixels, 1 << 30)
        else:
            assert np.array_equal(resampler.apply(pixels, 1 << 30), expected)
    assert not resampler._passes


def test_limits_hold() -> None:
    resampler = trained(RECIPE, 300, 400, 3)
    with pytest.raises(gpustats.failures.ImageError, match="max_pixels"):
        resampler.apply(noise(300, 400, 3), 256 * 341 - 1)
    small = Resampler(Transform((20,), "bilinear", (30, 30)))
    with pytest.raises(gpustats.failures.ImageError, match="less than the crop"):
        small.apply(noise(300, 400, 3), 1 << 30)


def test_an_image_of_one_colour_tells_nothing() -> None:
    resampler = Resampler(RECIPE)
    grey = np.full((300, 400, 3), 9, np.uint8)
    assert np.array_equal(resampler.apply(grey, 1 << 30), RECIPE.apply(grey, 1 << 30))
    assert not resampler._passes


def test_where_neither_order_is_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_rows_first", lambda *_: None)
    monkeypatch.setattr(resample, "_columns_first", lambda *_: None)
    resampler = trained(RECIPE, 300, 400, 3)
    assert resampler._passes == {(300, 400, 3): None}
    assert not makes_itself(resampler, noise(300, 400, 3), monkeypatch)


def test_few_images_are_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_FEW_IMAGES", 3)
    resampler = Resampler(RECIPE)
    for i in range(3):
        resampler.apply(noise(300, 400, 3, seed=i), 1 << 30)
        assert not resampler._passes
    resampler.apply(noise(300, 400, 3), 1 << 30)
    assert makes_itself(resampler, noise(300, 400, 3, seed=9), monkeypatch)


def test_sizes_that_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_MOST_SIZES", 1)
    resampler = trained(RECIPE, 300, 400, 3)
    resampler.apply(noise(300, 401, 3), 1 << 30)
    assert list(resampler._passes) == [(300, 400, 3)]


def test_a_run_measures_the_same(tmp_path: Path) -> None:
    write_photos(tmp_path, 12)
    options: dict[str, Any] = {"resize": 40, "crop": 30, "progress": False, "workers": 2}
    transform = Transform((40,), "bilinear", (30, 30))
    expected = [
        transform.apply(np.asarray(Image.open(path).convert("RGB")), 1 << 30) for path in tmp_path.rglob("*.jpg")
    ]
    resample.resampler_of.cache_clear()
    for _ in range(2):
        moments = gpustats.compute(tmp_path, **options).totals["moments"]
        assert moments["sum"] == np.sum(expected, axis=(0, 1, 2), dtype=np.int64).tolist()
        assert moments["sumsq"] == (np.stack(expected).astype(np.int64) ** 2).sum(axis=(0, 1, 2)).tolist()
    assert resample.resampler_of(transform)._passes, "the second run uses what the first has seen"
    resample.resampler_of.cache_clear()
