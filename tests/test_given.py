"""Moments come from the bins of a histogram, and what covariance needs of them from the moments: the same integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpustats.failures import ImageError
from gpustats.statistics import for_kind
from gpustats.statistics.base import Kind
from gpustats.statistics.builder import RowBuilder


def columns(images: list[Any], statistics: tuple[str, ...]) -> dict[str, Any]:
    builder = RowBuilder(len(images), statistics)
    for i, image in enumerate(images):
        builder.add(str(i), "", image)
    return dict(builder.rows().columns)


@pytest.mark.parametrize("channels", range(1, 6))
@pytest.mark.parametrize("form", ["as they are", "planes", "masked", "dark"])
def test_moments_and_squares_come_from_the_bins(channels: int, form: str) -> None:
    rng = np.random.default_rng(channels)
    images: list[Any] = [
        rng.integers(0, 256, (*size, channels), dtype=np.uint8) for size in [(1, 1), (3, 5), (40, 83), (13, 29)]
    ]
    if form == "planes":
        images = [np.moveaxis(np.ascontiguousarray(np.moveaxis(image, 2, 0)), 0, 2) for image in images]
    if form == "dark":
        images = [image % 7 + 2 for image in images]
    if form == "masked":
        masks = [np.repeat(rng.random((*image.shape[:2], 1)) < 0.3, channels, axis=2) for image in images[1:]]
        images = [np.ma.MaskedArray(image, mask) for image, mask in zip(images[1:], masks, strict=True)]
    together = columns(images, ("moments", "histogram", "covariance"))
    alone = columns(images, ("moments", "covariance"))
    assert set(alone) < set(together)
    for name, column in alone.items():
        assert together[name].dtype == column.dtype
        np.testing.assert_array_equal(together[name], column, name)


def test_a_row_is_written_over() -> None:
    """As where an image before it has failed."""
    rng = np.random.default_rng(0)
    one, two = (rng.integers(0, 256, (9, 8, 3), dtype=np.uint8) for _ in range(2))
    statistics = ("moments", "histogram", "covariance")
    builder = RowBuilder(1, statistics)
    builder.add("one", "", one)
    builder._keys.clear()
    builder._groups.clear()
    builder.add("two", "", two)
    expected = columns([two], statistics)
    for name, column in builder.rows().columns.items():
        np.testing.assert_array_equal(column, expected[name], name)


def test_images_that_are_refused_leave_no_row() -> None:
    """Their values were measured by then, those of whole images in a list of their own."""
    rng = np.random.default_rng(0)
    good = [rng.integers(0, 100, (9 + i, 8, 3), dtype=np.uint8) for i in range(3)]
    bad = np.full((20, 30, 3), 101, np.uint8)
    statistics = ("moments", "histogram", "covariance", "sharpness", "sizes", "duplicates")
    builder, expected = (RowBuilder(9, statistics, value_range=100) for _ in range(2))
    for i, image in enumerate([bad, good[0], bad, bad, *good[1:], bad]):
        if image is bad:
            with pytest.raises(ImageError, match="it has the value 101"):
                builder.add(str(i), "", image)
        else:
            builder.add(str(i), "", image)
            expected.add(str(i), "", image)
    assert builder.rows().keys == expected.rows().keys == ["1", "4", "5"]
    for name, column in expected.rows().columns.items():
        np.testing.assert_array_equal(builder.rows().columns[name], column, name)


def test_only_8_bit_images_have_it_so() -> None:
    for dtype in ("uint8", "uint16", "int8", "int16"):
        (moments,) = for_kind(("moments",), Kind(3, dtype))
        assert moments.given(("moments", "covariance")) is None
        assert (moments.given(("moments", "histogram", "covariance")) is None) == (dtype != "uint8")
