"""Arrays, tensors and images in the program: channels, depths, layouts, floats."""

from __future__ import annotations

import gzip
import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import gpustats
from gpustats import DataError, ImagesFailedWarning, MergeError, Stats
from gpustats.statistics.float_moments import moments_float
from gpustats.statistics.rows import Rows
from gpustats.statistics.sums import moments_u16
from gpustats.statistics.totals import Totals
from tests.rows import raw_rows


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, progress=False, device="cpu", **options)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 13))


@settings(max_examples=40, deadline=None)
@given(shapes, st.sampled_from(["u1", "<u2", ">u2"]), st.integers(0, 2**32 - 1))
def test_integers_are_exact(shape: tuple[int, int, int], dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    top = 255 if dtype == "u1" else 65535
    image = rng.choice([0, 1, top - 1, top, int(rng.integers(0, top))], shape).astype(dtype)
    stats = compute([image], layout="HWC")
    values = image.reshape(-1, shape[2]).astype(object)
    assert stats.exact
    assert stats.totals.kind.max_value == top
    assert stats.totals["moments"]["sum"] == values.sum(axis=0).tolist()
    assert stats.totals["moments"]["sumsq"] == (values * values).sum(axis=0).tolist()
    assert stats.totals["moments"]["min"] == values.min(axis=0).tolist()
    assert stats.totals["moments"]["max"] == values.max(axis=0).tolist()
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    for same, layout in [(planes, "CHW"), (image[None], "NHWC"), (planes[None], "NCHW"), (image[::-1, ::-1], "HWC")]:
        again = compute([same], layout=layout).totals
        assert again["moments"] == stats.totals["moments"]


def test_sums_of_16_bit_values_do_not_overflow() -> None:
    pixels = np.full(3 * 5_000_000, 65535, np.uint16)
    total, squares = np.zeros((2, 3), np.uint64)
    low, high = np.zeros((2, 3), np.uint16)
    moments_u16(pixels, 3, total, squares, low, high)
    assert total.tolist() == [65535 * 5_000_000] * 3
    assert squares.tolist() == [65535**2 * 5_000_000] * 3


@settings(max_examples=60, deadline=None)
@given(
    shapes,
    st.sampled_from(["f2", "f4", "f8", ">f4"]),
    st.sampled_from([0.0, 1.0, -1000.0]),
    st.sampled_from([0.0, 1e-3, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_floats_agree_with_exact_rationals(
    shape: tuple[int, int, int], dtype: str, center: float, spread: float, seed: int
) -> None:
    image = (center + spread * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)
    stats = compute([image], layout="HWC")
    assert not stats.exact
    for c in range(shape[2]):
        values = [Fraction(float(x)) for x in image[..., c].ravel()]
        mean = sum(values) / len(values)
        std = math.sqrt(sum((x - mean) ** 2 for x in values) / len(values))
        scale = max(abs(float(mean)), 1e-300)
        assert abs(stats.mean[c] - float(mean)) <= 4e-16 * scale + 1e-15 * std
        assert abs(stats.std[c] - std) <= 1e-12 * std + 1e-18 * scale
        assert (stats.min[c], stats.max[c]) == (float(min(values)), float(max(values)))


def test_a_large_mean_does_not_eat_the_deviation() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 2, (50, 60, 3)).astype(np.float64)
    small[0, 0] = 0.0
    image = small + 2.0**40
    image[0, 0] = 0.0  # the first pixel is far off: a shift by it would cancel
    expected = image - image.mean((0, 1))
    assert np.allclose(compute([image]).std, np.sqrt((expected**2).mean((0, 1))), rtol=1e-13)
    stats = compute([small + 2.0**40])
    assert np.allclose(stats.std, small.std((0, 1)), rtol=1e-9)


def random_rows(rng: np.random.Generator, count: int) -> tuple[Rows, list[NDArray[np.float64]]]:
    images = [100.0 + rng.standard_normal((*rng.integers(1, 9, 2), 2)) * rng.uniform(0, 3) for _ in range(count)]
    out = np.zeros((4, count, 2))
    for i, image in enumerate(images):
        moments_float(image.reshape(-1), 2, *out[:, i])
    size = np.array([image.shape[:2] for image in images], np.uint64).reshape(-1, 2)
    columns = dict(zip(("mean", "deviation", "min", "max"), out, strict=True))
    return raw_rows("float64", size[:, 0], size[:, 1], **columns), images


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_float_parts_merge_to_the_whole_both_ways_round(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts, images = [], []
    for count in counts:
        rows, some = random_rows(rng, count)
        part = Totals()
        part.fold(rows)
        parts.append(part)
        images += some
    left, right = Totals(), Totals()
    for part in parts:
        left.merge(part)
    for part in reversed(parts):
        right.merge(Totals.from_dict(part.to_dict()))
    for whole in (left, right):
        stats = Stats(whole)
        assert stats.n_images == len(images)
        if not images:
            assert stats.mean.shape == (0,)
            continue
        pixels = np.concatenate([image.reshape(-1, 2) for image in images])
        assert np.allclose(stats.mean, pixels.mean(0), rtol=1e-13)
        assert np.allclose(stats.std, pixels.std(0), rtol=1e-9, atol=1e-12)
        assert np.allclose(stats.per_image.std, np.mean([i.std((0, 1)) for i in images], 0), rtol=1e-9, atol=1e-12)
        assert np.allclose(stats.std_of_means, np.std([i.mean((0, 1)) for i in images], 0), rtol=1e-9, atol=1e-10)
        assert np.allclose(
            stats.per_image.rms_std, np.sqrt(np.mean([i.var((0, 1)) for i in images], 0)), rtol=1e-9, atol=1e-12
        )
        assert stats.min.tolist() == pixels.min(0).tolist()


def test_a_float_result_is_saved_shown_and_merged(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((6, 3, 9, 8)).astype(np.float32)
    whole = compute(images)
    whole.save(tmp_path / "s.json")
    again = Stats.load(tmp_path / "s.json")
    assert (again.totals, again.exact, again.channels) == (whole.totals, False, ("R", "G", "B"))
    assert '"exact": false' in whole.to_json()
    assert "not bit-exact" in repr(whole)
    merged = compute(images[:2]) + compute(images[2:])
    assert np.allclose(merged.mean, whole.mean, rtol=1e-15)
    assert np.allclose(merged.std, whole.std, rtol=1e-14)
    assert np.allclose(whole.scaled(255).std, 255 * whole.std)
    with pytest.raises(MergeError, match="of floats cannot be pooled with images of 3 channels of 8 bits"):
        whole + compute(np.zeros((2, 2, 3), np.uint8))
    damaged = whole.to_dict()
    damaged["totals"]["moments"]["deviation"][0] = -1.0
    with pytest.raises(DataError, match="contradict"):
        Stats.from_dict(damaged)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pixels", -1, "non-negative integer"),
        ("moments.mean", [1.0], "should hold 3 numbers"),
        ("moments.mean", [1.0, 2.0, "3"], "finite number"),
        ("moments.mean", [1.0, 2.0, float("nan")], "finite number"),
        ("moments.image_var", [0.5, 0.5, 10**400], "damaged"),
        ("moments.max", [-1.0, 1.0, 1.0], "contradict"),
        ("moments.image_std", [-1.0, 1.0, 1.0], "contradict"),
        ("key_hash", "xyz", "damaged"),
    ],
)
def test_damaged_moments_are_refused(name: str, value: object, message: str) -> None:
    totals = gpustats.compute(np.random.default_rng(0).random((2, 8, 9, 3)), progress=False).totals
    assert not totals.exact
    data = totals.to_dict()
    assert Totals.from_dict(data) == totals
    *parts, name = name.split(".")
    place = data[parts[0]] if parts else data
    place[name] = value
    with pytest.raises(gpustats.DataError, match=message):
        Totals.from_dict(data)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_is_left_out(bad: float) -> None:
    images = np.random.default_rng(0).random((4, 5, 5, 3))
    images[2, 3, 1, 1] = bad
    stats = compute(images)
    assert stats.valid_share.tolist() == [1, 0.99, 1]
    assert np.allclose(stats.mean, np.ma.masked_invalid(images).mean((0, 1, 2)))


def test_values_that_are_too_large_for_a_variance_fail_their_image() -> None:
    images = np.random.default_rng(0).random((4, 5, 5, 3))
    images[2, 3, 1, 1] = 1e300
    with pytest.warns(ImagesFailedWarning):
        stats = compute(images)
    assert [(f.key, f.reason) for f in stats.failures] == [("2", "corrupt")]
    assert np.allclose(stats.mean, images[[0, 1, 3]].mean((0, 1, 2)))


def test_channel_names_come_from_the_data() -> None:
    for channels, names in [(1, ("L",)), (3, ("R", "G", "B")), (4, ("0", "1", "2", "3"))]:
        stats = compute(np.zeros((2, 8, 9, channels), np.uint8))
        assert stats.channels == names
        assert stats.mean.shape == (channels,)
        assert Stats.from_dict(stats.to_dict()).channels == names
    assert compute(np.zeros((5, 6), np.uint8)).channels == ("L",)
    assert (compute(np.zeros((5, 6), np.uint8)) + Stats(Totals())).channels == ("L",)


@pytest.mark.parametrize(
    ("shape", "n", "channels"),
    [
        ((60, 28, 28), 60, 1),
        ((7, 9, 3), 1, 3),
        ((3, 7, 9), 1, 3),
        ((1, 7, 9), 1, 1),
        ((5, 7, 9, 3), 5, 3),
        ((5, 4, 7, 9), 5, 4),
        ((7, 9), 1, 1),
    ],
)
def test_layouts_that_are_clear(shape: tuple[int, ...], n: int, channels: int) -> None:
    stats = compute(np.zeros(shape, np.uint8))
    assert (stats.n_images, len(stats.mean)) == (n, channels)


@pytest.mark.parametrize(
    "shape", [(3, 7, 3), (2, 3, 9, 3), (7, 8, 9), (28, 28, 5), (9, 7, 8, 9), (3,), (2, 2, 2, 2, 2)]
)
def test_layouts_that_are_not(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"layout=|is no image"):
        compute(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("dtype", "advice"), [("bool", "masks"), ("c8", "complex64")])
def test_types_that_are_not_pixels(dtype: str, advice: str) -> None:
    with pytest.raises(gpustats.AllImagesFailed, match=rf"none of 2 images could be read: 2 unsupported .*{advice}"):
        compute(np.zeros((2, 5, 6, 3), dtype))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("apart", [0, 95])  # in one batch, and in batches of their own
def test_images_that_differ_in_kind_stop_the_run(reverse: bool, apart: int) -> None:
    color, grey = np.zeros((5, 6, 3), np.uint8), np.zeros((5, 6, 1), np.uint8)
    images = [color] * (apart + 1) + [grey]
    with pytest.raises(DataError, match=r"\d+ has 1 channel of 8 bits, \d+ has 3 channels of 8 bits"):
        compute(images[::-1] if reverse else images)
    with pytest.raises(DataError, match=r"3 channels of 16 bits, .* has 3 channels of 8 bits"):
        compute([color, color.astype(np.uint16)])
    with pytest.raises(DataError, match=r"3 channels of 8 bits, .* has 3 channels of floats"):
        compute([color.astype(np.float32), color])


def test_mnist_files(tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8)
    labels = np.arange(300, dtype=np.uint8) % 10
    for ending, opener in [("", open), (".gz", gzip.open)]:
        folder = tmp_path / f"raw{ending}"
        folder.mkdir()
        with opener(folder / f"train-images-idx3-ubyte{ending}", "wb") as file:
            file.write(b"\0\0\x08\x03" + struct.pack(">3I", *digits.shape) + digits.tobytes())
        with opener(folder / f"train-labels-idx1-ubyte{ending}", "wb") as file:
            file.write(b"\0\0\x08\x01" + struct.pack(">I", 300) + labels.tobytes())
        for data in (folder, folder / f"train-images-idx3-ubyte{ending}"):
            stats = compute(data)
            assert stats.totals["moments"]["sum"] == [int(digits.sum(dtype=np.int64))]
            assert stats.channels == ("L",)
            samples = gpustats.sources.open_source(data).samples()
            groups = {sample[1] for sample in samples if isinstance(sample, tuple)}
            assert groups == {str(i) for i in range(10)}


def test_pil_images_keep_what_totensor_keeps() -> None:
    rng = np.random.default_rng(0)
    for mode, channels in [("L", 1), ("RGB", 3), ("RGBA", 4), ("P", 3), ("CMYK", 3), ("1", 1)]:
        image = Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).convert(mode)
        assert len(compute([image]).mean) == channels, mode
    deep = Image.fromarray(rng.integers(0, 65536, (9, 8), dtype=np.uint16))
    assert compute(deep).totals.kind.max_value == 65535


class Dataset:
    """A map-style dataset with one item that raises."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 4:
            raise KeyError("gone")
        return {"image": np.full((3, 4, 5), index, np.uint8), "label": index % 2}


def test_a_dataset_item_that_raises_is_a_failure() -> None:
    with pytest.warns(ImagesFailedWarning):
        stats = compute(Dataset())
    assert stats.n_images == 5
    assert [(f.key, f.message) for f in stats.failures] == [("4", "KeyError: 'gone'")]


def test_iterables_that_are_no_images() -> None:
    def broken() -> Any:
        yield np.zeros((2, 2, 3), np.uint8)
        raise OSError("disk on fire")

    with pytest.raises(DataError, match="generator raised OSError after 1 images: disk on fire"):
        compute(broken())
    with pytest.raises(DataError, match="element 0 is int; expected an array"):
        compute(iter([1, 2]))
    with pytest.raises(DataError, match="cannot read images from dict"):
        compute({"a": 1})
    with pytest.raises(DataError, match="no images found"):
        compute(iter([]))


class FakeTensor:
    """As much of a tensor as is looked at."""

    __module__ = "torch"

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = f"torch.{array.dtype}"
        self.device = type("device", (), {"type": "cpu"})()

    def __dlpack__(self) -> Any:
        raise AssertionError

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Any:
        return FakeTensor(self.array[index])

    def detach(self) -> FakeTensor:
        return self

    def numpy(self) -> NDArray[Any]:
        return self.array


def test_tensors_are_known_by_their_module() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (4, 3, 9, 3), dtype=np.uint8)  # both ends could be channels
    stats = compute([(FakeTensor(batch), [0, 1, 0, 1])])
    assert stats.totals["moments"]["sum"] == batch.sum((0, 2, 3), dtype=np.int64).tolist()
    with pytest.raises(DataError, match="two axes could be"):
        compute(batch)


def test_torch_datasets_and_loaders() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    images = torch.randint(0, 256, (50, 3, 12, 10), dtype=torch.uint8, generator=torch.manual_seed(0))
    labels = torch.arange(50) % 4
    data = torch.utils.data.TensorDataset(images, labels)
    expected = compute(images.numpy())
    for source in (images, data, torch.utils.data.DataLoader(data, batch_size=8), list(images), [*images.numpy()]):
        stats = compute(source)
        assert stats.totals["moments"]["sum"] == expected.totals["moments"]["sum"]
        assert stats.totals["moments"]["image_std"] == expected.totals["moments"]["image_std"]
    groups = [s[1] for s in gpustats.sources.open_source(torch.utils.data.DataLoader(data, batch_size=8)).samples()]
    assert groups == [str(int(label)) for label in labels]
    floats = compute(images / 255)
    assert not floats.exact
    assert np.allclose(floats.mean, expected.mean, rtol=1e-6)
    for dtype in (torch.float16, torch.bfloat16):
        assert np.allclose(compute((images / 255).to(dtype)).mean, expected.mean, rtol=1e-2)


@pytest.mark.gpu
def test_arrays_in_gpu_memory_stay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    images = np.random.default_rng(0).integers(0, 256, (9, 40, 50, 3), dtype=np.uint8)
    expected = compute(images).totals
    monkeypatch.setattr(cupy, "asnumpy", None)
    for data in (cupy.asarray(images), list(cupy.asarray(images.transpose(0, 3, 1, 2)))):
        totals = compute(data).totals
        assert totals["moments"] == expected["moments"]
    floats = compute(cupy.asarray(images / 255))
    assert np.allclose(floats.mean, compute(images).mean, rtol=1e-14)
