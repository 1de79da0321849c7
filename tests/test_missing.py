"""Values that do not count: masked, no data, NaN and infinity. NumPy on the valid values is the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.errors import DataError, DeviceError
from gpustats.failures import ImageError
from gpustats.statistics.builder import RowBuilder
from gpustats.statistics.missing import check_nodata, present

DTYPES = ["uint8", "uint16", "float16", "float32", "float64"]


def images(dtype: str, channels: int, count: int = 5) -> list[np.ndarray]:
    """Images of odd sizes with every value from 3 to 250."""
    rng = np.random.default_rng(channels)
    return [rng.integers(3, 251, (7 + i, 11 + 2 * i, channels)).astype(dtype) for i in range(count)]


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, layout="HWC", progress=False, workers=2, **options)


def expected(values: list[np.ma.MaskedArray]) -> tuple[list[float], list[float], list[int]]:
    """Mean, std and number of the valid values of each channel, by NumPy in float64."""
    channels = [
        np.concatenate([v[:, :, c].compressed() for v in values]).astype(np.float64) for c in range(values[0].shape[2])
    ]
    return [c.mean() for c in channels], [c.std() for c in channels], [c.size for c in channels]


def check(stats: gpustats.Stats, values: list[np.ma.MaskedArray]) -> None:
    unit = {"uint8": 255, "uint16": 65535}.get(values[0].dtype.name, 1)
    mean, std, n = expected(values)
    np.testing.assert_allclose(stats.mean * unit, mean, rtol=1e-12)
    np.testing.assert_allclose(stats.std * unit, std, rtol=1e-10)
    assert stats.totals["moments"]["n"] == n
    assert stats.valid_share.tolist() == [x / stats.n_pixels for x in n]
    assert stats.n_images == len(values)
    assert stats.totals["moments"]["min"] == [min(v[:, :, c].min() for v in values) for c in range(len(n))]
    per_image = np.mean([[np.std(v[:, :, c].compressed().astype("f8")) for c in range(len(n))] for v in values], axis=0)
    np.testing.assert_allclose(stats.per_image.std * unit, per_image, rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("order", ["C", "planar"])
def test_masked_arrays(dtype: str, channels: int, order: str) -> None:
    rng = np.random.default_rng(0)
    masked = [np.ma.MaskedArray(image, rng.random(image.shape) < 0.3) for image in images(dtype, channels)]
    if order == "planar":
        masked = [v.transpose(2, 0, 1).copy().transpose(1, 2, 0) for v in masked]
    masked[1] = np.ma.MaskedArray(masked[1].data)  # nothing is masked
    check(compute(masked), masked)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_nodata(dtype: str, channels: int) -> None:
    plain = images(dtype, channels)
    for image in plain[:3]:
        image[::3, 1::2] = 7
    masked = [np.ma.masked_equal(image, 7) for image in plain]
    stats = compute(plain, nodata=7)
    check(stats, masked)
    assert stats.definition.nodata == (7.0,)
    if stats.exact:
        assert compute(masked).totals == stats.totals


def test_masked_values_and_no_data_together() -> None:
    masked = [np.ma.MaskedArray(image, image % 5 == 0) for image in images("uint8", 3)]
    check(compute(masked, nodata=7), [np.ma.MaskedArray(v.data, v.mask | (v.data == 7)) for v in masked])


def test_a_whole_pixel_that_stands_for_no_data() -> None:
    plain = images("uint8", 3)
    for image in plain:
        image[2, 3] = (5, 5, 5)
        image[1, 1] = (5, 5, 6)
    stats = compute(plain, nodata=(5, 5, 5), statistics=["histogram", "covariance"])
    masked = [np.ma.MaskedArray(v, np.repeat((v == 5).all(axis=2)[:, :, None], 3, axis=2)) for v in plain]
    check(stats, masked)
    pixels = np.concatenate([v.data[~v.mask[:, :, 0]] for v in masked]).astype(np.float64)
    np.testing.assert_allclose(stats.covariance * 255**2, np.cov(pixels.T, ddof=0), rtol=1e-12)
    counts = [np.bincount(pixels[:, c].astype(int), minlength=256).tolist() for c in range(3)]
    assert stats.histogram.tolist() == counts


def test_a_histogram_of_channels_with_other_pixels_missing() -> None:
    plain = images("uint8", 2)
    stats = compute(plain, nodata=9, statistics=["histogram"])
    for c in range(2):
        values = np.concatenate([v[:, :, c].ravel() for v in plain])
        assert stats.histogram[c].tolist() == np.bincount(values[values != 9], minlength=256).tolist()
    with pytest.raises(DataError, match="valid in all channels or in none"):
        compute(plain, nodata=9, statistics=["covariance"], on_error="raise")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_left_out(dtype: str, bad: float) -> None:
    plain = images(dtype, 3)
    for i, image in enumerate(plain):
        image[i, i, i % 3] = bad
    masked = [np.ma.masked_invalid(image) for image in plain]
    check(compute(plain), masked)
    for image in plain:
        image[0, 0] = -9999  # -10,000 as float16
    stored = plain[0].dtype.type(-9999)
    check(compute(plain, nodata=-9999), [np.ma.masked_equal(np.ma.masked_invalid(v), stored) for v in plain])


def test_what_the_result_says(tmp_path: Path) -> None:
    image = images("uint8", 3)[0]
    image[:] = 50
    image[0, 0] = 7
    image[0, 1, 0] = 7
    stats = compute([image], nodata=7)
    pixels = image.shape[0] * image.shape[1]
    assert f"valid pixels: R {(pixels - 2) / pixels:.4%}, G {(pixels - 1) / pixels:.4%}" in str(stats)
    assert f"{(pixels - 1) / pixels:.4%} of the pixels are valid" in str(compute([image], nodata=(7, 7, 7)))
    assert "valid" not in str(compute([image]))
    stats.save(tmp_path / "a.json")
    again = gpustats.Stats.load(tmp_path / "a.json")
    assert again.definition.nodata == (7.0,)
    assert again.valid_share.tolist() == stats.valid_share.tolist()
    assert gpustats.Stats().valid_share.tolist() == []
    with pytest.raises(ValueError, match="nodata"):
        stats + compute([image])


def test_results_without_the_field_are_still_read(tmp_path: Path) -> None:
    stats = compute(images("uint8", 3))
    data = stats.to_dict()
    del data["definition"]["nodata"]
    (tmp_path / "old.json").write_text(json.dumps(data))
    assert gpustats.Stats.load(tmp_path / "old.json").definition == stats.definition
    for wrong in ({"nodata": ["7"]}, {"nodata": 7.0}, {"other": 1}):
        data["definition"] |= wrong
        (tmp_path / "bad.json").write_text(json.dumps(data))
        with pytest.raises(DataError, match="'definition' should hold"):
            gpustats.Stats.load(tmp_path / "bad.json")
        for name in wrong:
            del data["definition"][name]


def test_an_image_without_a_valid_pixel_is_a_failure() -> None:
    good, empty = images("uint8", 3)[:2]
    empty[:, :, 1] = 7
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute([good, empty], nodata=7)
    (failure,) = stats.failures
    assert (failure.reason, "no valid pixel" in failure.message) == ("unsupported", True)
    assert stats.n_images == 1


def test_no_data_in_files(tmp_path: Path) -> None:
    pixels = np.full((10, 12, 3), 90, np.uint8)
    pixels[:4] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    plain: dict[str, Any] = {"progress": False, "workers": 1}
    stats = gpustats.compute(tmp_path, nodata=(0, 0, 0), checkpoint=tmp_path / "kept", **plain)
    assert (stats.mean * 255).tolist() == [90, 90, 90]
    assert stats.valid_share.tolist() == [0.6] * 3
    assert stats.runs[0]["gpu_not_used"] == "values that stand for no data are left out on the CPU"
    assert gpustats.compute(tmp_path, nodata=(0, 0, 0), checkpoint=tmp_path / "kept", **plain).totals == stats.totals
    assert (
        gpustats.compute(tmp_path / "a.png", nodata=(0, 0, 0), isolate=True, **plain).totals["moments"]
        == (stats.totals["moments"])
    )
    with pytest.raises(DataError, match="nodata"):
        gpustats.compute(tmp_path, checkpoint=tmp_path / "kept", **plain)
    with pytest.raises(DeviceError, match="no data are left out on the CPU"):
        gpustats.compute(tmp_path, nodata=0, device="gpu", progress=False)


def test_masked_arrays_keep_their_mask_on_the_way(tmp_path: Path) -> None:
    values = np.ma.masked_less(np.arange(2 * 8 * 9, dtype=np.uint8).reshape(2, 8, 9), 20)
    stats = gpustats.compute(values, layout="NHW", progress=False)
    assert stats.totals["moments"]["sum"] == [int(values.sum())]
    cropped = gpustats.compute(values, layout="NHW", crop=(4, 5), progress=False)
    assert cropped.totals["moments"]["sum"] == [int(values[:, 2:6, 2:7].sum())]
    isolated = gpustats.compute(values, layout="NHW", isolate=True, workers=1, progress=False)
    assert isolated.totals == stats.totals
    with pytest.raises(DataError, match="with masked values cannot be resized"):
        gpustats.compute(values, layout="NHW", resize=4, on_error="raise", progress=False)


@pytest.mark.parametrize("bad", ["7", True, (), [], (1, "2"), np.nan, np.inf, (0, np.nan), {}, object()])
def test_what_is_no_value(bad: Any) -> None:
    with pytest.raises(ValueError, match="nodata should be a number"):
        check_nodata(bad)
    assert check_nodata(np.float32(2)) == (2.0,)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", -9999), ("uint8", 256), ("uint8", 0.5), ("uint16", 65536), ("float16", 1e30), ("float32", 1e300)],
)
def test_a_value_that_the_type_cannot_hold(dtype: str, nodata: float) -> None:
    with pytest.raises(
        ImageError, match=f"cannot occur among pixels of type {dtype}, which holds .* from -?[0-9.e+]+ to [0-9.e+]+$"
    ):
        present(np.zeros((2, 2, 1), dtype), (float(nodata),))


def test_a_value_for_each_of_other_channels() -> None:
    with pytest.raises(ImageError, match="nodata has 2 numbers, and the image 3 channels"):
        present(np.zeros((2, 2, 3), np.uint8), (0.0, 0.0))


def test_the_fast_way_is_not_taken_by_masked_arrays() -> None:
    builder = RowBuilder(2, ("moments",))
    builder.add("a", "", np.full((4, 4, 3), 9, np.uint8))
    diagonal = np.repeat(np.eye(4, dtype=bool)[:, :, None], 3, axis=2)
    builder.add("b", "", np.ma.MaskedArray(np.full((4, 4, 3), 9, np.uint8), diagonal))
    assert builder.rows().columns["moments.n"].tolist() == [[16] * 3, [12] * 3]
