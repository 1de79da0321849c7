"""The spot check: which images it looks at, and every way in which pixels can be wrong that a mean does not show."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gpustats import DeviceError
from gpustats.engines.gpu_batch import EncodedBatch, EncodedImage
from gpustats.engines.spot_check import TOLERANCE, SpotCheck
from gpustats.statistics.base import Columns
from tests.images import encoded

HEIGHT, WIDTH = 16, 24
COUNT = HEIGHT * WIDTH


def flat_jpeg(value: int) -> bytes:
    """A JPEG of one grey: every decoder gives exactly this value."""
    return encoded(Image.new("RGB", (WIDTH, HEIGHT), (value, value, value)))


def batch_of(data: list[bytes]) -> EncodedBatch:
    images = [EncodedImage(f"k{i}", "", one) for i, one in enumerate(data)]
    return EncodedBatch.of(images, [(HEIGHT, WIDTH, 3)] * len(images))


def moments_of(images: list[np.ndarray]) -> Columns:
    pixels = np.stack([image.reshape(-1, 3) for image in images]).astype(np.uint64)
    return {
        "moments.sum": pixels.sum(axis=1),
        "moments.sumsq": (pixels * pixels).sum(axis=1),
        "moments.min": pixels.min(axis=1).astype(np.uint8),
        "moments.max": pixels.max(axis=1).astype(np.uint8),
    }


def image(value: float, spread: float = 0.0, channel: int | None = None) -> np.ndarray:
    """Pixels with this mean and std, in one channel or all; the others are 100."""
    values = np.full((COUNT, 3), 100.0)
    some = slice(None) if channel is None else channel
    values[:, some] = value
    values[::2, some] += spread
    values[1::2, some] -= spread
    return values


def check(pixels: np.ndarray, number: int = 1) -> SpotCheck:
    spot = SpotCheck(10**6)
    spot.passes(number, batch_of([flat_jpeg(100)]), moments_of([pixels]), np.ones(1, np.bool_))
    return spot


def test_right_pixels_pass() -> None:
    assert check(image(100)).report() == {
        "images": 1,
        "largest_mean_difference": 0.0,
        "largest_std_difference": 0.0,
        "tolerance": 0.5,
    }
    assert TOLERANCE == 0.5


@pytest.mark.parametrize("channel", [0, 1, 2, None])
def test_another_std_with_the_same_mean_is_noticed(channel: int | None) -> None:
    with pytest.raises(DeviceError, match=r"k0: .* differ by 0 grey levels in the mean and 3 in the std"):
        check(image(100, spread=3, channel=channel))


@pytest.mark.parametrize("channel", [0, 1, 2, None])
@pytest.mark.parametrize("value", [97, 104])
def test_another_mean_with_the_same_std_is_noticed(channel: int | None, value: int) -> None:
    with pytest.raises(DeviceError, match=rf"differ by {abs(value - 100)} grey levels in the mean and 0 in the std"):
        check(image(value, channel=channel))


@pytest.mark.parametrize("share", [0.5, 0.51])
def test_the_tolerance_is_half_a_level(share: float) -> None:
    """A share of the pixels one level up; at a half exactly, mean and std differ by just as much as is allowed."""
    pixels = image(100)
    pixels[: round(share * COUNT)] += 1
    if share > 0.5:
        with pytest.raises(DeviceError):
            check(pixels)
        return
    report = check(pixels).report()
    assert report["largest_mean_difference"] == 0.5
    assert report["largest_std_difference"] == 0.5


def test_batches_1_2_4_8_and_so_on_are_checked() -> None:
    spot = SpotCheck(10**6)
    batch, moments = batch_of([flat_jpeg(100)]), moments_of([image(100)])
    checked = []
    for number in range(1, 70):
        before = spot.report()["images"]
        spot.passes(number, batch, moments, np.ones(1, np.bool_))
        if spot.report()["images"] > before:
            checked.append(number)
    assert checked == [1, 2, 4, 8, 16, 32, 64]


def test_the_first_image_that_was_written_is_checked() -> None:
    spot = SpotCheck(10**6)
    batch = batch_of([flat_jpeg(9), flat_jpeg(100), flat_jpeg(9)])
    moments = moments_of([image(0), image(100), image(0)])
    assert spot.passes(1, batch, moments, np.array([False, True, True]))
    assert spot.passes(2, batch, moments, np.zeros(3, np.bool_))
    assert spot.report()["images"] == 1
    with pytest.raises(DeviceError, match="k2: "):
        spot.passes(2, batch, moments, np.array([False, False, True]))


def test_the_largest_differences_are_kept() -> None:
    spot = SpotCheck(10**6)
    for up in (10, 60, 20):
        pixels = image(100)
        pixels[:up, 1] += 1
        spot.passes(1, batch_of([flat_jpeg(100)]), moments_of([pixels]), np.ones(1, np.bool_))
    report = spot.report()
    assert report["images"] == 3
    assert report["largest_mean_difference"] == pytest.approx(60 / COUNT)
    p = 60 / COUNT
    assert report["largest_std_difference"] == pytest.approx((p * (1 - p)) ** 0.5)


def test_an_image_that_the_cpu_refuses_does_not_pass() -> None:
    spot = SpotCheck(10**6)
    data = flat_jpeg(100)
    batch = batch_of([data, data[: len(data) // 2]])
    assert not spot.passes(1, batch, moments_of([image(100)] * 2), np.array([False, True]))
    assert spot.passes(1, batch, moments_of([image(100)] * 2), np.array([True, True]))
    assert spot.report()["images"] == 1
    small = SpotCheck(COUNT - 1)
    assert not small.passes(1, batch_of([data]), moments_of([image(100)]), np.ones(1, np.bool_))


def test_flat_jpegs_decode_to_their_value() -> None:
    with Image.open(io.BytesIO(flat_jpeg(100))) as decoded:
        assert np.unique(np.asarray(decoded.convert("RGB"))).tolist() == [100]
