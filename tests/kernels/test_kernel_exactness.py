"""The kernels against NumPy, exactly, on shapes and addresses that are awkward on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_shim import Batch, compute

SIZES = [(1, n) for n in range(0, 201)]
EXTRAS = [{"cross": True}, {"histogram": True}, {"cross": True, "histogram": True}]
INTEGERS = [(c, dtype) for dtype in ("uint8", "uint16") for c in (1, 2, 3, 4, 5, 13)]
SMALLEST_TILE = 9216


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.mark.parametrize(("channels", "dtype"), INTEGERS)
def test_every_size_from_0_to_200_at_every_address(cpu_device, rng, channels, dtype):
    sizes = SIZES if channels < 5 else SIZES[::9]
    for start in range(0, 16, np.dtype(dtype).itemsize):
        batch = Batch.random(rng, [*sizes, (3, 5), (0, 4), (7, 23), (31, 33)], channels, dtype, start=start)
        batch.check(compute(cpu_device, batch.plan()))


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize(("channels", "dtype"), INTEGERS)
def test_tile_boundaries(cpu_device, rng, channels, dtype, layout):
    element = np.dtype(dtype).itemsize
    tile = SMALLEST_TILE // (element * (channels if layout == "HWC" else 1))
    shapes = [(1, tile + d) for d in (-17, -1, 0, 1, 16)] + [(2, tile), (0, 0), (3, tile + 5)]
    batch = Batch.random(rng, shapes, channels, dtype, layout, start=3 * element)
    batch.check(compute(cpu_device, batch.plan(tile_bytes=SMALLEST_TILE)))


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize(
    ("channels", "dtype", "options"),
    [(*case, options) for case in INTEGERS for options in EXTRAS if case[1] == "uint8" or options == EXTRAS[0]],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_cross_products_and_histograms(cpu_device, rng, channels, dtype, options, layout):
    element = np.dtype(dtype).itemsize
    for start in (0, element, 4, 16 - element):
        shapes = [(1, n) for n in (0, 1, 2, 15, 16, 17, 33)] + [(13, 29), (1, 4000 // channels)]
        batch = Batch.random(rng, shapes, channels, dtype, layout, start=start)
        batch.check(compute(cpu_device, batch.plan(tile_bytes=SMALLEST_TILE, **options)), **options)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_size_with_histogram_and_cross_products(cpu_device, rng, channels):
    options = {"cross": channels > 1, "histogram": True}
    batch = Batch.random(rng, SIZES[::3], channels, "uint8", start=5)
    batch.check(compute(cpu_device, batch.plan(**options)), **options)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_code_for_older_architectures(old_cpu_device, rng, channels, dtype):
    element = np.dtype(dtype).itemsize
    for start in (0, 4 * element):
        batch = Batch.random(rng, [(1, n) for n in range(0, 120, 7)] + [(60, 90)], channels, dtype, start=start)
        batch.check(compute(old_cpu_device, batch.plan()))
        if channels > 1:
            batch.check(compute(old_cpu_device, batch.plan(cross=True)), cross=True)


@pytest.mark.parametrize("value", ["lowest", "highest"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_no_sum_overflows_in_a_full_default_tile(cpu_device, channels, dtype, value):
    """The largest tile, all pixels the largest value: every u32 on the way is as full as it can get."""
    most = np.iinfo(dtype).max if value == "highest" else 0
    largest = 3 * 18432
    pixels = 2 * largest // (channels * np.dtype(dtype).itemsize) + 7
    batch = Batch.of([np.full((1, pixels, channels), most, dtype)], channels, dtype, start=2)
    batch.check(compute(cpu_device, batch.plan(tile_bytes=largest)))
    cross = channels > 1
    batch.check(compute(cpu_device, batch.plan(tile_bytes=largest, cross=cross)), cross=cross)
    if dtype == "uint8":
        plan = batch.plan(tile_bytes=4 * largest if channels < 5 else None, cross=cross, histogram=True)
        batch.check(compute(cpu_device, plan), cross=cross, histogram=True)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_bins_of_all_images_together(cpu_device, rng, channels):
    options = {"histogram": True, "pooled": True}
    batch = Batch.random(rng, [*SIZES[::5], (0, 3), (90, 113)], channels, "uint8", start=8)
    for sizes in ({}, {"tile_bytes": SMALLEST_TILE, "row_pixels": 700}):
        for more in ({}, {"cross": True}) if channels > 1 else ({},):
            batch.check(compute(cpu_device, batch.plan(**sizes, **options, **more)), **options, **more)
    assert len(compute(cpu_device, Batch.of([], 3, "uint8").plan(**options)).pooled) == 3


def test_large_uint16_images_are_cut_into_slices(cpu_device, rng):
    """2^20 pixels a row: squares of a whole image would pass 2^53."""
    image = np.full((3, 2**20 - 1, 1), 65535, np.uint16)
    plan = Batch.of([image], 1, "uint16").plan()
    assert plan.row_pixels.tolist() == [2**20, 2**20, 2**20 - 3]
    assert 2**20 * 65535**2 < 2**53
    for layout in ("HWC", "CHW"):
        for channels in (1, 3, 5):
            batch = Batch.random(rng, [(9, 113), (0, 3), (1, 1), (5, 200)], channels, "uint16", layout, start=6)
            plan = batch.plan(row_pixels=100)
            assert plan.row_pixels.max() <= 100
            batch.check(compute(cpu_device, plan))
            if channels > 1:
                batch.check(compute(cpu_device, batch.plan(row_pixels=100, cross=True)), cross=True)


def test_a_batch_of_empty_images(cpu_device):
    for options in ({}, {"histogram": True}):
        batch = Batch.of([np.zeros((0, 4, 3), np.uint8)] * 3, 3, "uint8")
        batch.check(compute(cpu_device, batch.plan(**options)), **options)
    for dtype in ("uint8", "float32"):
        nothing = Batch.of([], 3, dtype)
        assert compute(cpu_device, nothing.plan()).sum.shape == (0, 3)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5, 13, 300])
def test_float32(cpu_device, rng, channels, layout):
    shapes = [(1, n) for n in (0, 1, 2, 3, 63, 64, 65, 100)] + [(41, 97 if channels < 100 else 23)]
    batch = Batch.random(rng, shapes, channels, "float32", layout, start=4)
    batch.check(compute(cpu_device, batch.plan(tile_bytes=4096)))


def test_float32_leaves_out_and_counts_what_is_not_finite(cpu_device, rng):
    image = rng.normal(1e6, 1, (50, 70, 3)).astype(np.float32)
    image[0, 0, 0] = np.nan  # the first candidate for the shift
    image[3, ::2, 1] = np.inf
    image[4, 5, 2] = -np.inf
    hopeless = np.full((9, 9, 3), np.nan, np.float32)
    huge = np.full((2, 300, 3), np.finfo(np.float32).max, np.float32)
    huge[1] *= -1
    batch = Batch.of([image, hopeless, huge], 3, "float32")
    moments = compute(cpu_device, batch.plan())
    batch.check(moments)
    assert moments.nonfinite[0].tolist() == [1, 35, 1]
    assert moments.nonfinite[1].tolist() == [81, 81, 81]
    assert np.all(np.isfinite(moments.shift))


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_float32_takes_subnormal_numbers_as_they_are(cpu_device, rng, layout):
    """CuPy compiles with -ftz=true, which takes them for 0 in all arithmetic on floats."""
    tiny = np.float32(2.0**-149)
    images = [
        (rng.integers(-(2**23), 2**23, (37, 41, 3)) * 2.0**-149).astype(np.float32),
        (rng.integers(1, 5, (1, 9, 3)) * 2.0**-149).astype(np.float32),
        (rng.normal(0, 1, (9, 33, 3)) * 2.0**-126).astype(np.float32),
        np.full((5, 5, 3), -tiny),
        np.array([0.0, -0.0, tiny, 1.0, -1.0, np.finfo(np.float32).tiny], np.float32).repeat(3).reshape(1, 6, 3),
    ]
    assert all(np.any((image != 0) & (np.abs(image) < np.finfo(np.float32).tiny)) for image in images)
    batch = Batch.of(images, 3, "float32", layout)
    moments = compute(cpu_device, batch.plan())
    batch.check(moments)
    assert moments.min[3].tolist() == moments.max[3].tolist() == [-tiny] * 3
    assert moments.min[4].tolist() == [-1] * 3
    assert moments.sum[3].tolist() == [0] * 3, "all are equal to the shift"
    assert moments.shift[3].tolist() == [-(2.0**-149)] * 3


def test_float32_widens_every_exponent_exactly(cpu_device, rng):
    """One pixel, whose channels are their own shifts: all exponents, both signs, fractions at the ends."""
    fractions = np.array([0, 1, 2, 0x2AAAAA, 0x400000, 0x7FFFFE, 0x7FFFFF], np.uint32)
    bits = (np.arange(255, dtype=np.uint32)[:, None] << 23 | fractions).ravel()
    values = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    batch = Batch.of([values.reshape(1, 1, -1)], values.size, "float32")
    moments = compute(cpu_device, batch.plan())
    assert moments.shift[0].tobytes() == values.astype(np.float64).tobytes()
    assert moments.min[0].tobytes() == moments.max[0].tobytes() == values.tobytes()
    ordered = np.sort(np.concatenate([bits.view(np.float32), -bits.view(np.float32)[::5]]))
    pairs = np.stack([ordered[:-1], ordered[1:]])
    for pair in (pairs, pairs[::-1]):
        batch = Batch.of([pair.reshape(1, 2, -1)], pair.shape[1], "float32")
        moments = compute(cpu_device, batch.plan())
        np.testing.assert_array_equal(moments.min[0], pairs[0])
        np.testing.assert_array_equal(moments.max[0], pairs[1])


def test_float32_variance_survives_a_large_offset(cpu_device, rng):
    image = (1e7 + rng.integers(0, 3, (200, 100, 1))).astype(np.float32)
    batch = Batch.of([image], 1, "float32")
    m = compute(cpu_device, batch.plan())
    n = image.size
    variance = m.sumsq[0, 0] / n - (m.sum[0, 0] / n) ** 2
    assert variance == pytest.approx(float(image.astype(np.float64).var()), rel=1e-12)


def test_float32_gives_the_same_bits_whatever_the_address_and_the_batch(cpu_device, rng):
    image = rng.normal(0, 1e3, (90, 101, 3)).astype(np.float32)
    other = rng.normal(0, 1, (17, 5, 3)).astype(np.float32)
    results = []
    for start, images in ((0, [image]), (4, [image, other]), (12, [image, image, other])):
        batch = Batch.of(images, 3, "float32", start=start)
        moments = compute(cpu_device, batch.plan())
        results.append((moments.sum[0].tobytes(), moments.sumsq[0].tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize("options", [{}, {"cross": True}], ids=["moments", "cross"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_one_odd_value_is_found_wherever_it_lies(cpu_device, old_cpu_device, channels, dtype, options):
    """Flat images, each with one smallest and one largest value somewhere among a block's loads."""
    options = options if channels > 1 else {}
    elements = 18432 // np.dtype(dtype).itemsize // channels * channels + channels
    images = []
    for k in range(108):
        flat = np.full(elements, 100, dtype)
        flat[(k + k % 6 * 3072) % elements] = 200
        flat[(7 * k + 1000) % elements] = 3
        images.append(flat.reshape(1, -1, channels))
    batch = Batch.of(images, channels, dtype)
    for device in (cpu_device, old_cpu_device):
        batch.check(compute(device, batch.plan(tile_bytes=18432, **options)), **options)
