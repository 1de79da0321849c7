"""The sums behind sampling errors, and the errors themselves, against NumPy, exact fractions and the jackknife."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats import DataError, Stats
from gpustats.result.estimate import Estimate, student
from gpustats.statistics.clusters import exact_products, float_products, float_sums, shifted
from gpustats.statistics.totals import Totals
from tests.rows import rows_of

ERRORS = ("mean", "std", "per_image.mean", "per_image.std")


def images_of(count: int, seed: int = 0, dtype: Any = np.uint8, sizes: tuple[int, int] = (1, 30)) -> list[np.ndarray]:
    """Images whose brightness, contrast and size differ."""
    rng = np.random.default_rng(seed)
    top = 255 if dtype == np.uint8 else 65535
    images = []
    for _ in range(count):
        level, spread = rng.uniform(0.2, 0.8, 3) * top, rng.uniform(0.02, 0.2) * top
        pixels = rng.normal(level, spread, (*rng.integers(*sizes, 2), 3))
        images.append(np.clip(pixels, 0, top).astype(dtype))
    return images


def stats_of(images: list[np.ndarray], **fields: Any) -> Stats:
    totals = Totals()
    totals.fold(rows_of(images))
    return Stats(totals, **fields)


def products_of(images: list[np.ndarray], channel: int = 0, about: Any = 0) -> list[Any]:
    found = [Fraction(0)] * 7
    for image in images:
        values = [Fraction(x) - about for x in image[..., channel].ravel().tolist()]
        n, s, q = len(values), sum(values), sum(x * x for x in values)
        found = [x + y for x, y in zip(found, (n * n, n * s, s * s, n * q, s * q, q * q, n**4), strict=True)]
    return found


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_products_are_exact_up_to_64_bits(data: st.DataObject) -> None:
    rows, channels = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    top = st.integers(0, 2**64 - 1)
    small = st.integers(0, 2**32 - 1)
    n, s, q = ([[data.draw(x) for _ in range(channels)] for _ in range(rows)] for x in (small, top, top))
    starts = sorted({0, *data.draw(st.lists(st.integers(0, rows - 1)))})
    found = exact_products(*(np.array(x, np.uint64) for x in (n, s, q)), starts)
    for segment, (start, stop) in zip(found, itertools.pairwise([*starts, rows]), strict=True):
        for c in range(channels):
            expected = [0] * 7
            for i in range(start, stop):
                a, b, d = n[i][c], s[i][c], q[i][c]
                expected = [
                    x + y for x, y in zip(expected, (a * a, a * b, b * b, a * d, b * d, d * d, a**4), strict=True)
                ]
            assert segment[c] == expected


def test_products_that_fit_where_their_sum_does_not() -> None:
    n, total = np.full((4, 1), 2**31, np.uint64), np.full((4, 1), 2**32 - 1, np.uint64)
    (found,) = exact_products(n, total, total, [0])
    assert found == [
        [4 * 2**62, *[4 * 2**31 * (2**32 - 1), 4 * (2**32 - 1) ** 2] * 2, 4 * (2**32 - 1) ** 2, 4 * 2**124]
    ]


def test_taking_a_value_from_every_pixel() -> None:
    images = images_of(5, sizes=(1, 4))
    assert shifted(products_of(images), Fraction(100, 7)) == products_of(images, about=Fraction(100, 7))


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_they_merge_in_any_order(cut: int) -> None:
    images = images_of(7, sizes=(1, 6))
    whole = stats_of(images).totals["moments"]["products"]
    assert whole == [[int(x) for x in products_of(images, c)] for c in range(3)]
    for first, second in ((images[:cut], images[cut:]), (images[cut:], images[:cut])):
        both = stats_of(first) + stats_of(second)
        assert both.totals["moments"]["products"] == whole


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_errors_are_those_of_the_delta_method(dtype: Any) -> None:
    """Written out with floats, image by image."""
    images = images_of(40, 1, dtype)
    top = np.iinfo(dtype).max
    stats = stats_of(images)
    n = np.array([image[..., 0].size for image in images])
    s = np.array([(image[..., 1] / top).sum() for image in images])
    q = np.array([((image[..., 1] / top) ** 2).sum() for image in images])
    mean, var = s.sum() / n.sum(), q.sum() / n.sum() - (s.sum() / n.sum()) ** 2
    k, effective = len(images), n.sum() ** 2 / (n**2).sum()
    corrected = (k - 1) / k * (effective / (effective - 1)) ** 2
    of_mean = (((s - mean * n) / n.sum()) ** 2).sum() * corrected
    of_var = (((q - 2 * mean * s + (mean**2 - var) * n) / n.sum()) ** 2).sum() * corrected
    assert stats.stderr("mean", of="population")[1] == pytest.approx(math.sqrt(of_mean), rel=1e-9)
    assert stats.stderr("std", of="population")[1] == pytest.approx(math.sqrt(of_var / (4 * var)), rel=1e-9)
    means, stds = s / n, np.array([(image[..., 1] / top).std() for image in images])
    for name, values in (("per_image.mean", means), ("per_image.std", stds)):
        expected = values.std(ddof=1) / math.sqrt(k)
        assert stats.stderr(name, of="population")[1] == pytest.approx(expected, rel=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "near"), [(20, 0.25), (50, 0.1), (400, 0.01)])
def test_the_jackknife_agrees(count: int, near: float) -> None:
    images = images_of(count, count)
    sums = [Totals() for _ in images]
    for totals, image in zip(sums, images, strict=True):
        totals.fold(rows_of([image]))
    n, s, q = (np.array([t["moments"][name] for t in sums], float) for name in ("n", "sum", "sumsq"))
    n1, s1, q1 = (x.sum(axis=0) - x for x in (n, s, q))
    mean = s1 / n1
    for name, left_out in (("mean", mean), ("std", np.sqrt(q1 / n1 - mean**2))):
        jackknife = np.sqrt((count - 1) / count * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)) / 255
        assert stats_of(images).stderr(name, of="population") == pytest.approx(jackknife, rel=near)  # type: ignore[arg-type]


def test_images_of_one_size_have_the_error_of_an_average() -> None:
    images = images_of(30, sizes=(8, 9))
    means = np.array([image.mean(axis=(0, 1)) for image in images]) / 255
    expected = means.std(axis=0, ddof=1) / math.sqrt(30)
    stats = stats_of(images)
    assert stats.stderr("mean", of="population") == pytest.approx(expected, rel=1e-9)
    assert stats.stderr("per_image.mean", of="population") == pytest.approx(expected, rel=1e-9)


def test_float_images_have_the_errors_of_the_same_integers() -> None:
    images = images_of(25)
    whole = gpustats.compute(images, layout="HWC", progress=False)
    floats = gpustats.compute([(x / 255).astype(np.float64) for x in images], layout="HWC", progress=False)
    far = gpustats.compute([(x / 255).astype(np.float64) + 1e4 for x in images], layout="HWC", progress=False)
    for name in ERRORS:
        expected = whole.stderr(name, of="population")  # type: ignore[arg-type]
        assert floats.stderr(name, of="population") == pytest.approx(expected, rel=1e-9), name  # type: ignore[arg-type]
        assert far.stderr(name, of="population") == pytest.approx(expected, rel=1e-6), name  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [1, 12, 24])
def test_float_sums_merge(cut: int) -> None:
    images = [(x / 255).astype(np.float32) + 100 for x in images_of(25)]
    parts = [gpustats.compute(x, layout="HWC", progress=False) for x in (images[:cut], images[cut:], images)]
    both = parts[0] + parts[1]
    for name in ERRORS:
        errors = [x.stderr(name, of="population") for x in (both, parts[2])]  # type: ignore[arg-type]
        assert errors[0] == pytest.approx(errors[1], rel=1e-9), name


def test_floats_whose_products_are_too_large_have_no_error_and_keep_the_rest() -> None:
    images = [np.full((2, 2, 1), value) for value in (1e120, 3e120)]
    stats = gpustats.compute(images, layout="HWC", progress=False)
    assert stats.mean.tolist() == [2e120]
    assert stats.totals["moments"]["products"] is None
    with pytest.raises(ValueError, match=r"not known: .* its values are too large"):
        stats.stderr("mean", of="population")
    one, two = (gpustats.compute([image], layout="HWC", progress=False) for image in images)
    assert (one + two).totals["moments"]["products"] is None
    assert Stats.from_dict(stats.to_dict()) == stats
    for a, b in ((None, [[1.0] * 7]), ([[1.0] * 7], None), (None, None)):
        assert float_sums((a, [0.0]), (b, [0.0]), [0.0]) is None
    assert float_sums(([[1.0] * 7], [1e100]), ([[1.0] * 7], [0.0]), [0.0]) is None  # beyond a float
    assert float_products(np.ones((1, 1)), np.zeros((1, 1)), np.full((1, 1), 1e200)) is None


def test_a_result_of_an_earlier_version_has_no_error() -> None:
    stats = stats_of(images_of(3))
    old = stats.totals.to_dict()
    del old["moments"]["products"]
    again = Totals.from_dict(old)
    assert again["moments"]["products"] is None
    assert again.to_dict() == old, "the checksum of the file is of these"
    for both in (Stats(again) + stats, stats + Stats(again)):
        assert both.mean.tolist() == stats.mean.tolist()
        with pytest.raises(ValueError, match="saved by an earlier version"):
            both.stderr()


@pytest.mark.parametrize("bad", [1, None, [1] * 3, [[1] * 6] * 3, [[1] * 8] * 3, [[1.0] * 7] * 3, [[-1] * 7] * 3])
def test_saved_sums_that_are_none_are_refused(bad: Any) -> None:
    data = stats_of(images_of(3)).totals.to_dict()
    with pytest.raises(DataError, match="'products' should"):
        Totals.from_dict(data | {"moments": data["moments"] | {"products": bad}})


def test_a_full_run_has_no_sampling_error_and_that_of_a_population() -> None:
    stats = stats_of(images_of(50))
    for name in ERRORS:
        assert stats.stderr(name).tolist() == [0.0] * 3  # type: ignore[arg-type]
        assert stats.confidence_interval(0.9, name).tolist() == [stats.number(name).tolist()] * 2  # type: ignore[arg-type]
        assert (stats.stderr(name, of="population") > 0).all()  # type: ignore[arg-type]


def test_the_correction_for_a_finite_population() -> None:
    images = images_of(50)
    sample = stats_of(images, estimate=Estimate(50, 200))
    for name in ERRORS:
        full = sample.stderr(name, of="population")  # type: ignore[arg-type]
        assert sample.stderr(name) == pytest.approx(full * math.sqrt(0.75))  # type: ignore[arg-type]
    scaled = sample.scaled(255)
    assert scaled.stderr("std") == pytest.approx(255 * sample.stderr("std"))
    assert stats_of(images, estimate=Estimate(50, 50)).stderr().tolist() == [0.0] * 3


def test_an_interval_reaches_to_both_sides_by_student() -> None:
    stats = stats_of(images_of(12, sizes=(8, 9)), estimate=Estimate(12, 10**9))
    low, high = stats.confidence_interval(0.9, "mean")
    assert low + high == pytest.approx(2 * stats.mean)
    assert (high - low) / 2 == pytest.approx(1.795885 * stats.stderr("mean"), rel=1e-4)  # 11 degrees of freedom
    large = stats_of([np.zeros((90, 90, 3), np.uint8) + 9, *images_of(11, sizes=(8, 9))], estimate=Estimate(12, 10**9))
    width = large.half_width("mean", 0.9) / large.stderr("mean")
    assert width == pytest.approx([6.3138] * 3, rel=2e-2), "an image that is most of all leaves no degree but the last"


def test_students_t() -> None:
    """Tables of t, as in Abramowitz and Stegun, table 26.10."""
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980, 1e9: 1.960}
    assert student(0.95, np.array([*table], float)).tolist() == pytest.approx([*table.values()], abs=6e-4)
    assert student(0.5, np.array([4.0]))[0] == pytest.approx(0.741, abs=1e-3)
    assert student(0.999, np.array([4.0]))[0] == pytest.approx(8.610, abs=1e-3)
    assert student(0.95, np.array([1.5]))[0] == pytest.approx(6.0167, rel=0.01)
    assert np.isnan(student(0.95, np.array([0.5, math.nan]))).all()


def test_the_error_of_one_image_is_not_known() -> None:
    stats = stats_of(images_of(1), estimate=Estimate(1, 9))
    for name in ERRORS:
        assert np.isnan(stats.stderr(name)).all()  # type: ignore[arg-type]
        assert np.isnan(stats.confidence_interval(0.95, name)).all()  # type: ignore[arg-type]
    assert Stats().stderr().tolist() == []


def test_images_that_are_all_the_same_have_an_error_of_zero() -> None:
    stats = stats_of([np.full((3, 4, 3), 7, np.uint8)] * 5, estimate=Estimate(5, 100))
    for name in ERRORS:
        assert stats.stderr(name).tolist() == [0.0] * 3  # type: ignore[arg-type]
        low, high = stats.confidence_interval(0.95, name)  # type: ignore[arg-type]
        assert low.tolist() == high.tolist() == stats.number(name).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.stderr("median"), "the error of 'median' is not known; that of mean, std, per_image.mean"),
        (lambda s: s.stderr("mean", of="world"), "of should be 'dataset' or 'population', got 'world'"),
        (lambda s: s.confidence_interval(95), "level should be a number above 0 and below 1, such as 0.95, got 95"),
        (lambda s: s.confidence_interval(0), "level should be"),
        (lambda s: s.confidence_interval(True), "level should be"),
        (lambda s: s.confidence_interval("0.95"), "level should be"),
    ],
)
def test_wrong_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(stats_of(images_of(3)))
