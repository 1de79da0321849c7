"""Sharpness: exact sums of the Laplacian of the luma, against SciPy; and colourfulness, against its paper's formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

import gpustats
from gpustats import DataError, OptionError, Stats
from gpustats.statistics import STATISTICS, for_kind
from gpustats.statistics.base import Kind
from gpustats.statistics.compiled import ready
from gpustats.statistics.sharpness import laplacian, plain_laplacian
from gpustats.statistics.totals import Totals
from tests.rows import built, random_images

NAMES = ("moments", "sharpness")
SIZES = [(1, 1), (1, 5), (5, 1), (2, 2), (2, 7), (3, 3), (4, 5), (17, 23), (3, 5000), (100, 90), (90, 91), (2, 4096)]


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, **{"device": "cpu", "progress": False, "statistics": ["sharpness"]} | options)


def luma(image: np.ndarray) -> np.ndarray:
    """Return the luma of an image of any integers, as Pillow's mode L has it."""
    if image.shape[2] == 1:
        return image[:, :, 0].astype(np.int64)
    return (image.astype(np.int64) @ np.array([19595, 38470, 7471]) + 32768) >> 16


def variance(image: np.ndarray) -> float:
    return float(scipy.ndimage.laplace(luma(image), mode="mirror").var())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["random", "stripes"])
def test_sums_against_scipy(dtype: type, channels: int, size: tuple[int, int], kind: str) -> None:
    top = np.iinfo(dtype).max
    rng = np.random.default_rng(0)
    image = rng.integers(0, top + 1, (*size, channels)).astype(dtype)
    if kind == "stripes":  # the largest Laplacian that there is, in every place
        image[...] = np.where(np.add.outer(np.arange(size[0]), np.arange(size[1])) % 2, top, 0)[..., None]
    found = scipy.ndimage.laplace(luma(image), mode="mirror")
    expected = [found.size, found.sum(), (found * found).sum()]
    sums = np.empty((2, 3), np.int64)
    ready(laplacian)(image.reshape(-1), *image.shape, sums[0])
    plain_laplacian(image, *image.shape, sums[1])
    assert sums.tolist() == [expected, expected]


def test_luma_is_that_of_pillow() -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    np.testing.assert_array_equal(luma(values), np.asarray(Image.fromarray(values).convert("L")))
    grey = np.asarray(Image.fromarray(values).convert("L"))
    assert compute([values]).totals["sharpness"] == compute([grey]).totals["sharpness"]


def test_it_is_what_opencv_computes() -> None:
    cv2 = pytest.importorskip("cv2")
    grey = np.random.default_rng(1).integers(0, 256, (30, 41), dtype=np.uint8)
    expected = cv2.Laplacian(grey, cv2.CV_64F).var()
    assert compute([grey]).scaled(255).per_image.sharpness == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_the_average_of_images_and_the_table(dtype: type) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    rng = np.random.default_rng(0)
    images = [rng.integers(low, high + 1, (*size, 3)).astype(dtype) for size in SIZES]
    stats = compute(images, per_image=True, layout="HWC", statistics=["sharpness", "covariance"])
    top = 1 if low else high
    expected = [variance(image) / top**2 for image in images]
    assert stats.per_image.sharpness.shape == ()
    assert float(stats.per_image.sharpness) == pytest.approx(np.mean(expected), rel=1e-12)
    rows = sorted(stats.image_table.to_pylist(), key=lambda row: int(row["key"]))
    assert [row["sharpness"] for row in rows] == pytest.approx(expected, rel=1e-12)
    assert [row["colorfulness"] for row in rows] == pytest.approx(
        [colorfulness(image) / top for image in images], rel=1e-9
    )


def colorfulness(image: np.ndarray) -> float:
    r, g, b = np.moveaxis(image.astype(np.float64), 2, 0)
    rg, yb = r - g, (r + g) / 2 - b
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def test_colorfulness_knows_the_order_of_the_channels() -> None:
    images = np.stack([np.full((5, 6, 3), (200, 50, 20), np.uint8)] * 2)
    options: dict[str, Any] = {"statistics": ["covariance"], "per_image": True, "layout": "NHWC"}
    expected = [colorfulness(image) / 255 for image in images]
    assert compute(images, **options).image_table["colorfulness"].to_pylist() == pytest.approx(expected)
    turned = compute(images[..., ::-1].copy(), color_order="BGR", **options).image_table
    assert turned["colorfulness"].to_pylist() == pytest.approx(expected)
    assert "colorfulness" not in compute(images, color_order="HSV", **options).image_table.column_names
    assert "colorfulness" not in compute(images[..., :2].copy(), **options).image_table.column_names


def test_pixels_that_are_left_out() -> None:
    """The Laplacian is taken where the pixel and its neighbours count; where none does, the image has no sharpness."""
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
    missing = rng.random((12, 9)) < 0.1
    image = np.ma.MaskedArray(pixels, np.repeat(missing[:, :, None], 3, axis=2))
    good = ~scipy.ndimage.binary_dilation(missing)
    expected = scipy.ndimage.laplace(luma(pixels), mode="mirror")[good].var() / 255**2
    alone = np.ma.MaskedArray(pixels[:2, :2], np.array([[[1] * 3, [0] * 3], [[0] * 3, [1] * 3]], bool))
    stats = compute([image, alone], per_image=True)
    rows = {row["key"]: row["sharpness"] for row in stats.image_table.to_pylist()}
    assert rows == {"0": pytest.approx(expected, rel=1e-12), "1": None}
    assert stats.totals["sharpness"]["images"] == 1
    assert float(stats.per_image.sharpness) == pytest.approx(expected, rel=1e-11)
    assert stats.outliers(3)["blurriest"][0].key == "0"


def test_the_same_bits_for_any_split_and_from_a_file(tmp_path: Path) -> None:
    images = random_images(3, 40)
    whole = Totals(NAMES)
    whole.fold(built(images, NAMES))
    parts = [Totals(NAMES) for _ in range(4)]
    for i, part in enumerate(parts):
        part.fold(built(images[i::4], NAMES))
    pooled = Totals(NAMES)
    for part in parts[::-1]:
        pooled.merge(part)
    assert pooled["sharpness"] == whole["sharpness"]
    stats = compute(images, layout="HWC", workers=2, group_by=lambda key: str(int(key) % 3))
    assert stats.totals["sharpness"] == whole["sharpness"]
    assert (
        sum(group.totals["sharpness"]["variance"] for group in stats.groups.values()) == whole["sharpness"]["variance"]
    )
    stats.save(tmp_path / "s.json")
    assert Stats.load(tmp_path / "s.json").totals == stats.totals
    assert (
        gpustats.Accumulator(statistics=["sharpness"], layout="HWC").update(images).result().totals["sharpness"]
        == whole["sharpness"]
    )
    planes = [np.moveaxis(np.ascontiguousarray(np.moveaxis(image, 2, 0)), 0, 2) for image in images]
    assert compute(planes, layout="HWC").totals["sharpness"] == whole["sharpness"]


def test_damaged_numbers_are_refused() -> None:
    (sharpness,) = for_kind(("sharpness",), Kind(3, "uint8"))
    part = {"images": 2, "variance": 5}
    assert sharpness.read(part) == part
    with pytest.raises(DataError, match="contradict"):
        sharpness.read({"images": 0, "variance": 5})
    assert not sharpness.agrees(part, {"images": [1, 1, 1]})
    assert sharpness.agrees(part, {"images": [2, 2, 2]})


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((3, 4, 4), np.uint8), "luma is that of one channel, or of red, green and blue"),
        (np.zeros((3, 4, 3), np.float32), "8- and 16-bit integers only"),
        (np.zeros((3, 4, 3), np.int32), "8- and 16-bit integers only"),
    ],
)
def test_images_that_have_none(image: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        compute([image], layout="HWC")


def test_channels_in_another_order_are_refused_before_the_first_image() -> None:
    with pytest.raises(
        OptionError, match=r"'sharpness' cannot be computed with color_order='BGR': luma is that of RGB"
    ):
        compute("no such folder", color_order="BGR")
    with pytest.raises(OptionError, match=r"luma is that of RGB"):
        gpustats.Accumulator(statistics=["sharpness"], color_order="BGR")
    assert compute(np.zeros((2, 3, 4), np.uint8), color_order="L", layout="NHW").n_images == 2


def test_there_is_no_cuda_kernel_and_that_is_said() -> None:
    assert STATISTICS["sharpness"][0].outputs is None


def test_it_is_shown() -> None:
    stats = compute(random_images(1, 5), layout="HWC")
    line = next(line for line in repr(stats).splitlines() if "sharpness" in line)
    assert f"sharpness: {float(stats.per_image.sharpness):.4g} (variance of the Laplacian" in line
    assert len(line) <= 80
