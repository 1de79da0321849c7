"""Every derived number against exact fractions of the pixels, and NaN where there is too little data."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats import DataError, Stats
from gpustats.statistics import STATISTICS, catalogue, check_names
from gpustats.statistics.base import Kind
from gpustats.statistics.totals import Totals
from tests import model
from tests.rows import rows_of

NAMES: dict[str, Callable[[Stats], Any]] = {
    "mean": lambda stats: stats.mean,
    "std": lambda stats: stats.std,
    "std_unbiased": lambda stats: stats.std_unbiased,
    "per_image.mean": lambda stats: stats.per_image.mean,
    "per_image.std": lambda stats: stats.per_image.std,
    "per_image.std_unbiased": lambda stats: stats.per_image.std_unbiased,
    "per_image.rms_std": lambda stats: stats.per_image.rms_std,
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
    for name in ("mean", "per_image.mean", "min", "max"):
        assert NAMES[name](stats).tolist() == [51 / unit, 102 / unit], name
    for name in ("std", "per_image.std", "per_image.rms_std", "std_of_means"):
        assert NAMES[name](stats).tolist() == [0, 0], name
    for name in ("std_unbiased", "per_image.std_unbiased"):
        assert np.isnan(NAMES[name](stats)).all(), name


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_of_one_pixel_do_not_enter_the_unbiased_average(dtype: type) -> None:
    """Two values 2 apart have a std of 1 with ddof=0 and of sqrt(2) with ddof=1."""
    images = [np.full((1, 1, 1), 9, dtype), np.array([[[3], [5]]], dtype), np.full((1, 1, 1), 200, dtype)]
    stats = compute(images).scaled(255 if dtype is np.uint8 else 1)
    assert stats.totals["moments"]["images_unbiased"] == [1]
    assert stats.per_image.std_unbiased[0] == pytest.approx(math.sqrt(2), rel=1e-12)
    assert stats.per_image.std[0] == pytest.approx(1 / 3, rel=1e-12)
    assert stats.per_image.rms_std[0] == pytest.approx(math.sqrt(1 / 3), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_two_pixels_have_an_unbiased_std(dtype: type) -> None:
    stats = compute([np.array([[[3], [5]]], dtype)]).scaled(np.iinfo(dtype).max if dtype is not np.float32 else 1)
    for name in ("std_unbiased", "per_image.std_unbiased"):
        assert NAMES[name](stats)[0] == pytest.approx(math.sqrt(2), rel=1e-12)


def test_no_images_give_no_numbers() -> None:
    stats = Stats(Totals())
    for name, read in NAMES.items():
        assert read(stats).shape == (0,), name
        assert read(stats).dtype == np.float64
    assert stats.to_dict()["mean"] == []
    assert Stats.from_dict(stats.to_dict()).totals == Totals()


def test_a_result_of_version_1_may_know_the_channels_of_no_images() -> None:
    names = (
        "sum",
        "sumsq",
        "min",
        "max",
        "image_mean",
        "image_mean_sq",
        "image_std",
        "image_std_unbiased",
        "image_var",
    )
    old: dict[str, Any] = {name: [0, 0] for name in names}
    old |= dict.fromkeys(("images", "pixels", "height_min", "height_max", "width_min", "width_max"), 0)
    old |= {"channels": 2, "max_value": 255, "images_unbiased": 0, "key_hash": "0" * 32}
    data = Stats().to_dict() | {"version": 1, "integers": old}
    data["definition"].pop("statistics")
    del data["totals"]
    assert Stats.from_dict(data).totals == Totals()
    with pytest.raises(DataError, match="contradict"):
        Stats.from_dict(data | {"integers": old | {"pixels": 3}})


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_a_channel_without_pixels_has_no_numbers(dtype: str) -> None:
    """Channel 0 has two pixels, channel 1 none: NaN, not an invented 0, whatever its total says."""
    data = compute([np.full((1, 2, 2), 4, dtype)]).totals.to_dict()
    for name, values in data["moments"].items():
        data["moments"][name] = [values[0], [0] * len(values[0]) if isinstance(values[0], list) else 0]
    totals = Totals.from_dict(data)
    totals.merge(Totals.from_dict(data))
    assert totals["moments"]["n"] == [4, 0]
    stats = Stats(totals)
    for name, read in NAMES.items():
        values = read(stats)
        assert math.isfinite(values[0]), name
        assert math.isnan(values[1]), name
    assert stats.to_dict()["mean"][1] is None
    assert Stats.from_dict(stats.to_dict()).totals == stats.totals


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_number_of_no_name_is_an_error(dtype: type) -> None:
    for stats in (Stats(), compute([np.zeros((2, 2, 3), dtype)])):
        for name in ("middle", "per_image.median", "per_image", "", "mean."):
            with pytest.raises(AttributeError, match=f"a result has no number '{name}'; it has mean, std, "):
                stats.number(name)
        with pytest.raises(AttributeError, match="no number 'middle'"):
            _ = stats.middle
        with pytest.raises(AttributeError, match=r"no number 'per_image\.median'"):
            _ = stats.per_image.median
        with pytest.raises(AttributeError, match=r"'histogram' was not computed: it needs statistics=\['histogram'\]"):
            _ = stats.histogram


def test_the_catalogue_has_every_number_once() -> None:
    assert {name for name, (statistic, _) in catalogue().items() if statistic == "moments"} == {*NAMES, "var"}
    names = {number.name for classes in STATISTICS.values() for one in classes for number in one.numbers}
    assert catalogue().keys() == names
    for name, (statistic, number) in catalogue().items():
        assert name == number.name
        assert number in next(one.numbers for one in STATISTICS[statistic] if name in [n.name for n in one.numbers])
        assert number.says
        assert number.formula
    for dtype, place in (("uint8", 0), ("uint16", 1), ("float64", 2)):
        own = [number.name for number in STATISTICS["histogram"][place].numbers]
        assert list(catalogue(["histogram"], Kind(3, dtype))) == own
    integers, deep, _ = (one.numbers for one in STATISTICS["histogram"])
    assert [number.name for number in integers] == [number.name for number in deep]


def test_every_number_is_a_new_array_of_what_it_says() -> None:
    rng = np.random.default_rng(1)
    stats = gpustats.compute(
        [rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)], progress=False, device="cpu", statistics=list(STATISTICS)
    )
    assert set(stats.numbers()) == set(catalogue(None, Kind(3, "uint8")))
    for name, number in stats.numbers().items():
        values = stats.number(name)
        assert values.shape == tuple(3 if size == "C" else int(size) for size in number.shape), name
        assert (values.dtype, values.flags.writeable) == (np.dtype(number.dtype), True), name
        empty = Stats(Totals(check_names(STATISTICS))).number(name)
        assert empty.shape == tuple(0 if size == "C" else int(size) for size in number.shape), name
        assert empty.dtype == values.dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_variance_is_the_square_of_the_std_and_scales_with_the_square(dtype: type) -> None:
    stats = compute([image.astype(dtype) for image in images_of(3, [(5, 4), (2, 7)], np.uint8)])
    np.testing.assert_allclose(stats.var, stats.std**2, rtol=1e-14)
    np.testing.assert_allclose(stats.scaled(3).var, 9 * stats.var, rtol=1e-14)


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
    for name in ("images", "pixels"):
        data[name] <<= 1100
    moments = data["moments"]
    for name in moments.keys() - {"min", "max"}:
        moments[name] = [[x << 1100 for x in v] if isinstance(v, list) else v << 1100 for v in moments[name]]
    stats = Stats(Totals.from_dict(data)).scaled(255)
    assert (stats.mean[0], stats.std[0], stats.std_unbiased[0], stats.per_image.std[0]) == (254.5, 0.5, 0.5, 0.5)
    n = 1 << 120  # one pixel of 255, all others of 254
    one = {"n": [n], "images": [1], "images_unbiased": [1]}
    one |= {"sum": [254 * n + 1], "sumsq": [254**2 * n + 255**2 - 254**2]}
    far = data | {"pixels": n, "images": 1, "moments": moments | one}
    assert Stats(Totals.from_dict(far)).scaled(255).std[0] == pytest.approx(2.0**-60, rel=1e-15)
