"""Rows and accumulator: integers that no split, order or merge can change."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustats import DataError, ImageMoments, MergeError, Totals
from gpustats.moments import FRACTION_BITS, _column_sums, _fixed_point_sums, _multiply, _squared_deviation
from gpustats.rows import RowBuffer

U64 = st.integers(0, 2**64 - 1)


def rows_of(images: list[np.ndarray], first: int = 0) -> ImageMoments:
    """Make rows the slow way, with Python integers."""
    flat = [image.reshape(-1, image.shape[-1]).astype(object) for image in images]
    channels = images[0].shape[-1]
    dtype = images[0].dtype
    return ImageMoments(
        keys=[f"image{first + i}" for i in range(len(images))],
        groups=[""] * len(images),
        height=np.array([image.shape[0] for image in images], np.uint64),
        width=np.array([image.shape[1] for image in images], np.uint64),
        sum=np.array([x.sum(axis=0) for x in flat], np.uint64).reshape(-1, channels),
        sumsq=np.array([(x * x).sum(axis=0) for x in flat], np.uint64).reshape(-1, channels),
        min=np.array([x.min(axis=0) for x in flat], dtype).reshape(-1, channels),
        max=np.array([x.max(axis=0) for x in flat], dtype).reshape(-1, channels),
        max_value=int(np.iinfo(dtype).max),
    )


def random_images(seed: int, count: int, dtype: type = np.uint8) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    return [
        rng.integers(0, top + 1, (*rng.integers(1, 9, 2), 3)).astype(dtype) if i % 5 else np.full((3, 2, 3), top, dtype)
        for i in range(count)
    ]


@given(st.lists(st.tuples(U64, U64), min_size=1, max_size=20))
def test_multiply_is_the_128_bit_product(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(column, np.uint64) for column in zip(*pairs, strict=True))
    high, low = _multiply(a, b)
    assert [(int(h) << 64) + int(w) for h, w in zip(high, low, strict=True)] == [x * y for x, y in pairs]


@given(st.lists(U64, min_size=0, max_size=50))
def test_column_sums_do_not_overflow(values: list[int]) -> None:
    assert _column_sums(np.array(values, np.uint64).reshape(-1, 1)) == [sum(values)]


@given(st.lists(st.floats(0, 2.0**31), min_size=1, max_size=20))
def test_fixed_point_sums_round_every_value_once(values: list[float]) -> None:
    [total] = _fixed_point_sums(np.array(values).reshape(-1, 1))
    exact = sum(Fraction(v) * 2**FRACTION_BITS for v in values)
    assert abs(total - exact) <= Fraction(len(values), 2) + 1  # + 1: a value near 2**31 has fewer than 40 bits left


@given(st.integers(1, 2**29), st.integers(0, 255), st.integers(0, 255))
def test_squared_deviation_has_no_cancellation(pixels: int, a: int, b: int) -> None:
    """Two grey levels, one of them at a single pixel: n*q - s*s is tiny beside its terms."""
    s, q = a * (pixels - 1) + b, a * a * (pixels - 1) + b * b
    u64 = lambda x: np.array([[x]], np.uint64)  # noqa: E731
    exact = pixels * q - s * s
    assert math.isclose(_squared_deviation(u64(pixels), u64(s), u64(q))[0, 0], exact, rel_tol=2**-51)


@given(st.data(), st.integers(0, 2**32), st.sampled_from([np.uint8, np.uint16]))
def test_any_split_order_and_merge_gives_the_same_integers(data: st.DataObject, seed: int, dtype: type) -> None:
    images = random_images(seed, 12, dtype)
    whole = Totals()
    whole.fold(rows_of(images))
    order = data.draw(st.permutations(range(12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 12), max_size=4)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, 12], strict=True):
        buffer = RowBuffer(rows=3)
        for i in order[start:stop]:
            buffer.add(rows_of([images[i]], first=i))
        buffer.flush()
        parts.append(buffer.totals)
    left, right = Totals(), Totals()
    for part in parts:
        left.merge(part)
    for part in reversed(parts):
        right.merge(Totals.from_dict(part.to_dict()))
    assert left == whole == right


def test_the_empty_accumulator_is_the_identity() -> None:
    full, empty = Totals(), Totals()
    full.fold(rows_of(random_images(1, 3)))
    before = full.to_dict()
    full.merge(empty)
    assert full.to_dict() == before
    empty.merge(full)
    assert empty == full
    empty.fold(rows_of(random_images(2, 2)))
    assert full.to_dict() == before, "merging must copy"


def test_different_depths_do_not_mix() -> None:
    accumulator = Totals()
    accumulator.fold(rows_of(random_images(0, 2, np.uint8)))
    with pytest.raises(MergeError, match=r"of 8 bits .* of 16 bits"):
        accumulator.fold(rows_of(random_images(0, 2, np.uint16)))


def test_an_image_without_pixels_is_refused() -> None:
    rows = rows_of([np.zeros((1, 1, 3), np.uint8)])
    rows.height[0] = 0
    with pytest.raises(ValueError, match="'image0' has no pixels"):
        Totals().fold(rows)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pixels", -1, "non-negative integer"),
        ("pixels", 1.5, "non-negative integer"),
        ("images", True, "non-negative integer"),
        ("sum", [1, 2], "should list 3 numbers"),
        ("sum", [1, 2, "3"], "non-negative integer"),
        ("sum", [10**9] * 3, "contradict"),
        ("sumsq", [0, 0, 0], "contradict"),
        ("key_hash", "xyz", "damaged"),
        ("max", None, "should list 3 numbers"),
    ],
)
def test_damaged_integers_are_refused(name: str, value: object, message: str) -> None:
    accumulator = Totals()
    accumulator.fold(rows_of(random_images(3, 4)))
    with pytest.raises(DataError, match=message):
        Totals.from_dict(accumulator.to_dict() | {name: value})
