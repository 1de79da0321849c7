"""Every arithmetic boundary of the exact sums (2**32, 2**53, 2**63, 2**64), against Python integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpustats.statistics.exact import column_sums, fixed_point_sums, multiply, squared_deviation
from gpustats.statistics.sums import moments_u8, moments_u16
from gpustats.statistics.totals import Totals
from tests import model
from tests.rows import raw_rows, rows_of

EDGES = sorted({2**bits + step for bits in (0, 1, 16, 31, 32, 33, 48, 53, 63) for step in (-1, 0, 1)} | {2**64 - 1})
LARGE = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1))


def u64(*values: int) -> np.ndarray:
    return np.array(values, np.uint64).reshape(-1, 1)


def test_products_at_every_boundary() -> None:
    pairs = [(a, b) for a in EDGES for b in EDGES]
    high, low = multiply(*(np.array(column, np.uint64) for column in zip(*pairs, strict=True)))
    assert [(int(h) << 64) + int(w) for h, w in zip(high, low, strict=True)] == [a * b for a, b in pairs]


@pytest.mark.parametrize("value", EDGES)
@pytest.mark.parametrize("rows", [1, 2, 3, 1000])
def test_column_sums_at_every_boundary(value: int, rows: int) -> None:
    columns = np.array([[value, 1, 2**64 - 1]] * rows, np.uint64)
    assert column_sums(columns) == [value * rows, rows, (2**64 - 1) * rows]


@given(st.lists(st.floats(0, 2.0**44), max_size=20))
@example([2.0**-41])  # half of a unit: to the even neighbour, 0
@example([3 * 2.0**-41])  # to 2
@example([math.nextafter(2.0**-41, 1)])
@example([math.nextafter(2.0**-41, 0)])
@example([2.0**-8, math.nextafter(2.0**-8, 0), math.nextafter(2.0**-8, 1)])
@example([math.nextafter(1.0, 0), math.nextafter(256.0, 0), 255.99999999999])
@example([2.0**44, 2.0**44 - 2.0**-8, 2.0**32, 2.0**24, 2.0**23 - 2.0**-29])
@example([65535.0**2 / 4] * 3)
def test_fixed_point_sums_are_sums_of_rounded_fractions(values: list[float]) -> None:
    exact = sum(model.fixed(value) for value in values)
    assert fixed_point_sums(np.array(values, np.float64).reshape(-1, 1)) == [exact]


@given(st.integers(1, 2**32), st.data(), st.integers(0, 65535), st.integers(0, 65535))
def test_squared_deviation_of_two_levels(n: int, data: st.DataObject, a: int, b: int) -> None:
    """k pixels of one value and n - k of another: the result is k * (n - k) * (a - b)**2, up to 2**94."""
    k = data.draw(st.one_of(st.integers(0, n), st.just(n // 2), st.just(1)))
    s, q = k * a + (n - k) * b, k * a * a + (n - k) * b * b
    exact = n * q - s * s
    assert abs(Fraction(squared_deviation(u64(n), u64(s), u64(q))[0, 0]) - exact) <= Fraction(exact, 2**51)


@pytest.mark.parametrize(
    ("n", "k", "a", "b"),
    [
        (2**32, 2**31, 2, 0),  # exactly 2**64: equal lower halves, which need no borrow
        (2**32, 2**31, 65535, 65533),
        (2**32, 1, 1, 0),  # 2**32 - 1
        (2**32, 2**31, 1, 0),  # 2**62
        (2**32, 2**31, 65535, 0),
        (10**6, 5 * 10**5, 40000, 39999),
        (10**6, 0, 65535, 65535),  # nothing is left
    ],
)
def test_squared_deviation_is_exact_where_float64_can_be(n: int, k: int, a: int, b: int) -> None:
    s, q = k * a + (n - k) * b, k * a * a + (n - k) * b * b
    exact = k * (n - k) * (a - b) ** 2
    assert n * q - s * s == exact
    assert squared_deviation(u64(n), u64(s), u64(q))[0, 0] == float(exact)


def test_squared_deviation_borrows_from_the_upper_half() -> None:
    """Lower halves that must borrow, that are equal, and that must not."""
    cases = []
    for n in (997 * 1009, 10**6, 2**20, 2**31 + 1):
        for mean, spread in [(60000, 3), (32768, 5000), (4321, 1), (65000, 500)]:
            s = n * mean + n // 3
            q = s * s // n + n * spread * spread
            cases.append((n, s, q))
    borrowed = [(n * q) % 2**64 < (s * s) % 2**64 for n, s, q in cases]
    assert {True, False} == set(borrowed)
    n, s, q = zip(*cases, strict=True)
    for found, exact in zip(
        squared_deviation(u64(*n), u64(*s), u64(*q))[:, 0], [n * q - s * s for n, s, q in cases], strict=True
    ):
        assert abs(Fraction(found) - exact) <= Fraction(exact, 2**51)


def test_16_bit_images_of_a_megapixel() -> None:
    """n * sum(x^2) and sum(x)^2 are beyond 2**64, and some lower halves borrow."""
    rng = np.random.default_rng(4)
    images = [
        np.clip(rng.normal(level, spread, (1000, 1000, 1)), 0, 65535).astype(np.uint16)
        for level, spread in [(30000, 1), (30000, 40), (60000, 3000), (65530, 4), (20000, 9000), (45000, 0)]
    ]
    totals, borrowed = Totals(), []
    total, squares = np.zeros((2, len(images), 1), np.uint64)
    low, high = np.zeros((2, len(images), 1), np.uint16)
    for i, image in enumerate(images):
        moments_u16(image.reshape(-1), 1, total[i], squares[i], low[i], high[i])
        s, q = int(total[i, 0]), int(squares[i, 0])
        borrowed.append((10**6 * q) % 2**64 < (s * s) % 2**64)
    size = [1000] * len(images)
    keys = [f"{i}" for i in range(len(images))]
    totals.fold(raw_rows("uint16", size, size, keys=keys, sum=total, sumsq=squares, min=low, max=high))
    assert {True, False} == set(borrowed)
    assert totals.to_dict() == model.integers(images, keys)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_total_against_the_model(dtype: type, channels: int) -> None:
    rng = np.random.default_rng(channels)
    top = int(np.iinfo(dtype).max)
    shapes = [(1, 1), (1, 2), (3, 5), (7, 4), (1, 1), (2, 9), (6, 6)]
    images = [rng.integers(0, top + 1, (*shape, channels)).astype(dtype) for shape in shapes]
    images.append(np.full((5, 3, channels), top, dtype))
    totals = Totals()
    totals.fold(rows_of(images))
    assert totals.to_dict() == model.integers(images, [f"image{i}" for i in range(len(images))])


# A step takes eight rows of lanes of 8 bits; lanes are emptied every 8,192 steps. Squares of 255 would overflow a lane
# of 32 bits at 8,257 steps.
STEPS_U8 = [8191, 8192, 8193, 8256, 8257, 8258, 2 * 8192, 2 * 8192 + 1, 2 * 8257]
# Four rows of 16 bits, which are emptied every 16,384 steps. Values of 65535 would overflow a lane at 16,385 steps.
STEPS = [16383, 16384, 16385, 16512, 16513, 16514, 2 * 16384, 2 * 16384 + 1, 2 * 16513]


@pytest.mark.parametrize("steps", STEPS_U8)
@pytest.mark.parametrize(("channels", "lanes"), [(1, 96), (3, 96), (5, 80)])
def test_lanes_of_8_bit_squares_do_not_overflow(channels: int, lanes: int, steps: int) -> None:
    check_constant(255, np.uint8, channels, steps * 8 * lanes // channels)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("channels", "lanes"), [(1, 48), (3, 48), (5, 80)])
def test_lanes_of_16_bit_values_do_not_overflow(channels: int, lanes: int, steps: int) -> None:
    check_constant(65535, np.uint16, channels, steps * 4 * lanes // channels)


def test_lower_halves_of_16_bit_squares_do_not_overflow() -> None:
    value = max(range(65536), key=lambda x: x * x % 65536)
    assert value * value % 65536 == 65529
    for steps in STEPS:
        check_constant(value, np.uint16, 1, steps * 4 * 48 + 1)


def check_constant(value: int, dtype: type, channels: int, pixels: int) -> None:
    total, squares = np.zeros((2, channels), np.uint64)
    low, high = np.zeros((2, channels), dtype)
    kernel = moments_u8 if dtype is np.uint8 else moments_u16
    kernel(np.full(pixels * channels, value, dtype), channels, total, squares, low, high)
    assert total.tolist() == [pixels * value] * channels
    assert squares.tolist() == [pixels * value * value] * channels
    assert low.tolist() == high.tolist() == [value] * channels
