"""Histogram: the counts are Python's own, in any layout, split, order and engine; only 8-bit images have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gpustats
from gpustats import DataError, Stats
from gpustats.statistics import check_names, for_kind
from gpustats.statistics.base import Kind
from gpustats.statistics.totals import RowBuffer, Totals
from tests import model
from tests.images import photo
from tests.rows import built

NAMES = ("moments", "histogram")
SHAPES = [(1, 1), (1, 2), (1, 3), (3, 1), (1, 5), (1, 17), (13, 1), (3, 5), (7, 7), (4, 8)]


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, device="cpu", statistics=["histogram"], **{"progress": False} | options)


def images_of(channels: int, seed: int = 0) -> list[np.ndarray]:
    """Odd shapes; all values, few values and one value."""
    rng = np.random.default_rng(seed)
    many = [rng.integers(0, 256, (*shape, channels), dtype=np.uint8) for shape in SHAPES]
    few = [rng.choice(np.array([0, 7, 255], np.uint8), (*shape, channels)) for shape in SHAPES]
    return [*many, *few, np.full((5, 9, channels), 255, np.uint8), np.zeros((9, 5, channels), np.uint8)]


@pytest.mark.parametrize("channels", range(1, 8))
def test_every_shape_against_counts_one_by_one(channels: int) -> None:
    images = images_of(channels)
    for image in images:
        assert compute([image], layout="HWC").totals["histogram"] == model.histogram([image])
    totals = compute(images, layout="HWC").totals
    assert totals["histogram"] == model.histogram(images)
    assert totals["moments"] == model.integers(images, ["x"] * len(images))["moments"]


@pytest.mark.parametrize("channels", range(1, 8))
def test_every_layout_in_memory(channels: int) -> None:
    image = np.random.default_rng(channels).integers(0, 256, (11, 14, channels), dtype=np.uint8)
    expected = model.histogram([image])
    wide = np.zeros((22, 42, channels), np.uint8)
    wide[::2, ::3] = image
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    for pixels in (image, wide[::2, ::3], planes.transpose(1, 2, 0), np.asfortranarray(image), image[::-1, ::-1]):
        assert built([pixels], NAMES).of("histogram")["bins"][0].tolist() == expected["bins"]
    assert compute([planes], layout="CHW").totals["histogram"] == expected


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("pixels", [*range(1, 14), 4096, 4099])
def test_every_length_of_the_end(channels: int, pixels: int) -> None:
    """Four pixels are counted together, the rest one by one."""
    image = np.random.default_rng(pixels).integers(0, 256, (1, pixels, channels), dtype=np.uint8)
    bins = built([image], NAMES).of("histogram")["bins"]
    assert bins.dtype == np.uint32
    assert bins[0].tolist() == [np.bincount(image[..., c].ravel(), minlength=256).tolist() for c in range(channels)]


def test_a_row_is_written_over() -> None:
    """A failed image leaves counts in its row; the next one in it starts from nothing."""
    kernel = for_kind(("histogram",), Kind(2, "uint8"))[0].kernel()
    bins = np.full((1, 2, 256), 9, np.uint32)
    kernel(np.array([3, 4, 3, 5], np.uint8), 2, 0, 0, bins)
    assert bins[0, 0].nonzero()[0].tolist() == [3]
    assert bins.sum() == 4


def test_counts_of_many_rows_do_not_overflow() -> None:
    """Rows count in 32 bits, totals are Python integers."""
    rows = built([np.zeros((1, 1, 1), np.uint8)] * 3, NAMES)
    rows.columns["histogram.bins"][:, 0, 0] = 2**32 - 1
    totals = Totals(NAMES)
    for _ in range(2):
        totals.fold(rows)
    assert totals["histogram"]["bins"][0][0] == 6 * (2**32 - 1)
    assert type(totals["histogram"]["bins"][0][0]) is int


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.integers(1, 4))
def test_any_split_order_and_merge_gives_the_same_counts(data: st.DataObject, seed: int, channels: int) -> None:
    images = images_of(channels, seed)[:9]
    order = data.draw(st.permutations(range(9)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 9), max_size=3)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, 9], strict=True):
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
    assert left["histogram"] == model.histogram(images)


def test_the_number_is_an_array_of_integers() -> None:
    images = images_of(3)
    stats = compute(images, layout="HWC")
    expected = np.array(model.histogram(images)["bins"])
    assert (stats.histogram.dtype, stats.histogram.shape) == (np.int64, (3, 256))
    np.testing.assert_array_equal(stats.histogram, expected)
    np.testing.assert_array_equal(stats.scaled(255).histogram, expected)
    assert stats.histogram.sum(axis=1).tolist() == [stats.n_pixels] * 3
    assert stats.to_dict()["histogram"] == expected.tolist()


def test_saved_and_loaded(tmp_path: Path) -> None:
    stats = compute(images_of(3), layout="HWC")
    stats.save(tmp_path / "s.json")
    again = Stats.load(tmp_path / "s.json")
    assert again.totals == stats.totals
    assert again.totals.statistics == NAMES
    assert again.to_json() == stats.to_json()


@pytest.mark.parametrize(
    "bins",
    [None, [], [[0] * 256] * 2, [[0] * 255] * 3, [[0] * 257] * 3, [[-1] + [0] * 255] * 3, [[1.0] + [0] * 255] * 3,
     [0] * 768, [[0] * 256] * 3, [[None] * 256] * 3, "x"],
)  # fmt: skip
def test_damaged_counts_are_refused(bins: Any) -> None:
    data = compute(images_of(3), layout="HWC").totals.to_dict()
    Totals.from_dict(data)
    with pytest.raises(DataError):
        Totals.from_dict(data | {"histogram": {"bins": bins}})


def test_one_count_more_or_elsewhere_is_refused() -> None:
    """The counts have to be those of the pixels, and give the sums."""
    data = compute(images_of(2), layout="HWC").totals.to_dict()
    bins = data["histogram"]["bins"]
    for place, (a, b) in [(0, (1, 0)), (1, (0, 1)), (0, (-1, 1)), (1, (1, -1))]:
        wrong = [list(channel) for channel in bins]
        wrong[place][0] += a
        wrong[place][7] += b
        with pytest.raises(DataError, match="contradict"):
            Totals.from_dict(data | {"histogram": {"bins": wrong}})


def test_results_with_and_without_are_pooled_without() -> None:
    images = images_of(3)
    with_it = compute(images[:5], layout="HWC")
    without = gpustats.compute(images[5:], layout="HWC", progress=False, device="cpu")
    for pooled in (with_it + without, without + with_it):
        assert pooled.totals["moments"] == compute(images, layout="HWC").totals["moments"]
        assert (pooled.totals.statistics, pooled.totals.left_out) == (("moments",), ("histogram",))
        with pytest.raises(AttributeError, match=r"needs statistics=\['histogram'\] in every result that was pooled"):
            _ = pooled.histogram
        assert "left out, because not every pooled result has it: histogram" in repr(pooled)
        assert Stats.from_dict(pooled.to_dict()).totals == pooled.totals
        for more in (pooled + with_it, with_it + pooled, pooled + without, without + pooled):
            assert (more.totals.statistics, more.totals.left_out) == (("moments",), ("histogram",))
    empty = Stats() + with_it
    assert empty.totals == with_it.totals


def test_files_in_one_run_isolated_and_from_a_checkpoint(tmp_path: Path) -> None:
    pngs = tmp_path / "pngs"
    pngs.mkdir()
    arrays = [np.asarray(photo(20 + i, 33 - i, seed=i)) for i in range(8)]
    for i, pixels in enumerate(arrays):
        Image.fromarray(pixels).save(pngs / f"{i}.png")
    whole = compute(pngs)
    assert whole.totals["histogram"] == model.histogram(arrays)
    assert compute(pngs, isolate=True, workers=1).totals == whole.totals
    checkpoint = tmp_path / "state"
    kept = [path.rename(tmp_path / path.name) for path in sorted(pngs.iterdir())[:3]]
    assert compute(pngs, checkpoint=checkpoint).totals["histogram"] == model.histogram(arrays[3:])
    for path in kept:
        path.rename(pngs / path.name)
    resumed = compute(pngs, checkpoint=checkpoint)
    assert resumed.totals == whole.totals
    assert resumed.runs[0]["checkpoint"]["images_reused"] == 5
    with pytest.raises(DataError, match="statistics"):
        gpustats.compute(pngs, progress=False, device="cpu", checkpoint=checkpoint)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("isolate", [False, True])
def test_other_images_stop_the_run_before_any_counts(dtype: type, isolate: bool) -> None:
    done: list[int] = []
    with pytest.raises(DataError, match="the statistic 'histogram' cannot be computed for images with 3 channels of"):
        compute(np.zeros((4, 5, 6, 3), dtype), workers=1, isolate=isolate, progress=done.append)
    assert sum(done) == 0


@pytest.mark.parametrize("names", [["median"], "median", ["histogram", "median"], ["Histogram"], [""]])
def test_an_unknown_statistic_names_the_known_ones(names: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown statistic '.*'; known are moments, histogram, covariance"):
        gpustats.compute(np.zeros((2, 3, 3), np.uint8), statistics=names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ("moments",)),
        ("histogram", NAMES),
        (["histogram", "histogram", "moments"], NAMES),
        ({"covariance", "histogram"}, ("moments", "histogram", "covariance")),
    ],
)
def test_names_are_taken_once_in_the_order_of_the_table(names: Any, expected: tuple[str, ...]) -> None:
    assert check_names(names) == expected
    stats = gpustats.compute(np.zeros((2, 5, 3), np.uint8), statistics=names, progress=False, device="cpu")
    assert stats.totals.statistics == stats.definition.statistics == expected
