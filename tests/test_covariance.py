"""Covariance: sums of products are Python's own, at every place where 32-bit lanes are emptied, in any order."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gpustats
from gpustats import DataError, Stats
from gpustats.statistics.covariance import cross_products
from gpustats.statistics.totals import RowBuffer, Totals
from tests import model
from tests.images import photo
from tests.rows import built

NAMES = ("moments", "covariance")
SHAPES = [(1, 1), (1, 2), (1, 3), (3, 1), (1, 17), (13, 1), (3, 5), (9, 15), (1, 200), (33, 31)]
DTYPES = [np.uint8, np.uint16]


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, device="cpu", statistics=["covariance"], **{"progress": False} | options)


def images_of(channels: int, dtype: type, seed: int = 0) -> list[np.ndarray]:
    """Odd shapes; noise, channels that go together, and the largest value."""
    rng = np.random.default_rng(seed)
    top = int(np.iinfo(dtype).max)
    noise = [rng.integers(0, top + 1, (*shape, channels)).astype(dtype) for shape in SHAPES]
    level = rng.integers(0, top // 2, (7, 6, 1))
    together = (level + rng.integers(0, 5, (7, 6, channels))).astype(dtype)
    return [*noise, together, np.full((5, 9, channels), top, dtype), np.zeros((2, 2, channels), dtype)]


def between(pixels: np.ndarray, channels: int) -> list[int]:
    """Return what the kernel writes over what was there."""
    products = np.full(channels * (channels + 1) // 2, 99, np.uint64)
    cross_products(pixels, channels, products)
    return products.tolist()


def expected_between(products: Any) -> list[int]:
    """Return the products of two channels in their order, from a matrix of all."""
    channels = len(products)
    return [int(products[i][j]) if i < j else 0 for i in range(channels) for j in range(i, channels)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", range(1, 8))
def test_every_shape_against_integers(channels: int, dtype: type) -> None:
    images = images_of(channels, dtype)
    for image in images:
        assert compute([image], layout="HWC").totals["covariance"] == model.covariance([image])
    totals = compute(images, layout="HWC").totals
    assert totals["covariance"] == model.covariance(images)
    assert totals["moments"] == model.integers(images, ["x"] * len(images))["moments"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 13, 40])
def test_every_length_and_start(channels: int, dtype: type) -> None:
    """Ends of every length, and around what is taken at once."""
    top = int(np.iinfo(dtype).max)
    buffer = np.random.default_rng(channels).integers(0, top + 1, (2100 + 17) * channels).astype(dtype)
    for pixels in [*range(1, 70), 300, *range(1022, 1027), *range(2047, 2051)]:
        part = buffer[pixels % 17 :][: pixels * channels]
        wide = part.reshape(-1, channels).astype(np.uint64)
        assert between(part, channels) == expected_between(wide.T @ wide), pixels


def test_no_value_behind_the_pixels_counts() -> None:
    for channels in (2, 3, 5):
        for pixels in (1, 31, 33, 1023, 1024, 1025):
            buffer = np.full(pixels * channels + 4096, 255, np.uint8)
            buffer[: pixels * channels] = 1
            assert between(buffer[: pixels * channels], channels) == expected_between([[pixels] * channels] * channels)


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_products_of_8_bits_do_not_overflow(channels: int) -> None:
    """Beyond 2**32 every channel has a level of its own."""
    levels, pixels = [255, 254, 253, 252, 3][:channels], 70_001
    assert pixels * 253 * 252 > 2**32
    expected = [[pixels * x * y for y in levels] for x in levels]
    assert between(np.tile(np.array(levels, np.uint8), pixels), channels) == expected_between(expected)


@pytest.mark.parametrize("channels", [2, 3])
def test_products_of_16_bits_need_64(channels: int) -> None:
    pixels = 1_000_001
    expected = [[pixels * 65535**2] * channels] * channels
    assert between(np.full(channels * pixels, 65535, np.uint16), channels) == expected_between(expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", range(1, 8))
def test_every_layout_in_memory(channels: int, dtype: type) -> None:
    image = np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, (11, 14, channels)).astype(dtype)
    expected = model.covariance([image])
    wide = np.zeros((22, 42, channels), dtype)
    wide[::2, ::3] = image
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    for pixels in (
        image,
        wide[::2, ::3],
        planes.transpose(1, 2, 0),
        np.asfortranarray(image),
        image[::-1, ::-1],
        image.astype(image.dtype.newbyteorder()),
    ):
        columns = built([pixels], NAMES).of("covariance")
        assert {name: column[0].tolist() for name, column in columns.items()} == expected
    assert compute([planes], layout="CHW").totals["covariance"] == expected


def test_sums_of_many_rows_do_not_overflow() -> None:
    rows = built([np.zeros((1, 1, 2), np.uint8)] * 3, NAMES)
    for name in ("n", "sum", "products"):
        rows.columns[f"covariance.{name}"][:] = 2**64 - 1
    totals = Totals(NAMES)
    totals.fold(rows)
    totals.fold(rows)
    most = 6 * (2**64 - 1)
    assert totals["covariance"] == {"n": most, "sum": [most] * 2, "products": [most] * 3}


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.integers(1, 4), st.sampled_from(DTYPES))
def test_any_split_order_and_merge_gives_the_same_integers(
    data: st.DataObject, seed: int, channels: int, dtype: type
) -> None:
    images = images_of(channels, dtype, seed)[:8]
    order = data.draw(st.permutations(range(8)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 8), max_size=3)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, 8], strict=True):
        totals = Totals(NAMES)
        buffer = RowBuffer(totals, rows=2)
        for i in order[start:stop]:
            buffer.add(built([images[i]], NAMES, first=i))
        buffer.flush()
        parts.append(totals)
    left, right = Totals(NAMES), Totals(NAMES)
    for part in parts:
        left.merge(part)
    for part in reversed(parts):
        right.merge(Totals.from_dict(part.to_dict()))
    assert left == right
    assert left["covariance"] == model.covariance(images)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_the_matrix_is_the_exact_one_rounded_once(channels: int, dtype: type) -> None:
    images = images_of(channels, dtype)
    stats = compute(images, layout="HWC")
    sums = model.covariance(images)
    n, total, products = sums["n"], sums["sum"], iter(sums["products"])
    top = int(np.iinfo(dtype).max)
    for i in range(channels):
        for j in range(i, channels):
            exact = Fraction(next(products), n) - Fraction(total[i], n) * Fraction(total[j], n)
            assert stats.covariance[i, j] == stats.covariance[j, i] == float(exact / top**2)
            assert stats.scaled(top).covariance[i, j] == float(exact)
    pixels = np.concatenate([image.reshape(-1, channels) for image in images]) / top
    expected = np.cov(pixels, rowvar=False, ddof=0).reshape(channels, channels)
    np.testing.assert_allclose(stats.covariance, expected, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(np.sqrt(np.diag(stats.covariance)), stats.std, rtol=1e-15)


def test_saved_and_loaded(tmp_path: Path) -> None:
    stats = compute(images_of(3, np.uint16), layout="HWC")
    stats.save(tmp_path / "s.json")
    again = Stats.load(tmp_path / "s.json")
    assert again.totals == stats.totals
    assert again.totals.statistics == NAMES
    assert again.to_json() == stats.to_json()
    assert again.to_dict()["covariance"] == stats.covariance.tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"n": None}, {"n": [1]}, {"n": -1}, {"n": 1.0}, {"sum": None}, {"sum": [1, 2]}, {"sum": [1, 2, "3"]},
        {"products": [1] * 5}, {"products": [1] * 7}, {"products": [True] * 6}, {"products": None},
    ],
)  # fmt: skip
def test_damaged_sums_are_refused(change: dict[str, Any]) -> None:
    data = compute(images_of(3, np.uint8), layout="HWC").totals.to_dict()
    with pytest.raises(DataError, match=r"should (be a non-negative integer|hold \d numbers), got "):
        Totals.from_dict(data | {"covariance": data["covariance"] | change})
    with pytest.raises(DataError, match="should be a table of numbers"):
        Totals.from_dict(data | {"covariance": None})


def test_sums_that_contradict_one_another() -> None:
    """Two pixels, (0, 2) and (4, 6): variances of 4, and a covariance that may be -4 to 4."""
    data = compute([np.array([[[0, 2], [4, 6]]], np.uint8)], layout="HWC").totals.to_dict()
    assert data["covariance"] == {"n": 2, "sum": [4, 8], "products": [16, 24, 40]}
    for between, fine in [(24, True), (8, True), (16, True), (25, False), (7, False)]:
        changed = data | {"covariance": data["covariance"] | {"products": [16, between, 40]}}
        if fine:
            Totals.from_dict(changed)
        else:
            with pytest.raises(DataError, match="the integers contradict one another"):
                Totals.from_dict(changed)
    with pytest.raises(DataError, match="the integers contradict one another"):
        Totals.from_dict(data | {"covariance": {"n": 2, "sum": [4, 8], "products": [7, 15, 40]}})
    alone = compute([np.array([[[0], [4]]], np.uint8)], layout="HWC").totals.to_dict()
    with pytest.raises(DataError, match="the integers contradict one another"):
        Totals.from_dict(alone | {"covariance": {"n": 2, "sum": [4], "products": [7]}})


def test_sums_that_contradict_the_moments() -> None:
    data = compute([np.array([[[0, 2], [4, 6]]], np.uint8)], layout="HWC").totals.to_dict()
    for change in ({"n": 3}, {"sum": [3, 8]}, {"sum": [4, 7]}, {"products": [17, 24, 40]}, {"products": [16, 24, 41]}):
        with pytest.raises(DataError, match="contradict"):
            Totals.from_dict(data | {"covariance": data["covariance"] | change})


def test_files_in_one_run_isolated_and_from_a_checkpoint(tmp_path: Path) -> None:
    pngs, checkpoint = tmp_path / "pngs", tmp_path / "state"
    pngs.mkdir()
    arrays = [np.asarray(photo(20 + i, 33 - i, seed=i)) for i in range(8)]
    for i, pixels in enumerate(arrays):
        Image.fromarray(pixels).save(pngs / f"{i}.png")
    whole = compute(pngs)
    assert whole.totals["covariance"] == model.covariance(arrays)
    assert compute(pngs, isolate=True, workers=1).totals == whole.totals
    kept = [path.rename(tmp_path / path.name) for path in sorted(pngs.iterdir())[:3]]
    assert compute(pngs, checkpoint=checkpoint).totals["covariance"] == model.covariance(arrays[3:])
    for path in kept:
        path.rename(pngs / path.name)
    resumed = compute(pngs, checkpoint=checkpoint)
    assert resumed.totals == whole.totals
    assert resumed.runs[0]["checkpoint"]["images_reused"] == 5


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_stop_the_run_before_any_counts(dtype: type) -> None:
    done: list[int] = []
    with pytest.raises(
        DataError, match="'covariance' cannot be computed for images with 3 channels of floats: its sums"
    ):
        compute(np.zeros((4, 5, 6, 3), dtype), workers=1, progress=done.append)
    assert sum(done) == 0


@pytest.mark.parametrize("isolate", [False, True])
def test_all_statistics_in_one_run(isolate: bool) -> None:
    images = images_of(3, np.uint8)
    stats = gpustats.compute(
        images, layout="HWC", progress=False, device="cpu", statistics=["covariance", "histogram"], isolate=isolate
    )
    assert stats.totals.statistics == ("moments", "histogram", "covariance")
    assert stats.totals["covariance"] == model.covariance(images)
    assert stats.totals["histogram"] == model.histogram(images)
    assert stats.totals["moments"] == model.integers(images, ["x"] * len(images))["moments"]
