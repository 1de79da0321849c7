"""`value_range` decides what is shown as 1.0: by the user or by the file, and results of different ones stay apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

import gpustats
from gpustats.definition import Definition
from gpustats.engines.device import _cpu_only
from tests.images import encoded, photo

DEEP = np.random.default_rng(4).integers(0, 4096, (5, 9, 7, 3)).astype(np.uint16)
DEEP[0, 0, 0] = 4095
GREY = DEEP[0, ..., 0].copy()


def compute(data: Any, **options: Any) -> gpustats.Stats:
    options.setdefault("layout", "NHWC" if isinstance(data, np.ndarray) else "auto")
    return gpustats.compute(data, progress=False, workers=1, **options)


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [("uint8", 200), ("uint16", 4095), ("uint32", 1000.5), ("int8", 128), ("int16", 32768), ("float32", 255)],
)
def test_numbers_are_those_of_the_values_divided_by_it(dtype: str, value_range: float) -> None:
    signed = dtype[0] != "u"
    values = np.random.default_rng(0).integers(-100 if signed else 0, 101, (4, 9, 7, 2)).astype(dtype)
    stats = compute(values, value_range=value_range)
    expected = values.reshape(-1, 2).astype(np.float64) / value_range
    assert stats.value_range == value_range
    for name in ("mean", "std", "min", "max"):
        assert np.allclose(getattr(stats, name), getattr(np, name)(expected, axis=0), rtol=1e-12), name
    plain = compute(values)
    assert np.allclose(plain.mean, expected.mean(axis=0) * value_range / (plain.value_range or 1))
    assert stats.totals["moments"] == plain.totals["moments"], "it changes the scale and no integer"
    assert f"values divided by {value_range}" in repr(stats)
    assert gpustats.Stats.from_dict(stats.to_dict()) == stats


def test_the_usual_range_may_be_said() -> None:
    assert compute(DEEP, value_range=65535) == compute(DEEP)
    assert compute(DEEP).value_range == 65535
    assert compute(DEEP.astype(np.int32)).value_range is None
    assert "integers as they are" in repr(compute(DEEP.astype(np.int32)))
    assert gpustats.Stats().value_range is None


def test_values_above_it_fail() -> None:
    small = DEEP.clip(0, 4000)
    with pytest.warns(gpustats.ImagesFailedWarning, match="1 of 2 images"):
        stats = compute([DEEP[0], small[1]], value_range=4094, layout="HWC")
    (failure,) = stats.failures
    assert (failure.key, failure.reason) == ("0", "unsupported")
    assert failure.message == "it has the value 4095, and value_range=4,094"
    assert compute([DEEP[0]], value_range=4094, nodata=4095, layout="HWC").n_images == 1, "what counts is below"
    with pytest.raises(gpustats.AllImagesFailed, match=r"it has the value 1.5, and value_range=1"):
        compute(np.full((1, 4, 4, 1), 1.5, np.float32), value_range=1)
    with pytest.raises(gpustats.AllImagesFailed, match="value_range=4,095 is for other images: these are of type"):
        compute(DEEP.astype(np.uint8), value_range=4095)
    with pytest.warns(gpustats.ImagesFailedWarning, match="1: unsupported: it has the value 101, and value_range=100"):
        compute(np.array([100, 101, 99], np.uint8).reshape(3, 1, 1, 1), value_range=100)
    assert compute(DEEP.astype(np.uint8), value_range=256).value_range == 256


def test_results_of_different_ranges_stay_apart(tmp_path: Path) -> None:
    first, second = compute(DEEP[:2], value_range=4095), compute(DEEP[2:], value_range=4095)
    pooled = first + second
    assert (pooled.totals["moments"], pooled.value_range) == (compute(DEEP).totals["moments"], 4095)
    with pytest.raises(gpustats.MergeError, match=r"16 bits, where 1.0 is 4095 cannot be pooled with .* of 16 bits;"):
        first + compute(DEEP[2:])
    first.save(tmp_path / "first.json")
    again = gpustats.Stats.load(tmp_path / "first.json")
    assert (again == first, again.value_range, again.definition.value_range) == (True, 4095, 4095.0)
    for damage in (-1, "4095", 0):
        data = first.to_dict()
        data["totals"]["kind"]["value_range"] = damage
        with pytest.raises(gpustats.DataError, match=r"no kind of image has 1.0 at"):
            gpustats.Stats.from_dict(data)
    with pytest.raises(gpustats.DataError, match="'definition' should hold"):
        gpustats.Stats.from_dict({**first.to_dict(), "definition": {**first.definition.to_dict(), "value_range": -1.0}})


def test_groups_checkpoints_and_processes_keep_it(tmp_path: Path) -> None:
    for i, array in enumerate(DEEP):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        (tmp_path / str(i % 2) / f"{i}.png").write_bytes(imagecodecs.png_encode(array))
    usual = {"value_range": 4095, "group_by": "folder", "statistics": ["covariance"]}
    stats = compute(tmp_path, **usual)
    assert stats.totals["moments"] == compute(DEEP).totals["moments"]
    assert [group.value_range for group in stats.groups.values()] == [4095, 4095]
    for options in (
        {"isolate": True},
        {"checkpoint": tmp_path / "c"},
        {"checkpoint": tmp_path / "c"},
        {"mode": "native"},
    ):
        again = compute(tmp_path, **usual, **options)
        assert (again.totals, again.value_range) == (stats.totals, 4095)
    with pytest.raises(gpustats.DataError, match="checkpoint"):
        compute(tmp_path, checkpoint=tmp_path / "c", **{**usual, "value_range": 65535})


def test_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 4095\n\x03\xff\x0f\xff")
    (tmp_path / "b.jp2").write_bytes(imagecodecs.jpeg2k_encode(GREY, level=0, reversible=True, bitspersample=12))
    stats = compute(tmp_path, mode="native")
    assert (stats.n_images, stats.value_range, stats.max.tolist()) == (2, 4095, [1.0])
    (tmp_path / "c.png").write_bytes(imagecodecs.png_encode(GREY))
    message = (
        "has 1 channel of 16 bits, .* where 1.0 is 4095; these cannot be pooled, compute them separately .*, or say"
    )
    with pytest.raises(gpustats.DataError, match=message):
        compute(tmp_path, mode="native")
    assert compute(tmp_path, mode="native", value_range=4095).n_images == 3, "the user rules"
    assert compute(tmp_path / "a.pgm", mode="native", value_range=8000).value_range == 8000
    few = tmp_path / "few"
    few.mkdir()
    small = (GREY >> 8).astype(np.uint8)
    (few / "a.png").write_bytes(imagecodecs.png_encode(small))
    (few / "b.jp2").write_bytes(imagecodecs.jpeg2k_encode(small, level=0, reversible=True, bitspersample=4))
    with pytest.raises(gpustats.DataError, match=r"b.jp2 has 1 channel of 8 bits, where 1.0 is 15"):
        compute(few, mode="native")


def test_as_grey(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(DEEP[0, ..., :2].copy()))
    assert compute(tmp_path, mode="L", value_range=4095).max.tolist() == [DEEP[0, ..., 0].max() / 4095]
    masked = compute(tmp_path, value_range=4095, alpha="mask")
    assert masked.valid_share.tolist() == [(DEEP[0, ..., 1] > 0).mean()] * 3
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(DEEP[0]))
    with pytest.raises(gpustats.AllImagesFailed, match="3 channels are not L; use mode='native'"):
        compute(tmp_path, mode="L", value_range=4095)
    (tmp_path / "a.jpg").write_bytes(encoded(photo(8, 8)))
    with pytest.warns(gpustats.ImagesFailedWarning, match="value_range=4,095 is for other images"):
        compute(tmp_path, value_range=4095)


def test_export_and_compare() -> None:
    stats, usual = compute(DEEP, value_range=4095), compute((DEEP >> 4).astype(np.uint8))
    assert stats.export("plain").startswith("# RGB, values divided by 4095; mean")
    assert "max_pixel_value=4095.0" in stats.export("albumentations")
    with pytest.raises(gpustats.DataError, match="takes images of 8 bits"):
        compute(usual.totals and (DEEP >> 4).astype(np.uint8), value_range=256).export("timm")
    notes = stats.compare(usual).notes
    assert any("values are divided by 4,095" in note for note in notes)
    assert abs(stats.compare(usual).mean_shift).max() < 0.05
    signed = compute(DEEP.astype(np.int16))
    with pytest.raises(gpustats.DataError, match=r"integer values that reach 4095, .* value_range"):
        signed.compare(usual)
    assert "integers as they are" in signed.export("plain")


def test_the_accumulator() -> None:
    total = gpustats.Accumulator(layout="NHWC", value_range=4095)
    for part in (DEEP[:1], DEEP[1:]):
        total = total.update(part)
    assert total.result().mean.tolist() == compute(DEEP, value_range=4095).mean.tolist()
    assert total.result().definition.value_range == 4095
    with pytest.raises(gpustats.MergeError):
        total.merge(gpustats.Accumulator(layout="NHWC").update(DEEP))


@pytest.mark.parametrize("value_range", [0, -1, True, "255", float("nan"), (0, 255)])
def test_wrong_values(value_range: Any) -> None:
    with pytest.raises(gpustats.OptionError, match=r"value_range should be the pixel value that is shown as 1.0"):
        compute(DEEP, value_range=value_range)
    with pytest.raises(gpustats.OptionError):
        gpustats.Accumulator(value_range=value_range)


def test_the_gpu_leaves_it_to_the_cpu() -> None:
    assert _cpu_only(Definition()) is None
    assert _cpu_only(Definition(value_range=4095.0)) == "values are compared with value_range=4095.0 on the CPU"
