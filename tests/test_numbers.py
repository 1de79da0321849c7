"""Every derived number against exact fractions of the pixels, and NaN where there is too little data."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats import Stats, Totals
from gpustats.derive import derive
from gpustats.float_moments import FloatAccumulator
from tests import model
from tests.test_moments import rows_of

NAMES = {
    "mean": lambda stats: stats.mean,
    "std": lambda stats: stats.std,
    "std_unbiased": lambda stats: stats.std_unbiased,
    "image_mean": lambda stats: stats.per_image.mean,
    "image_std": lambda stats: stats.per_image.std,
    "image_std_unbiased": lambda stats: stats.per_image.std_unbiased,
    "image_rms_std": lambda stats: stats.per_image.rms_std,
    "std_of_means": lambda stats: stats.std_of_means,
    "min": lambda stats: stats.min,
    "max": lambda stats: stats.max,
}
EXACT = ("mean", "std", "std_unbiased", "min", "max")


def compute(images: Any) -> Stats:
    return gpustats.compute(images, layout="HWC", progress=False, device="cpu")


def images_of(seed: int, shapes: list[tuple[int, int]], dtype: type, channels: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    top = int(np.iinfo(dtype).max)
    return [
        np.clip(rng.normal(rng.uniform(0, top), rng.uniform(1, top / 4), (*shape, channels)), 0, top).astype(dtype)
        for shape in shapes
    ]


SHAPES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), SHAPES, st.sampled_from([np.uint8, np.uint16]), st.sampled_from([1, 255, 100, 0.5]))
def test_integer_images_against_fractions(seed: int, shapes: list[tuple[int, int]], dtype: type, scale: float) -> None:
    images = images_of(seed, shapes, dtype)
    stats = compute(images)
    for name, exact in model.numbers(images).items():
        values, scaled = NAMES[name](stats), NAMES[name](stats.scaled(scale))
        for c in range(2):
            if name in EXACT:  # rounded once, and once more by the root
                assert values[c] == exact[c] or (math.isnan(exact[c]) and math.isnan(values[c])), name
            np.testing.assert_allclose(values[c], exact[c], rtol=1e-11, atol=1e-11, err_msg=name)
            np.testing.assert_allclose(scaled[c], exact[c] * scale, rtol=1e-11, atol=1e-11 * scale, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), SHAPES)
def test_float_images_against_fractions(seed: int, shapes: list[tuple[int, int]]) -> None:
    """The same values as floats: everything is times 255."""
    images = images_of(seed, shapes, np.uint8)
    stats = compute([image.astype(np.float32) for image in images])
    assert not stats.exact
    for name, exact in model.numbers(images).items():
        np.testing.assert_allclose(NAMES[name](stats), 255 * np.array(exact), rtol=1e-12, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(
            NAMES[name](stats.scaled(3)), 765 * np.array(exact), rtol=1e-12, atol=1e-10, err_msg=name
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_one_pixel(dtype: type) -> None:
    """A single value has a mean and a std of 0, and no std with ddof=1."""
    stats = compute([np.array([[[51, 102]]], dtype)])
    unit = 255 if stats.exact else 1
    for name in ("mean", "image_mean", "min", "max"):
        assert NAMES[name](stats).tolist() == [51 / unit, 102 / unit], name
    for name in ("std", "image_std", "image_rms_std", "std_of_means"):
        assert NAMES[name](stats).tolist() == [0, 0], name
    for name in ("std_unbiased", "image_std_unbiased"):
        assert np.isnan(NAMES[name](stats)).all(), name


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_of_one_pixel_do_not_enter_the_unbiased_average(dtype: type) -> None:
    """Two values 2 apart have a std of 1 with ddof=0 and of sqrt(2) with ddof=1."""
    images = [np.full((1, 1, 1), 9, dtype), np.array([[[3], [5]]], dtype), np.full((1, 1, 1), 200, dtype)]
    stats = compute(images).scaled(255 if dtype is np.uint8 else 1)
    assert stats.totals.images_unbiased == 1
    assert stats.per_image.std_unbiased[0] == pytest.approx(math.sqrt(2), rel=1e-12)
    assert stats.per_image.std[0] == pytest.approx(1 / 3, rel=1e-12)
    assert stats.per_image.rms_std[0] == pytest.approx(math.sqrt(1 / 3), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_two_pixels_have_an_unbiased_std(dtype: type) -> None:
    stats = compute([np.array([[[3], [5]]], dtype)]).scaled(np.iinfo(dtype).max if dtype is not np.float32 else 1)
    for name in ("std_unbiased", "image_std_unbiased"):
        assert NAMES[name](stats)[0] == pytest.approx(math.sqrt(2), rel=1e-12)


@pytest.mark.parametrize("kind", [Totals, FloatAccumulator])
def test_no_images_give_no_numbers(kind: type) -> None:
    """Neither an empty result nor one that knows its channels but holds no image."""
    data = kind().to_dict() | {"channels": 2} | {name: [0, 0] for name in kind.per_channel}
    for totals, count in [(kind(), 0), (kind.from_dict(data), 2)]:
        stats = Stats(totals)
        for name, read in NAMES.items():
            assert read(stats).shape == (count,), name
            assert np.isnan(read(stats)).all(), name
        assert all(x is None for x in stats.to_dict()["mean"])
        assert Stats.from_dict(stats.to_dict()).totals == totals


@pytest.mark.parametrize("kind", [Totals, FloatAccumulator])
def test_a_number_of_no_name_is_an_error(kind: type) -> None:
    with pytest.raises(KeyError, match="median"):
        derive(kind(), "median", Fraction(1))


def test_a_scale_may_be_a_fraction() -> None:
    images = images_of(1, [(3, 4), (5, 2)], np.uint8)
    stats, third = compute(images), compute(images).scaled(Fraction(1, 3))
    assert third.scale == Fraction(1, 3)
    for name, read in NAMES.items():
        np.testing.assert_allclose(read(third), read(stats) / 3, rtol=1e-15, err_msg=name)
    assert stats.scaled(255).max.tolist() == [float(max(i[..., c].max() for i in images)) for c in range(2)]
    assert stats.scaled(255).scaled(1).to_dict() == stats.to_dict()


def test_totals_beyond_float64_are_divided_as_integers() -> None:
    """A mean and a std of totals near 2**1100, which no float holds, and a std that is a part in 2**60 of the mean."""
    totals = Totals()
    totals.fold(rows_of([np.array([[[254], [255]]], np.uint8)]))
    data = totals.to_dict()
    for name in ("images", "pixels", "images_unbiased"):
        data[name] <<= 1100
    for name in Totals.per_channel:
        if name not in ("min", "max"):
            data[name] = [value << 1100 for value in data[name]]
    stats = Stats(Totals.from_dict(data)).scaled(255)
    assert (stats.mean[0], stats.std[0], stats.std_unbiased[0], stats.per_image.std[0]) == (254.5, 0.5, 0.5, 0.5)
    n = 1 << 120  # one pixel of 255, all others of 254
    far = data | {"pixels": n, "images": 1, "sum": [254 * n + 1], "sumsq": [254**2 * n + 255**2 - 254**2]}
    assert Stats(Totals.from_dict(far)).scaled(255).std[0] == pytest.approx(2.0**-60, rel=1e-15)
