"""Quantiles and shape of the values: NumPy's and SciPy's of all pixels, for every split, order and engine."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats import Stats
from gpustats.statistics.distribution import Counts, entropy, kurtosis, mode, quantiles, skewness
from gpustats.statistics.totals import Totals
from tests.command_line import invoke
from tests.rows import built

NAMES = ("moments", "histogram")
METHODS = ("linear", "inverted_cdf")
SHAPES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=6)
NUMBERS = ("median", "mode", "entropy", "clipped_share.low", "clipped_share.high", "skewness", "kurtosis")


def compute(images: Any, **options: Any) -> Stats:
    return gpustats.compute(images, layout="HWC", statistics=["histogram"], progress=False, device="cpu", **options)


def images_of(seed: int, shapes: list[tuple[int, int]], values: int) -> list[np.ndarray]:
    """Images of two channels with at most so many values."""
    rng = np.random.default_rng(seed)
    levels = rng.choice(256, values).astype(np.uint8)
    return [rng.choice(levels, (*shape, 2)) for shape in shapes]


def pooled(images: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([image.reshape(-1, image.shape[2]) for image in images])


def expected(pixels: np.ndarray, name: str) -> np.ndarray:
    """Return a number of pixels (N, C) on [0, 255], as NumPy and SciPy have it."""
    if name in ("skewness", "kurtosis"):
        function = {"skewness": scipy.stats.skew, "kurtosis": scipy.stats.kurtosis}[name]
        wide = pixels.astype(np.longdouble)
        found = [float(function(channel)) if np.ptp(channel) else np.nan for channel in wide.T]
        return np.array(found)
    if name == "entropy":
        return np.array([scipy.stats.entropy(np.bincount(channel), base=2) for channel in pixels.T])
    simple = {
        "median": lambda: np.median(pixels, axis=0),
        "mode": lambda: scipy.stats.mode(pixels, axis=0).mode,
        "clipped_share.low": lambda: (pixels == 0).mean(axis=0),
        "clipped_share.high": lambda: (pixels == 255).mean(axis=0),
    }
    return np.asarray(simple[name]())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), SHAPES, st.sampled_from([1, 2, 3, 256]))
def test_every_number_against_numpy_and_scipy(seed: int, shapes: list[tuple[int, int]], values: int) -> None:
    images = images_of(seed, shapes, values)
    stats, pixels = compute(images).scaled(255), pooled(images)
    for name in NUMBERS:
        np.testing.assert_allclose(stats.number(name), expected(pixels, name), rtol=1e-12, atol=1e-12, err_msg=name)
    np.testing.assert_array_equal(stats.median, np.median(pixels, axis=0))
    np.testing.assert_array_equal(stats.mode, expected(pixels, "mode"))


# Places that fall on a pixel, between two, and where a product of floats falls beside one.
SHARES = st.one_of(st.floats(0, 1), st.integers(0, 100).map(lambda i: i / 100), st.sampled_from([0, 1, 0.0, 1.0]))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), SHAPES, st.sampled_from([1, 2, 5, 256]), st.lists(SHARES, min_size=1, max_size=5))
def test_quantiles_against_numpy(seed: int, shapes: list[tuple[int, int]], values: int, q: list[float]) -> None:
    images = images_of(seed, shapes, values)
    stats, pixels = compute(images).scaled(255), pooled(images)
    found = stats.quantile(q, method="inverted_cdf")
    np.testing.assert_array_equal(found, np.quantile(pixels, q, axis=0, method="inverted_cdf"))
    linear = np.quantile(pixels.astype(float), q, axis=0, method="linear")
    np.testing.assert_allclose(stats.quantile(q, method="linear"), linear, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(stats.quantile(q), stats.quantile(q, method="linear"))
    np.testing.assert_array_equal(stats.quantile(q[0]), stats.quantile(q)[0])


def test_every_hundredth_of_every_small_number_of_pixels() -> None:
    """A share of n is a whole number often: there a product of floats decides, as it does in NumPy."""
    shares = [i / 100 for i in range(101)]
    for n in range(1, 121):
        pixels = np.arange(n)
        found = quantiles(Counts(range(n), [1] * n), shares, "inverted_cdf")
        assert found == np.quantile(pixels, shares, method="inverted_cdf").tolist(), n


def test_shapes_and_types_of_q() -> None:
    images = images_of(1, [(3, 4), (5, 2)], 256)
    stats = compute(images)
    assert (
        stats.quantile(0.5).shape
        == stats.quantile(np.float32(0.5)).shape
        == stats.quantile(Fraction(1, 2)).shape
        == (2,)
    )
    assert stats.quantile(np.array(0.5)).shape == (2,)
    assert stats.quantile([0.5]).shape == (1, 2)
    assert stats.quantile(np.array([0.1, 0.2, 0.3])).shape == (3, 2)
    assert stats.quantile(0.5).tolist() == stats.median.tolist()
    assert stats.quantile(0).tolist() == stats.min.tolist()
    assert stats.quantile(1).tolist() == stats.max.tolist()
    np.testing.assert_allclose(stats.quantile(0.3) * 255, stats.scaled(255).quantile(0.3), rtol=1e-15)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True, [0.5, 2], [[0.5]], 50])
def test_what_is_no_share_is_refused(q: Any) -> None:
    with pytest.raises(ValueError, match="a quantile should be a number from 0 to 1, got"):
        compute(images_of(1, [(2, 2)], 3)).quantile(q)


def test_other_methods_and_no_shares_are_refused() -> None:
    stats = compute(images_of(1, [(2, 2)], 3))
    with pytest.raises(ValueError, match="method should be 'linear' or 'inverted_cdf', got 'nearest'"):
        stats.quantile(0.5, method="nearest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give at least one quantile"):
        stats.quantile([])


def test_without_a_histogram_it_is_named() -> None:
    stats = gpustats.compute(images_of(1, [(2, 2)], 3), layout="HWC", progress=False, device="cpu")
    with pytest.raises(AttributeError, match=r"'quantile' was not computed: it needs statistics=\['histogram'\]"):
        stats.quantile(0.5)
    with pytest.raises(AttributeError, match=r"'clipped_share.low' was not computed"):
        _ = stats.clipped_share.low


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(0, 2**32))
def test_any_split_and_order_of_merging_gives_the_same_bits(data: st.DataObject, seed: int) -> None:
    images = images_of(seed, [(i % 3 + 1, i + 1) for i in range(7)], 256)
    whole = compute(images)
    parts = []
    order = data.draw(st.permutations(range(7)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 7), max_size=3)))
    for start, stop in zip([0, *cuts], [*cuts, 7], strict=True):
        totals = Totals(NAMES)
        for i in order[start:stop]:
            totals.fold(built([images[i]], NAMES, first=i))
        parts.append(Stats(totals))
    merged = gpustats.merge(parts)
    for name in NUMBERS:
        np.testing.assert_array_equal(merged.number(name), whole.number(name), name)
    np.testing.assert_array_equal(merged.quantile([0.1, 0.37, 0.99]), whole.quantile([0.1, 0.37, 0.99]))


def test_billions_of_pixels_keep_every_digit() -> None:
    """Two values a part in 10**12 apart in number: floats would lose the third and fourth powers."""
    n = 10**12
    bins = Counts(range(256), [0] * 254 + [n, n + 1])
    share = Fraction(n + 1, 2 * n + 1)
    variance = share * (1 - share)
    assert skewness(bins) == pytest.approx(float(1 - 2 * share) / math.sqrt(variance), rel=1e-15)
    assert skewness(bins) < 0
    assert float(kurtosis(bins)) == float((1 - 6 * variance) / variance)
    assert entropy(bins) == pytest.approx(1, rel=1e-15)
    assert mode(bins) == 255
    assert quantiles(bins, [0.5], "linear") == [255]
    assert quantiles(Counts(range(3), [n, 0, n]), [0.5], "linear") == [1]
    assert quantiles(Counts(range(3), [n, 0, n]), [0.5], "inverted_cdf") == [0]


def test_one_value_has_no_shape() -> None:
    stats = compute([np.full((3, 2, 1), 7, np.uint8)]).scaled(255)
    assert (stats.median, stats.mode, stats.entropy) == (7, 7, 0)
    assert np.isnan([stats.skewness, stats.kurtosis]).all()
    assert stats.to_dict()["skewness"] == [None]
    assert stats.quantile([0, 0.5, 1]).tolist() == [[7]] * 3


def test_an_empty_result_and_channels_without_pixels() -> None:
    empty = Stats(Totals(NAMES))
    assert (empty.median.shape, empty.quantile(0.5).shape, empty.quantile([0.5, 1]).shape) == ((0,), (0,), (2, 0))
    for number in (mode, entropy, skewness, kurtosis):
        for none in (Counts(range(256), [0] * 256), Counts((), ())):
            assert math.isnan(number(none)), number
            assert math.isnan(quantiles(none, [0.5], "linear")[0])


def test_they_are_shown_as_text_html_and_json() -> None:
    stats = compute([np.array([[[0, 0, 255], [0, 51, 255], [102, 255, 255]]], np.uint8)])
    rows = {line.split()[0]: line.split()[1:4] for line in repr(stats).splitlines()[5:]}
    assert [float(cell) for cell in rows["median"]] == [0, 0.2, 1]
    assert [float(cell) for cell in rows["mode"]] == [0, 0, 1]
    assert [float(cell) for cell in rows["entropy"]] == [0.9182958, 1.5849625, 0]
    assert [float(cell) for cell in rows["clipped_share.low"]] == [0.6666667, 0.3333333, 0]
    assert [float(cell) for cell in rows["clipped_share.high"]] == [0, 0.3333333, 1]
    assert rows["skewness"][2] == rows["kurtosis"][2] == "nan"
    html = stats._repr_html_()
    assert all(f">{name}</th>" in html for name in NUMBERS)
    data = json.loads(stats.to_json())
    assert data["clipped_share"] == {"low": [2 / 3, 1 / 3, 0], "high": [0, 1 / 3, 1]}
    assert data["median"] == [0, 0.2, 1]


def test_the_command_line_shows_them(tmp_path: Any) -> None:
    np.save(tmp_path / "a.npy", np.array([[[0, 51, 255], [102, 51, 255]]], np.uint8))
    done = invoke("compute", tmp_path / "a.npy", "--layout", "HWC", "--statistics", "histogram,covariance")
    assert done.code == 0
    assert re.search(r"^  median +0\.2000000 +0\.2000000 +1\.0000000", done.out, re.MULTILINE)
    lines = done.out.splitlines()
    assert lines[-2].startswith("transforms.Normalize(")
    assert lines[-1] == (
        "Lighting(alphastd=0.1, eigval=[0.040000, 0.000000, 0.000000], eigvec=[[1.000000, 0.000000, 0.000000], "
        "[0.000000, 0.000000, 1.000000], [0.000000, 1.000000, 0.000000]])  # channels R, G, B, for images on [0, 1]"
    )
