"""Integers of 8 to 32 bits, signed and unsigned: every number is that of Python's integers, whatever the parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32")


def images(dtype: str, shape: tuple[int, ...] = (6, 9, 7, 3)) -> Any:
    """Return images with both ends of the type, of which some are constant."""
    limits = np.iinfo(dtype)
    array = np.random.default_rng(3).integers(limits.min, limits.max, shape, dtype=np.int64, endpoint=True)
    array[0, ..., 0], array[1, ..., -1] = limits.min, limits.max
    return array.astype(dtype)


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, layout="NHWC", progress=False, workers=1, **options)


@pytest.mark.parametrize("dtype", [*TYPES, ">i2", ">u4", ">i4"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_every_integer_is_that_of_python(dtype: str, channels: int) -> None:
    for array in (images(dtype, (6, 9, 7, channels)), images(dtype, (6, channels, 9, 7)).transpose(0, 2, 3, 1)):
        array = array.astype(dtype)
        stats = compute(array)
        wide = array.reshape(-1, channels).astype(object)
        found = stats.totals["moments"]
        assert (found["sum"], found["sumsq"]) == (wide.sum(axis=0).tolist(), (wide**2).sum(axis=0).tolist())
        assert (found["min"], found["max"]) == (wide.min(axis=0).tolist(), wide.max(axis=0).tolist())
        assert stats.exact
        floats = array.astype(np.float64)
        unit = stats.value_range or 1
        assert np.allclose(stats.mean * unit, floats.mean(axis=(0, 1, 2)), rtol=1e-9)
        assert np.allclose(stats.std * unit, floats.std(axis=(0, 1, 2)), rtol=1e-12)
        of_images = {
            "mean": floats.mean(axis=(1, 2)).mean(axis=0),
            "std": floats.std(axis=(1, 2)).mean(axis=0),
            "std_unbiased": floats.std(axis=(1, 2), ddof=1).mean(axis=0),
            "rms_std": np.sqrt(floats.var(axis=(1, 2)).mean(axis=0)),
        }
        for name, expected in of_images.items():
            assert np.allclose(getattr(stats.per_image, name) * unit, expected, rtol=1e-9, atol=1e-6), name
        assert np.allclose(stats.std_of_means * unit, floats.mean(axis=(1, 2)).std(axis=0), rtol=1e-9)
        products = found["products"][0]
        sums = [image[..., 0].astype(object).ravel() for image in array]
        assert products[4] == sum(int(x.sum()) * int((x**2).sum()) for x in sums)


@pytest.mark.parametrize("dtype", TYPES)
def test_any_parts_in_any_order_are_the_whole(dtype: str, tmp_path: Path) -> None:
    array = images(dtype, (40, 5, 4, 2))
    whole = compute(array, statistics=["covariance"] if "32" not in dtype else [])
    for split in (1, 13, 39):
        first, second = (gpustats.Accumulator(layout="NHWC", statistics=whole.totals.statistics) for _ in range(2))
        first.update(array[split:])
        second.update(array[:split])
        for name in whole.totals.statistics:
            assert (second.result() + first.result()).totals[name] == whole.totals[name], name
    groups = compute(array, group_by=lambda key: str(int(key) % 3)).groups
    pooled = sum(groups.values())
    assert pooled.totals == compute(array).totals
    whole.save(tmp_path / "a.json")
    assert gpustats.Stats.load(tmp_path / "a.json") == whole


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_covariance_of_signed_integers(dtype: str) -> None:
    array = images(dtype)
    stats = compute(array, statistics=["covariance"])
    assert np.allclose(stats.covariance, np.cov(array.reshape(-1, 3).T.astype(np.float64), ddof=0), rtol=1e-12)
    with pytest.raises(gpustats.DataError, match="exact for 8- and 16-bit integers only"):
        compute(array.astype(np.int32), statistics=["covariance"])


def test_sums_of_squares_beyond_64_bits() -> None:
    image = np.full((1, 1 << 10, 1 << 9, 1), 65535, np.uint16)
    image[0, 0, 0] = 0
    total = gpustats.Accumulator(layout="NHWC").update(image)
    for _ in range(14):
        total.merge(total)
    n = image.size << 14
    part = total.result().totals["moments"]
    assert part["sumsq"] == [(n - (1 << 14)) * 65535**2]
    assert part["sumsq"][0] > 1 << 64
    share = 1 / image.size
    assert np.allclose(total.result().std, np.sqrt(share * (1 - share)), rtol=1e-12)
    wide = np.full((2, 200, 300, 1), 0xFFFFFFFF, np.uint32)
    wide[0, 0, 0] = 0xFFFFFFF0
    stats = compute(wide)
    assert stats.totals["moments"]["sumsq"] == [0xFFFFFFFF**2 * 119_999 + 0xFFFFFFF0**2]
    assert np.isclose(stats.std[0], wide.astype(object).ravel().astype(np.float128).std(), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_64_bits_are_measured_where_the_values_fit_into_32(dtype: str) -> None:
    narrow = "int32" if dtype == "int64" else "uint32"
    array = images(narrow)
    assert compute(array.astype(dtype)) == compute(array)
    array = array.astype(dtype)
    array[5, 0, 0, 0] = np.iinfo(narrow).max + 1
    with pytest.warns(gpustats.ImagesFailedWarning, match=rf"pixels of type {dtype} are measured where they fit into"):
        assert compute(array).n_images == 5
    masked = np.ma.MaskedArray(array[5:], array[5:] > np.iinfo(narrow).max)
    assert compute(masked).totals["moments"]["n"] == [62, 63, 63], "a masked value need not fit"


def test_missing_values_of_signed_images() -> None:
    array = np.array([[[-9999, 2, -9999, 4]]], np.int16)[..., None]
    stats = compute(array.reshape(1, 1, 4, 1), nodata=-9999)
    assert (stats.mean.tolist(), stats.totals["moments"]["sumsq"], stats.min.tolist()) == ([3.0], [20], [2.0])


@pytest.mark.parametrize("dtype", TYPES)
def test_the_table_of_images(dtype: str) -> None:
    pytest.importorskip("pyarrow")
    array = images(dtype)
    stats = compute(array, per_image=True)
    table, unit = stats.image_table.to_pydict(), stats.value_range or 1
    names = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}
    for channel, letter in enumerate("RGB"):
        for name, function in names.items():
            expected = [float(function(image[..., channel].astype(np.float64))) / unit for image in array]
            assert np.allclose(table[f"{name}_{letter}"], expected, rtol=1e-9, atol=1e-9), (name, letter)


def test_a_damaged_result_of_signed_integers_is_refused() -> None:
    stats = compute(images("int16"))
    for name, value, message in [
        ("n", -1, "'n' should be a non-negative integer"),
        ("sum", 1.5, "'sum' should be an integer"),
        ("min", -40000, "contradict"),
        ("sumsq", 10**15, "contradict"),
        ("sumsq", -1, "contradict"),
    ]:
        data = stats.to_dict()
        data["totals"]["moments"][name] = [value] * 3
        with pytest.raises(gpustats.DataError, match=message):
            gpustats.Stats.from_dict(data)
