"""Totals: counts, the hash of names, merging both ways round, and what a damaged file is told by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DataError, MergeError, Totals
from gpustats.float_moments import FloatAccumulator, FloatMoments
from tests import model
from tests.images import encoded, photo
from tests.test_moments import random_images, rows_of

NAMES = ["a.jpg", "", "ü/日本.jpg", os.fsdecode(b"caf\xe9/\xff.jpg"), *(f"{i}" for i in range(60))]


def integers_of(images: list[np.ndarray], names: list[str] | None = None) -> Totals:
    rows, totals = rows_of(images), Totals()
    if names is not None:
        rows.keys[:] = names  # type: ignore[index]
    totals.fold(rows)
    return totals


def floats_of(first: int = 0, count: int = 4, channels: int = 2) -> FloatAccumulator:
    """Moments whose numbers are all dyadic, so that every sum and mean is exact: images of 2 x 2**i pixels."""
    index = np.arange(first, first + count)
    mean = np.array([[4.0 * i + c for c in range(channels)] for i in index])
    totals = FloatAccumulator()
    totals.fold(
        FloatMoments(
            [f"{i}" for i in index], [""] * count, np.full(count, 2, np.uint64), (1 << index).astype(np.uint64),
            mean, mean * 0 + 4.0 * 2 * (1 << index)[:, None], mean - 3, mean + 2,
        )
    )  # fmt: skip
    return totals


BOTH: dict[str, Any] = {"integers": lambda: integers_of(random_images(3, 4)), "floats": floats_of}


def test_the_hash_of_the_keys_is_that_of_the_names_on_disk() -> None:
    images = [np.zeros((2, 3, 1), np.uint8)] * len(NAMES)
    whole = integers_of(images, NAMES)
    assert whole.key_hash == model.key_hash(NAMES)
    assert integers_of(images, NAMES[::-1]).key_hash == whole.key_hash
    assert whole.to_dict()["key_hash"] == f"{whole.key_hash:032x}"
    sums = set()
    for cut in (1, 4, 10, 20, 33):
        left, right = integers_of(images[:cut], NAMES[:cut]), integers_of(images[cut:], NAMES[cut:])
        sums.add(left.key_hash + right.key_hash - whole.key_hash)
        left.merge(right)
        assert left.key_hash == whole.key_hash < 2**128
    assert sums == {0, 2**128}, "some pass 2**128, some do not"
    assert integers_of(images[:1], ["b"]).key_hash != integers_of(images[:1], ["a"]).key_hash


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
def test_an_image_whose_name_is_not_utf8_counts(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (tmp_path / name).write_bytes(encoded(photo(), "PNG"))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    stats = gpustats.compute(tmp_path, progress=False)
    assert stats.n_images == 1
    assert stats.totals.key_hash == model.key_hash([name])
    stats.save(tmp_path / "s.json")
    assert gpustats.Stats.load(tmp_path / "s.json").totals == stats.totals


def test_a_small_hash_keeps_its_zeros() -> None:
    data = integers_of(random_images(0, 1)).to_dict() | {"key_hash": "0" * 31 + "f"}
    assert Totals.from_dict(data).key_hash == 15
    assert Totals.from_dict(data).to_dict() == data


SHAPES = [(2, 9), (1, 1), (5, 1), (1, 7), (9, 2), (3, 3)]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [4, 0, 3, 1, 5, 2]])
@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_every_number_of_a_merge_is_that_of_the_whole(order: list[int], cut: int) -> None:
    rng = np.random.default_rng(9)
    images = [rng.integers(40, 200, (*shape, 3)).astype(np.uint8) for shape in SHAPES]
    images[0][0, 0], images[4][0, 0] = 3, 251
    keys = [f"image{i}" for i in order]
    a = integers_of([images[i] for i in order[:cut]], keys[:cut])
    b = integers_of([images[i] for i in order[cut:]], keys[cut:])
    before = b.to_dict()
    a.merge(b)
    assert a.to_dict() == model.integers(images, keys)
    assert b.to_dict() == before


def test_the_range_of_sizes() -> None:
    totals = integers_of([np.zeros((*shape, 1), np.uint8) for shape in SHAPES])
    assert (totals.height_min, totals.height_max, totals.width_min, totals.width_max) == (1, 9, 1, 9)
    tall = integers_of([np.zeros((30, 2, 1), np.uint8), np.zeros((20, 4, 1), np.uint8)])
    assert (tall.height_min, tall.height_max, tall.width_min, tall.width_max) == (20, 30, 2, 4)
    assert (tall.images, tall.pixels, tall.images_unbiased) == (2, 140, 2)
    wide = integers_of([np.zeros((10, 50, 1), np.uint8), np.zeros((25, 60, 1), np.uint8)])
    for a, b in ((tall, wide), (wide, tall)):
        both = Totals()
        both.merge(a)
        both.merge(b)
        assert (both.height_min, both.height_max, both.width_min, both.width_max) == (10, 30, 2, 60)


@pytest.mark.parametrize("kind", BOTH)
def test_the_empty_totals_are_the_identity_on_either_side(kind: str) -> None:
    full = BOTH[kind]()
    before = full.to_dict()
    for empty in (Totals(), FloatAccumulator()):
        full.merge(empty)
        assert full.to_dict() == before
    empty = type(full)()
    empty.merge(full)
    assert empty == full
    empty.merge(BOTH[kind]())
    assert full.to_dict() == before, "a merge copies, it does not share"
    nothing = type(full)()
    nothing.merge(type(full)())
    assert nothing == type(full)()
    assert (nothing.images, nothing.key_hash, nothing.to_dict()["key_hash"]) == (0, 0, "0" * 32)


@pytest.mark.parametrize("kind", BOTH)
def test_folding_no_rows_changes_nothing(kind: str) -> None:
    full = BOTH[kind]()
    before = full.to_dict()
    empty = rows_of(random_images(0, 1)) if kind == "integers" else None
    nothing = np.empty((0, 2))
    rows: Any = (
        gpustats.ImageMoments([], [], *(empty.height[:0],) * 2, *(empty.sum[:0],) * 2, *(empty.min[:0],) * 2)
        if empty is not None
        else FloatMoments([], [], *(np.empty(0, np.uint64),) * 2, *(nothing,) * 4)
    )
    full.fold(rows)
    assert full.to_dict() == before


def test_integers_floats_and_channels_do_not_mix() -> None:
    grey = integers_of([np.zeros((2, 2, 1), np.uint8)])
    color, floats = BOTH["integers"](), floats_of()
    for a, b, message in [
        (grey, color, "images of 1 channel of 8 bits cannot be pooled with images of 3 channels of 8 bits"),
        (color, floats, "images of 3 channels of 8 bits cannot be pooled with images of 2 channels of floats"),
        (floats, color, "images of 2 channels of floats cannot be pooled with images of 3 channels of 8 bits"),
        (floats, floats_of(channels=1), "2 channels of floats cannot be pooled with images of 1 channel of floats"),
        (Totals(), floats, r"images of 0 channels of 0 bits cannot be pooled with"),
        (FloatAccumulator(), color, "images of 0 channels of floats cannot be pooled with"),
    ]:
        before = a.to_dict()
        with pytest.raises(MergeError, match=message):
            a.merge(b)
        assert a.to_dict() == before


def test_equality_and_printing() -> None:
    a, floats = BOTH["integers"](), floats_of()
    assert a == BOTH["integers"]()
    assert a != Totals()
    assert a != floats
    assert a != 1
    assert repr(a) == f"Totals(images=4, pixels={a.pixels}, channels=3)"
    assert repr(floats) == "FloatAccumulator(images=4, pixels=30, channels=2)"
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


@pytest.mark.parametrize("kind", BOTH)
def test_every_missing_number_is_noticed(kind: str) -> None:
    totals = BOTH[kind]()
    data = totals.to_dict()
    assert type(totals).from_dict(data) == totals
    for name in data:
        with pytest.raises(DataError, match=rf"the numbers are incomplete or damaged: KeyError\('{name}'\)"):
            type(totals).from_dict({k: v for k, v in data.items() if k != name})


@pytest.mark.parametrize("kind", BOTH)
def test_every_number_of_another_kind_is_noticed(kind: str) -> None:
    totals = BOTH[kind]()
    data, channels = totals.to_dict(), totals.kind.channels
    for name in totals.scalars:
        for bad in (-1, 1.0, "1", None, True, False, [1]):
            with pytest.raises(DataError, match=rf"'{name}' should be a non-negative integer, got "):
                type(totals).from_dict(data | {name: bad})
    kinds = "(finite number|non-negative integer)"
    for name in totals.per_channel:
        for bad in (None, 1, "1" * channels, tuple(data[name]), dict.fromkeys(range(channels)), data[name] + [1], []):
            with pytest.raises(DataError, match=rf"'{name}' should list {channels} numbers, got "):
                type(totals).from_dict(data | {name: bad})
        for bad in (None, "1", True, [1]):
            for place in range(channels):
                values = [*data[name][:place], bad, *data[name][place + 1 :]]
                with pytest.raises(DataError, match=rf"'{name}' should be a {kinds}, got "):
                    type(totals).from_dict(data | {name: values})
    for bad in ("xyz", "", None, 12, 1.5):
        with pytest.raises(DataError, match="the numbers are incomplete or damaged: "):
            type(totals).from_dict(data | {"key_hash": bad})
    for bad in (None, [], 3, "text"):
        with pytest.raises(DataError, match="the numbers are incomplete or damaged: "):
            type(totals).from_dict(bad)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(DataError) as caught:
        Totals.from_dict(BOTH["integers"]().to_dict() | {"sum": ["x" * 1000] * 3})
    assert len(str(caught.value)) < 150


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "pixels without images": {"images": 0},
    "images without pixels": {"pixels": 0, "min": [0, 0], "max": [0, 0], "sum": [0, 0], "sumsq": [0, 0]},
    "more images than pixels": {"images": 7},
    "a sum below what the minimum allows": {"min": [31, 10]},
    "a sum above what the maximum allows": {"max": [200, 19]},
    "a maximum above the depth": {"max": [200, 256]},
    "a sum of squares below what the sum needs": {"sumsq": [18000, 2399]},
    "a sum of squares above what the sum allows": {"sumsq": [180 * 255 + 1, 3000]},
}


def consistent() -> dict[str, Any]:
    """Two images, six pixels: channel 0 has the sum 180, channel 1 the sum 120."""
    return Totals().to_dict() | {
        "channels": 2, "images": 2, "pixels": 6, "images_unbiased": 2, "max_value": 255, "height_min": 1,
        "height_max": 3, "width_min": 1, "width_max": 3, "sum": [180, 120], "sumsq": [18000, 3000], "min": [2, 10],
        "max": [200, 50], "image_mean": [0, 0], "image_mean_sq": [0, 0], "image_std": [0, 0],
        "image_std_unbiased": [0, 0], "image_var": [0, 0],
    }  # fmt: skip


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_integers_that_contradict_one_another(what: str) -> None:
    Totals.from_dict(consistent())
    with pytest.raises(DataError, match="the integers contradict one another: the file was changed or damaged"):
        Totals.from_dict(consistent() | CONTRADICTIONS[what])


def test_a_minimum_above_the_maximum_of_nothing() -> None:
    empty = {"images": 0, "pixels": 0, "sum": [0, 0], "sumsq": [0, 0], "min": [0, 0], "max": [0, 0]}
    Totals.from_dict(consistent() | empty)
    with pytest.raises(DataError, match="contradict"):
        Totals.from_dict(consistent() | empty | {"min": [0, 3], "max": [0, 2]})


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
def test_integers_at_their_limits_are_read(value: int, shape: tuple[int, int]) -> None:
    """min = mean = max; images = pixels; sumsq = sum * 255."""
    totals = integers_of([np.full((*shape, 2), value, np.uint8)] * 3)
    assert Totals.from_dict(totals.to_dict()) == totals
    black_and_white = integers_of([np.array([[[0, 255]], [[255, 0]]], np.uint8)])
    assert Totals.from_dict(black_and_white.to_dict()) == black_and_white


@pytest.mark.parametrize(
    "change",
    [
        {"images": 0},
        {"pixels": 0},
        {"images": 31},
        {"min": [-3.0, 15.5]},
        {"min": [14.5, -2.0]},
        *({name: [1.0, -1e-300]} for name in ("deviation", "image_mean_deviation", "image_std", "image_var")),
        {"image_std_unbiased": [-1e-300, 1.0]},
    ],
)
def test_moments_that_contradict_one_another(change: dict[str, Any]) -> None:
    data = floats_of().to_dict()
    FloatAccumulator.from_dict(data)
    with pytest.raises(DataError, match="the moments contradict one another: the file was changed or damaged"):
        FloatAccumulator.from_dict(data | change)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_moments_must_be_finite(bad: float) -> None:
    for name in FloatAccumulator.per_channel:
        with pytest.raises(DataError, match=r"should be a finite number|int too large"):
            FloatAccumulator.from_dict(floats_of().to_dict() | {name: [1.0, bad]})


def test_moments_at_their_limits_are_read() -> None:
    """One pixel an image, one value: pixels = images, min = max, no deviation; whole numbers are numbers."""
    totals, one = FloatAccumulator(), np.ones((3, 2))
    size = np.ones(3, np.uint64)
    totals.fold(FloatMoments(["a", "b", "c"], [""] * 3, size, size, one, one * 0, one, one))
    assert FloatAccumulator.from_dict(totals.to_dict()) == totals
    again = FloatAccumulator.from_dict(totals.to_dict() | {"mean": [1, 1]})
    assert [type(x) for x in again.mean] == [float, float]
    assert FloatAccumulator.from_dict(FloatAccumulator().to_dict()) == FloatAccumulator()


def test_moments_of_rows_and_of_merges_are_exact_where_floats_can_be() -> None:
    """Means of 4 i + c, deviations of 4 a pixel, 2 * 2**i pixels: every intermediate number is dyadic."""

    def expected(indices: list[int]) -> dict[str, Any]:
        pixels = [2 << i for i in indices]
        n, data = sum(pixels), {}
        for c in range(2):
            means = [4 * i + c for i in indices]
            mean = sum(p * m for p, m in zip(pixels, means, strict=True)) / n
            image_mean = sum(means) / len(means)
            channel = {
                "mean": mean,
                "deviation": sum(4 * p + p * (m - mean) ** 2 for p, m in zip(pixels, means, strict=True)),
                "min": min(means) - 3,
                "max": max(means) + 2,
                "image_mean": image_mean,
                "image_mean_deviation": sum((m - image_mean) ** 2 for m in means),
                "image_std": 2.0 * len(means),
                "image_std_unbiased": sum((4 * p / (p - 1)) ** 0.5 for p in pixels),
                "image_var": 4.0 * len(means),
            }
            for name, value in channel.items():
                data.setdefault(name, []).append(value)
        sizes = {"height_min": 2, "height_max": 2, "width_min": 1 << min(indices), "width_max": 1 << max(indices)}
        return {"images": len(indices), "pixels": n, "images_unbiased": len(indices), **sizes, **data}

    for first, count in [(0, 1), (1, 1), (0, 2), (3, 5)]:
        data = floats_of(first, count).to_dict()
        for name, value in expected(list(range(first, first + count))).items():
            assert data[name] == (pytest.approx(value, rel=1e-15)), name
    for cut in (1, 2, 3):
        for swap in (False, True):
            a, b = floats_of(0, cut), floats_of(cut, 4 - cut)
            a, b = (b, a) if swap else (a, b)
            a.merge(b)
            for name, value in expected([0, 1, 2, 3]).items():
                assert a.to_dict()[name] == pytest.approx(value, rel=4e-15), name
            assert a.key_hash == model.key_hash("0123")


def test_an_image_of_floats_without_pixels_is_refused() -> None:
    one = np.ones((2, 1))
    height, width = np.array([3, 3], np.uint64), np.array([3, 0], np.uint64)
    with pytest.raises(ValueError, match="image 'b' has no pixels"):
        FloatAccumulator().fold(FloatMoments(["a", "b"], ["", ""], height, width, one, one, one, one))
