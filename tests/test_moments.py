"""Rows and accumulator: integers that no split, order or merge can change."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustats import DataError, MergeError
from gpustats.statistics.exact import FRACTION_BITS, column_sums, fixed_point_sums, multiply, squared_deviation
from gpustats.statistics.totals import RowBuffer, Totals
from tests.rows import random_images, rows_of

U64 = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(U64, U64), min_size=1, max_size=20))
def test_multiply_is_the_128_bit_product(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(column, np.uint64) for column in zip(*pairs, strict=True))
    high, low = multiply(a, b)
    assert [(int(h) << 64) + int(w) for h, w in zip(high, low, strict=True)] == [x * y for x, y in pairs]


@given(st.lists(U64, min_size=0, max_size=50))
def test_column_sums_do_not_overflow(values: list[int]) -> None:
    assert column_sums(np.array(values, np.uint64).reshape(-1, 1)) == [sum(values)]


@given(st.lists(st.floats(0, 2.0**31), min_size=1, max_size=20))
def test_fixed_point_sums_round_every_value_once(values: list[float]) -> None:
    [total] = fixed_point_sums(np.array(values).reshape(-1, 1))
    exact = sum(Fraction(v) * 2**FRACTION_BITS for v in values)
    assert abs(total - exact) <= Fraction(len(values), 2) + 1  # + 1: a value near 2**31 has fewer than 40 bits left


@given(st.integers(1, 2**29), st.integers(0, 255), st.integers(0, 255))
def test_squared_deviation_has_no_cancellation(pixels: int, a: int, b: int) -> None:
    """Two grey levels, one of them at a single pixel: n*q - s*s is tiny beside its terms."""
    s, q = a * (pixels - 1) + b, a * a * (pixels - 1) + b * b
    u64 = lambda x: np.array([[x]], np.uint64)  # noqa: E731
    exact = pixels * q - s * s
    assert math.isclose(squared_deviation(u64(pixels), u64(s), u64(q))[0, 0], exact, rel_tol=2**-51)


@given(st.data(), st.integers(0, 2**32), st.sampled_from([np.uint8, np.uint16]))
def test_any_split_order_and_merge_gives_the_same_integers(data: st.DataObject, seed: int, dtype: type) -> None:
    images = random_images(seed, 12, dtype)
    whole = Totals()
    whole.fold(rows_of(images))
    order = data.draw(st.permutations(range(12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 12), max_size=4)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, 12], strict=True):
        part = Totals()
        buffer = RowBuffer(part, rows=3)
        for i in order[start:stop]:
            buffer.add(rows_of([images[i]], first=i))
        buffer.flush()
        parts.append(part)
    left, right = Totals(), Totals()
    for part in parts:
        left.merge(part)
    for part in reversed(parts):
        right.merge(Totals.from_dict(part.to_dict()))
    assert left == whole == right


def test_what_was_given_out_is_a_copy() -> None:
    totals = Totals()
    totals.fold(rows_of(random_images(3, 4)))
    before, data = copy.deepcopy(totals.to_dict()), totals.to_dict()
    data["moments"]["sum"][0] += 1
    data["moments"]["n"] = None
    assert totals.to_dict() == before


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
        ("pixels", -1, "'pixels' should be a non-negative integer"),
        ("pixels", 1.5, "'pixels' should be a non-negative integer"),
        ("images", True, "'images' should be a non-negative integer"),
        ("moments.sum", [1, 2], "'sum' should hold 3 numbers"),
        ("moments.sum", [1, 2, "3"], "'sum' should be a non-negative integer"),
        ("moments.sum", [10**9] * 3, "contradict"),
        ("moments.sumsq", [0, 0, 0], "contradict"),
        ("key_hash", "xyz", "damaged"),
        ("moments.max", None, "'max' should hold 3 numbers"),
    ],
)
def test_damaged_integers_are_refused(name: str, value: object, message: str) -> None:
    totals = Totals()
    totals.fold(rows_of(random_images(3, 4)))
    data = totals.to_dict()
    *parts, name = name.split(".")
    place = data[parts[0]] if parts else data
    place[name] = value
    with pytest.raises(DataError, match=message):
        Totals.from_dict(data)
