"""Totals: counts, the hash of names, merging both ways round, and what a damaged file is told by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DataError, MergeError
from gpustats.statistics.base import Kind
from gpustats.statistics.float_moments import FloatMoments
from gpustats.statistics.moments import Moments
from gpustats.statistics.rows import NO_ROWS
from gpustats.statistics.totals import Totals
from tests import model
from tests.images import encoded, photo
from tests.rows import random_images, raw_rows, rows_of

NAMES = ["a.jpg", "", "ü/日本.jpg", os.fsdecode(b"caf\xe9/\xff.jpg"), *(f"{i}" for i in range(60))]


SCALARS = ("images", "pixels", "height_min", "height_max", "width_min", "width_max")
COUNTS = ("n", "images", "images_unbiased")


def integers_of(images: list[np.ndarray], names: list[str] | None = None) -> Totals:
    totals = Totals()
    totals.fold(rows_of(images, keys=names))
    return totals


def floats_of(first: int = 0, count: int = 4, channels: int = 2) -> Totals:
    """Moments whose numbers are all dyadic, so that every sum and mean is exact: images of 2 x 2**i pixels."""
    index = np.arange(first, first + count)
    mean = np.array([[4.0 * i + c for c in range(channels)] for i in index])
    totals = Totals()
    totals.fold(
        raw_rows(
            "float64", [2] * count, 1 << index, keys=[f"{i}" for i in index],
            mean=mean, deviation=mean * 0 + 4.0 * 2 * (1 << index)[:, None], min=mean - 3, max=mean + 2,
        )
    )  # fmt: skip
    return totals


def changed(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return saved totals with other numbers: ``"moments.images"`` is of the channels, ``"images"`` of the whole."""
    moments = {name: value for name, value in changes.items() if name in data["moments"] and name not in SCALARS}
    moments |= {name.partition(".")[2]: value for name, value in changes.items() if name.startswith("moments.")}
    whole = {name: value for name, value in changes.items() if name in data}
    return data | whole | {"moments": data["moments"] | moments}


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
    assert (tall.images, tall.pixels, tall["moments"]["images_unbiased"]) == (2, 140, [2])
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
    empty = Totals()
    full.merge(empty)
    assert full.to_dict() == before
    empty.merge(full)
    assert empty == full
    empty.merge(BOTH[kind]())
    assert full.to_dict() == before, "a merge copies, it does not share"
    nothing = Totals()
    nothing.merge(Totals())
    assert nothing == Totals()
    assert (nothing.images, nothing.key_hash, nothing.to_dict()["key_hash"]) == (0, 0, "0" * 32)


@pytest.mark.parametrize("kind", BOTH)
def test_folding_no_rows_changes_nothing(kind: str) -> None:
    full = BOTH[kind]()
    before = full.to_dict()
    full.fold(NO_ROWS)
    full.fold(rows_of(random_images(0, 1, np.uint16)).take(np.zeros(1, bool)))
    assert full.to_dict() == before
    nothing = Totals()
    nothing.fold(rows_of(random_images(0, 1)).take(np.zeros(1, bool)))
    assert (nothing, nothing.kind) == (Totals(), None)


def test_integers_floats_and_channels_do_not_mix() -> None:
    grey = integers_of([np.zeros((2, 2, 1), np.uint8)])
    color, floats = BOTH["integers"](), floats_of()
    for a, b, message in [
        (grey, color, "images of 1 channel of 8 bits cannot be pooled with images of 3 channels of 8 bits"),
        (color, floats, "images of 3 channels of 8 bits cannot be pooled with images of 2 channels of floats"),
        (floats, color, "images of 2 channels of floats cannot be pooled with images of 3 channels of 8 bits"),
        (floats, floats_of(channels=1), "2 channels of floats cannot be pooled with images of 1 channel of floats"),
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
    assert repr(a) == f"Totals(images=4, pixels={a.pixels}, kind=3 channels of 8 bits)"
    assert repr(floats) == "Totals(images=4, pixels=30, kind=2 channels of floats)"
    assert repr(Totals()) == "Totals(images=0, pixels=0, kind=None)"
    assert (a.exact, floats.exact, Totals().exact) == (True, False, True)
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


@pytest.mark.parametrize("kind", BOTH)
def test_every_missing_number_is_noticed(kind: str) -> None:
    totals = BOTH[kind]()
    data = totals.to_dict()
    assert Totals.from_dict(data) == totals
    for name in data:
        with pytest.raises(DataError, match=rf"the numbers are incomplete or damaged: KeyError\('{name}'\)"):
            Totals.from_dict({k: v for k, v in data.items() if k != name})
    for name in data["kind"]:
        with pytest.raises(DataError, match=rf"the numbers are incomplete or damaged: KeyError\('{name}'\)"):
            Totals.from_dict(data | {"kind": {k: v for k, v in data["kind"].items() if k != name}})
    channels = data["kind"]["channels"]
    for name in data["moments"].keys() - Moments.later:
        with pytest.raises(DataError, match=rf"'{name}' should hold {channels} numbers, got None"):
            Totals.from_dict(data | {"moments": {k: v for k, v in data["moments"].items() if k != name}})


@pytest.mark.parametrize("kind", BOTH)
def test_every_number_of_another_kind_is_noticed(kind: str) -> None:
    totals = BOTH[kind]()
    data, channels = totals.to_dict(), totals.kind.channels
    for name in SCALARS:
        for bad in (-1, 1.0, "1", None, True, False, [1]):
            with pytest.raises(DataError, match=rf"'{name}' should be a non-negative integer, got "):
                Totals.from_dict(data | {name: bad})
    for name, values in data["moments"].items():
        for bad in (None, 1, "1" * channels, tuple(values), dict.fromkeys(range(channels)), [*values, 1], []):
            with pytest.raises(DataError, match=rf"'{name}' should hold {channels} numbers, got "):
                Totals.from_dict(changed(data, {f"moments.{name}": bad}))
        if name == "products":
            continue  # a list a channel, see tests/test_clusters.py
        whole = kind == "integers" or name in COUNTS
        for bad in (None, "1", True, [1], *((-1, 1.0) if whole else ())):
            for place in range(channels):
                wrong = [*values[:place], bad, *values[place + 1 :]]
                kinds = "non-negative integer" if whole else "finite number"
                with pytest.raises(DataError, match=rf"'{name}' should be a {kinds}, got "):
                    Totals.from_dict(changed(data, {f"moments.{name}": wrong}))
    for bad in (None, [], 3, "text"):
        with pytest.raises(DataError, match="'moments' should be a table of numbers, got "):
            Totals.from_dict(data | {"moments": bad})
    for bad in ("xyz", "", None, 12, 1.5):
        with pytest.raises(DataError, match="the numbers are incomplete or damaged: "):
            Totals.from_dict(data | {"key_hash": bad})
    for bad in (None, [], 3, "text"):
        with pytest.raises(DataError, match="the numbers are incomplete or damaged: "):
            Totals.from_dict(bad)


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("statistics", None, "incomplete or damaged"),
        ("statistics", 3, "incomplete or damaged"),
        ("statistics", ["moments", "median"], "unknown statistic 'median'"),
        ("statistics", [["moments"]], "incomplete or damaged"),
        ("statistics", ["moments", "histogram"], r"KeyError\('histogram'\)"),
        ("left_out", None, "incomplete or damaged"),
        ("left_out", 3, "incomplete or damaged"),
        ("kind", 3, "incomplete or damaged"),
        ("kind", {"channels": 3, "dtype": "int4"}, "no kind of image has 3 channels of 'int4'"),
        ("kind", {"channels": 3, "dtype": ["uint8"]}, "no kind of image has"),
        ("kind", {"channels": "3", "dtype": "uint8"}, "no kind of image has"),
        ("kind", {"channels": 0, "dtype": "uint8"}, "no kind of image has"),
        ("kind", {"channels": 2, "dtype": "uint8"}, "should hold 2 numbers"),
        ("kind", {"channels": 3, "dtype": "float64"}, "should hold 3 numbers"),
        ("kind", None, "the counts contradict one another"),
    ],
)
def test_what_the_images_are_is_checked(name: str, bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Totals.from_dict(BOTH["integers"]().to_dict() | {name: bad})


@pytest.mark.parametrize("name", [*SCALARS, "key_hash"])
def test_no_images_have_no_numbers(name: str) -> None:
    empty = Totals().to_dict()
    assert Totals.from_dict(empty) == Totals()
    with pytest.raises(DataError, match="the counts contradict one another"):
        Totals.from_dict(empty | {name: "1" if name == "key_hash" else 1})


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(DataError) as caught:
        Totals.from_dict(changed(BOTH["integers"]().to_dict(), {"sum": ["x" * 1000] * 3}))
    assert len(str(caught.value)) < 150


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "pixels without images": {"images": 0, "moments.images": [0, 0], "moments.images_unbiased": [0, 0]},
    "images without pixels": {
        "pixels": 0, "n": [0, 0], "min": [0, 0], "max": [0, 0], "sum": [0, 0], "sumsq": [0, 0],
    },
    "more images than pixels": {"images": 7},
    "more images than pixels in a channel": {"images": 7, "pixels": 9, "moments.images": [2, 7]},
    "more images in a channel than there are": {"moments.images": [2, 3]},
    "more pixels in a channel than there are": {"pixels": 5},
    "pixels of no image in a channel": {"moments.images": [0, 2], "moments.images_unbiased": [0, 2]},
    "images of no pixel in a channel": {
        "n": [6, 0], "min": [2, 0], "max": [200, 0], "sum": [180, 0], "sumsq": [18000, 0],
    },
    "more images of several pixels than images": {"moments.images_unbiased": [2, 3]},
    "a height of nothing": {"height_min": 0},
    "a width of nothing": {"width_min": 0},
    "a smallest height above the largest": {"height_min": 4},
    "a smallest width above the largest": {"width_min": 4},
    "a sum below what the minimum allows": {"min": [31, 10]},
    "a sum above what the maximum allows": {"max": [200, 19]},
    "a maximum above the depth": {"max": [200, 256]},
    "a sum of squares below what the sum needs": {"sumsq": [18000, 2399]},
    "a sum of squares above what the sum allows": {"sumsq": [180 * 255 + 1, 3000]},
}  # fmt: skip


def consistent() -> dict[str, Any]:
    """Two images, six pixels: channel 0 has the sum 180, channel 1 the sum 120."""
    return Totals().to_dict() | {
        "kind": {"channels": 2, "dtype": "uint8"},
        "images": 2, "pixels": 6, "height_min": 1, "height_max": 3, "width_min": 1, "width_max": 3,
        "moments": {
            "n": [6, 6], "images": [2, 2], "images_unbiased": [2, 2], "sum": [180, 120], "sumsq": [18000, 3000],
            "min": [2, 10], "max": [200, 50], "image_mean": [0, 0], "image_mean_sq": [0, 0], "image_std": [0, 0],
            "image_std_unbiased": [0, 0], "image_var": [0, 0],
        },
    }  # fmt: skip


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_integers_that_contradict_one_another(what: str) -> None:
    Totals.from_dict(consistent())
    with pytest.raises(
        DataError, match=r"the (integers|counts) contradict one another: the file was changed or damaged"
    ):
        Totals.from_dict(changed(consistent(), CONTRADICTIONS[what]))


def test_a_minimum_above_the_maximum_of_nothing() -> None:
    """A channel may have no pixels; its smallest value is still not above its largest."""
    empty = {name: [6, 0] for name in ("n", "sum", "sumsq", "min", "max")}
    empty |= {"moments.images": [2, 0], "moments.images_unbiased": [2, 0], "sum": [180, 0], "sumsq": [18000, 0]}
    empty |= {"max": [200, 0]}
    Totals.from_dict(changed(consistent(), empty))
    with pytest.raises(DataError, match="contradict"):
        Totals.from_dict(changed(consistent(), empty | {"min": [6, 3], "max": [200, 2]}))


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
        {"images": 0, "moments.images": [0, 0], "moments.images_unbiased": [0, 0]},
        {"pixels": 0, "n": [0, 0]},
        {"images": 31},
        {"images": 31, "moments.images": [31, 31]},
        {"images": 3},
        {"pixels": 29},
        {"moments.images": [4, 0], "moments.images_unbiased": [4, 0]},
        {"n": [30, 0]},
        {"moments.images_unbiased": [5, 4]},
        {"height_min": 3},
        {"width_min": 9},
        {"min": [-3.0, 15.5]},
        {"min": [14.5, -2.0]},
        *({name: [1.0, -1e-300]} for name in ("deviation", "image_mean_deviation", "image_std", "image_var")),
        {"image_std_unbiased": [-1e-300, 1.0]},
    ],
)
def test_moments_that_contradict_one_another(change: dict[str, Any]) -> None:
    data = floats_of().to_dict()
    Totals.from_dict(data)
    with pytest.raises(
        DataError, match=r"the (moments|counts) contradict one another: the file was changed or damaged"
    ):
        Totals.from_dict(changed(data, change))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_moments_must_be_finite(bad: float) -> None:
    for name in FloatMoments.combine.keys() - FloatMoments.counts - FloatMoments.later:
        with pytest.raises(DataError, match=r"should be a finite number|int too large"):
            Totals.from_dict(changed(floats_of().to_dict(), {f"moments.{name}": [1.0, bad]}))


def test_moments_at_their_limits_are_read() -> None:
    """One pixel an image, one value: pixels = images, min = max, no deviation; whole numbers are numbers."""
    totals, one = Totals(), np.ones((3, 2))
    totals.fold(
        raw_rows("float64", [1] * 3, [1] * 3, keys=["a", "b", "c"], mean=one, deviation=one * 0, min=one, max=one)
    )
    assert Totals.from_dict(totals.to_dict()) == totals
    again = Totals.from_dict(changed(totals.to_dict(), {"mean": [1, 1]}))
    assert [type(x) for x in again["moments"]["mean"]] == [float, float]


def test_the_names_of_the_totals() -> None:
    """They are part of the saved form."""
    assert list(integers_of(random_images(0, 1))["moments"]) == list(Moments.combine)
    assert list(floats_of()["moments"]) == list(FloatMoments.combine)
    assert FloatMoments.counts == set(COUNTS)
    assert set(Totals().to_dict()) == {*SCALARS, "kind", "key_hash", "statistics", "left_out"}
    assert integers_of(random_images(0, 1)).kind == Kind(3, "uint8")


def test_moments_of_rows_and_of_merges_are_exact_where_floats_can_be() -> None:
    """Means of 4 i + c, deviations of 4 a pixel, 2 * 2**i pixels: every intermediate number is dyadic."""

    def expected(indices: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
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
        data |= {"n": [n] * 2, "images": [len(indices)] * 2, "images_unbiased": [len(indices)] * 2}
        return {"images": len(indices), "pixels": n, **sizes}, data

    for first, count in [(0, 1), (1, 1), (0, 2), (3, 5)]:
        data = floats_of(first, count).to_dict()
        whole, moments = expected(list(range(first, first + count)))
        assert {name: data[name] for name in whole} == whole
        assert data["moments"].keys() - FloatMoments.later == moments.keys()
        for name, value in moments.items():
            assert data["moments"][name] == (pytest.approx(value, rel=1e-15)), name
    for cut in (1, 2, 3):
        for swap in (False, True):
            a, b = floats_of(0, cut), floats_of(cut, 4 - cut)
            a, b = (b, a) if swap else (a, b)
            a.merge(b)
            whole, moments = expected([0, 1, 2, 3])
            assert {name: a.to_dict()[name] for name in whole} == whole
            for name, value in moments.items():
                assert a["moments"][name] == pytest.approx(value, rel=4e-15), name
            assert a.key_hash == model.key_hash("0123")


def test_an_image_of_floats_without_pixels_is_refused() -> None:
    one = np.ones((2, 1))
    rows = raw_rows("float64", [3, 3], [3, 0], keys=["a", "b"], mean=one, deviation=one, min=one, max=one)
    with pytest.raises(ValueError, match="image 'b' has no pixels"):
        Totals().fold(rows)
