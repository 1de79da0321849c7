"""From pixels to rows, rows to bytes and back, and many small batches to one total."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from gpustats import DataError
from gpustats.failures import ImageError
from gpustats.statistics.base import Kind
from gpustats.statistics.builder import RowBuilder
from gpustats.statistics.float_moments import FloatMoments
from gpustats.statistics.grouped import Grouped
from gpustats.statistics.histogram import Histogram
from gpustats.statistics.moments import Moments
from gpustats.statistics.rows import Rows
from gpustats.statistics.totals import RowBuffer, Totals
from tests.rows import packed, random_images, raw_rows, rows_of

MOMENTS = ("moments",)
INTEGERS = ("n", "sum", "sumsq", "min", "max")
FLOATS = ("n", "mean", "deviation", "min", "max")


def builder_of(count: int, statistics: tuple[str, ...] = MOMENTS) -> RowBuilder:
    return RowBuilder(count, statistics)


def arrays(rows: Rows) -> dict[str, np.ndarray]:
    return {"height": rows.height, "width": rows.width, **rows.columns}


def same(a: Rows, b: Rows) -> bool:
    assert (list(a.keys), list(a.groups), a.kind, len(a)) == (list(b.keys), list(b.groups), b.kind, len(b))
    mine, theirs = arrays(a), arrays(b)
    assert list(mine) == list(theirs)
    for name, array in mine.items():
        assert array.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(array, theirs[name], err_msg=name, strict=True)
    return True


def float_rows(count: int = 3, first: int = 0, channels: int = 2) -> Rows:
    """Rows whose every number differs."""
    numbers = [np.arange(count * channels).reshape(count, channels) + 100.0 * i + 0.25 + first for i in range(4)]
    size = np.arange(first + 1, first + count + 1)
    names = [f"image{first + i}" for i in range(count)]
    groups = [f"g{i}" for i in range(count)]
    return raw_rows("float64", size, size + 7, keys=names, groups=groups, **dict(zip(FLOATS[1:], numbers, strict=True)))


def shapes_of(image: np.ndarray) -> dict[str, np.ndarray]:
    """The same pixels in every way they may lie in memory."""
    wide = np.zeros((image.shape[0] * 2, image.shape[1] * 3, image.shape[2]), image.dtype)
    wide[::2, ::3] = image
    ways = {
        "plain": image,
        "strided": wide[::2, ::3],
        "planar": np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
        "Fortran": np.asfortranarray(image),
        "turned round": image[::-1, ::-1].copy()[::-1, ::-1],
        "other bytes": image.astype(image.dtype.newbyteorder()),
    }
    if image.dtype == np.uint8:  # as Pillow gives them; compiled code is made anew for these
        ways["read only"] = image.copy()
        ways["read only"].flags.writeable = False
    return ways


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pixels_in_every_layout(dtype: type, channels: int) -> None:
    rng = np.random.default_rng(channels)
    builder, images = builder_of(20), []
    for _ in range(2):
        image = rng.integers(0, np.iinfo(dtype).max + 1, (5, 7, channels)).astype(dtype)
        for pixels in shapes_of(image).values():
            builder.add(f"image{len(images)}", "", pixels)
            images.append(image)
    assert same(builder.rows(), rows_of(images))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_in_every_layout(dtype: type) -> None:
    image = np.random.default_rng(0).integers(-50, 50, (4, 8, 3)).astype(dtype)  # sums are exact in any order
    builder = builder_of(20)
    ways = shapes_of(image)
    for name, pixels in ways.items():
        builder.add(name, "g", pixels)
    rows = builder.rows()
    assert rows.kind == Kind(3, "float64")
    assert [f"moments.{name}" for name in FLOATS] == list(rows.columns)
    moments = rows.of("moments")
    assert moments["n"].tolist() == [[32] * 3] * len(ways)
    assert (rows.keys, rows.groups) == (list(ways), ["g"] * len(ways))
    values = image.reshape(-1, 3).astype(np.float64)
    for i in range(len(ways)):
        np.testing.assert_allclose(moments["mean"][i], values.mean(0), rtol=1e-15, atol=1e-15)
        np.testing.assert_allclose(moments["deviation"][i], ((values - values.mean(0)) ** 2).sum(0), rtol=1e-13)
        assert moments["min"][i].tolist() == values.min(0).tolist()
        assert moments["max"][i].tolist() == values.max(0).tolist()
        assert (rows.height[i], rows.width[i]) == (4, 8)


def test_an_image_of_two_axes_has_one_channel() -> None:
    builder = builder_of(3)
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for pixels in (image, image[:, :, None], image.T.copy().T):
        builder.add(f"image{len(builder.rows())}", "", pixels)
    assert same(builder.rows(), rows_of([image[:, :, None]] * 3))


def test_a_failed_image_leaves_no_row() -> None:
    builder = builder_of(3)
    one = np.ones((2, 2, 1), np.float32)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ImageError, match="a channel has no valid pixel") as caught:
            builder.add("bad", "x", one * bad)
        assert caught.value.reason == "unsupported"
    with pytest.raises(ImageError, match="too large for a variance"):
        builder.add("bad", "x", np.array([[[1e300], [-1e300]]]))
    builder.add("good", "y", one * 3)
    rows = builder.rows()
    assert (rows.keys, rows.groups, rows.columns["moments.mean"].tolist()) == (["good"], ["y"], [[3.0]])


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("bool", r"pixels of type bool are masks, not images; convert them first, for example with .astype\('uint8'\)"),
        ("c8", "pixels of type complex64 are not measured; convert them to integers of at most 32 bits or to a float"),
        ("M8[s]", "pixels of type datetime64"),
    ],
)
def test_types_that_are_not_measured(dtype: str, message: str) -> None:
    builder = builder_of(1)
    with pytest.raises(ImageError, match=message) as caught:
        builder.add("a", "", np.zeros((2, 2, 3), dtype))
    assert caught.value.reason == "unsupported"
    assert len(builder.rows()) == 0


@pytest.mark.parametrize(
    ("statistics", "name", "of", "dtype"),
    [
        (MOMENTS, "moments", Moments, np.uint16),
        (MOMENTS, "moments", Moments, np.uint8),
        (MOMENTS, "moments", FloatMoments, np.float32),
        (("moments", "histogram"), "histogram", Histogram, np.uint8),
    ],
)
def test_images_have_a_largest_size(
    monkeypatch: pytest.MonkeyPatch, statistics: tuple[str, ...], name: str, of: type, dtype: type
) -> None:
    """The first image of a batch and those after it, which take a shorter way."""
    monkeypatch.setattr(of, "most_pixels", 20)
    builder = builder_of(4, statistics)
    for key in ("fits", "fits too"):
        with pytest.raises(ImageError, match=rf"images of more than 20 pixels are not measured \({name}\)") as caught:
            builder.add("large", "", np.zeros((3, 7, 3), dtype))
        assert caught.value.reason == "too_large"
        builder.add(key, "", np.zeros((4, 5, 3), dtype))
    assert builder.rows().keys == ["fits", "fits too"]


def test_a_size_is_too_large_only_for_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Histogram, "most_pixels", 20)
    builder_of(1).add("8 bits", "", np.zeros((3, 7, 3), np.uint8))
    builder_of(1, ("moments", "covariance")).add("8 bits", "", np.zeros((3, 7, 3), np.uint8))
    monkeypatch.setattr(Moments, "most_pixels", 20)
    builder_of(1).add("floats", "", np.zeros((3, 7, 3), np.float32))


@pytest.mark.parametrize(
    ("statistics", "dtype", "shape", "limit"),
    [
        (MOMENTS, np.uint16, (65537, 65536, 1), "4,294,967,296"),
        (("moments", "covariance"), np.uint16, (65537, 65536, 3), "4,294,967,296"),
        (("moments", "histogram"), np.uint8, (65536, 65536, 1), "4,294,967,295"),
        (MOMENTS, np.uint8, ((1 << 24) + 1, 1 << 24, 1), "281,474,976,710,656"),
    ],
)
def test_the_largest_image_cannot_overflow(
    statistics: tuple[str, ...], dtype: type, shape: tuple[int, int, int], limit: str
) -> None:
    """Larger ones are refused before they are read: they take no memory here."""
    huge = np.broadcast_to(np.zeros(1, dtype), shape)
    with pytest.raises(ImageError, match=f"more than {limit} pixels"):
        builder_of(1, statistics).add("huge", "", huge)
    assert 2**32 * 65535**2 < 2**64 > 2**48 * 255**2
    assert [Moments(Kind(1, kind)).most_pixels for kind in ("uint8", "uint16")] == [2**48, 2**32]


def test_images_that_differ_are_named_in_any_order() -> None:
    color, grey, deep, floats = (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8),
                                 np.zeros((2, 2, 3), np.uint16), np.zeros((2, 2, 3), np.float32))  # fmt: skip
    words = {id(color): "3 channels of 8 bits", id(grey): "1 channel of 8 bits", id(deep): "3 channels of 16 bits",
             id(floats): "3 channels of floats"}  # fmt: skip
    for a in (color, grey, deep, floats):
        for b in (color, grey, deep, floats):
            builder, parts, buffer = builder_of(2), [], RowBuffer(Totals())
            builder.add("a\n", "", a)
            for name, image in (("a\n", a), ("b", b)):
                single = builder_of(1)
                single.add(name, "", image)
                parts.append(single.rows())
            if a is b:
                builder.add("b", "", b)
                assert same(Rows.joined(parts), builder.rows())
                continue
            (kind_a, key_a), (kind_b, key_b) = sorted([(words[id(a)], "a\\n"), (words[id(b)], "b")])
            message = (
                f"the images differ: {key_a} has {kind_a}, {key_b} has {kind_b}; "
                "these cannot be pooled, compute them separately (kinds='separate')"
            )
            with pytest.raises(DataError) as caught:
                builder.add("b", "", b)
            assert str(caught.value) == message
            with pytest.raises(DataError) as caught:
                Rows.joined(parts)
            assert str(caught.value) == message
            buffer.add(parts[0])
            with pytest.raises(DataError) as caught:
                buffer.add(parts[1])
            assert str(caught.value) == message


def test_columns_are_as_long_as_the_keys() -> None:
    rows = rows_of(random_images(0, 2))
    for changes in (
        {"keys": ["a"]},
        {"groups": [""] * 3},
        {"height": rows.height[:1]},
        {"width": rows.width[:0]},
        {"columns": {**rows.columns, "moments.sum": rows.columns["moments.sum"][:1]}},
    ):
        with pytest.raises(ValueError, match="keys, but columns of"):
            dataclasses.replace(rows, **changes)


@pytest.mark.parametrize(
    ("channels", "dtype"), [(0, "uint8"), (True, "uint8"), ("3", "uint8"), (3, "int64"), (3, None)]
)
def test_kinds_that_are_none(channels: Any, dtype: Any) -> None:
    with pytest.raises(DataError, match="no kind of image has"):
        Kind(channels, dtype)


@pytest.mark.parametrize(
    ("kind", "text", "top"),
    [
        (Kind(1, "uint8"), "1 channel of 8 bits", 255),
        (Kind(3, "uint16"), "3 channels of 16 bits", 65535),
        (Kind(1, "uint16", 4095.0), "1 channel of 16 bits, where 1.0 is 4095", 4095),
        (Kind(1, "uint16", 65535), "1 channel of 16 bits", 65535),
        (Kind(2, "int16"), "2 channels of 16 signed bits", 0),
        (Kind(2, "uint32"), "2 channels of 32 bits", 0),
        (Kind(2, "float64"), "2 channels of floats", 0),
        (Kind(2, "float64", 0.5), "2 channels of floats, where 1.0 is 0.5", 0.5),
    ],
)
def test_kinds_in_words(kind: Kind, text: str, top: float) -> None:
    assert (str(kind), kind.max_value, kind.as_is) == (text, top, top == 0)
    assert kind.is_float == ("floats" in text)
    assert Kind(*kind.described) == kind


@pytest.mark.parametrize("value_range", [0, -1, float("nan"), float("inf"), True, "255"])
def test_ranges_that_are_none(value_range: Any) -> None:
    with pytest.raises(DataError, match=r"no kind of image has 1.0 at"):
        Kind(1, "uint8", value_range)


def test_some_of_the_rows() -> None:
    images = random_images(4, 5)
    rows = rows_of(images)
    picked = rows.take(np.array([3, 0]))
    assert same(picked, rows_of([images[3], images[0]], keys=["image3", "image0"]))
    truth = np.array([True, False, False, True, False])
    assert same(rows.take(truth), rows_of([images[0], images[3]], keys=["image0", "image3"]))
    assert len(rows.take(np.zeros(5, bool))) == 0
    assert list(rows.of("moments")) == list(INTEGERS)
    assert rows.of("moment") == {}


def test_rows_are_joined_in_order() -> None:
    images = random_images(1, 6)
    parts = [rows_of(images[:2]), rows_of(images[:1]), rows_of(images[2:6], first=2)]
    nothing = builder_of(1).rows()
    assert (len(nothing), nothing.kind, dict(nothing.columns)) == (0, None, {})
    assert same(Rows.joined([nothing, parts[0], nothing, parts[2]]), rows_of(images))
    assert Rows.joined([nothing]) is nothing
    assert Rows.joined([nothing, nothing]) is nothing
    assert Rows.joined([parts[1], nothing]) is parts[1], "one part is not copied"
    deep = rows_of(random_images(1, 3, np.uint16))
    assert Rows.joined([deep, deep]).kind == Kind(3, "uint16")
    floats = Rows.joined([float_rows(3), float_rows(2, first=3)])
    assert floats.keys == [f"image{i}" for i in range(5)]
    assert floats.groups == ["g0", "g1", "g2", "g0", "g1"]
    first, second = arrays(float_rows(3)), arrays(float_rows(2, first=3))
    for name, array in arrays(floats).items():
        np.testing.assert_array_equal(array, np.concatenate([first[name], second[name]]), err_msg=name)


def test_a_buffer_folds_when_it_is_full_and_when_it_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    folds: list[int] = []
    real = Totals.fold
    monkeypatch.setattr(Totals, "fold", lambda self, rows: folds.append(len(rows)) or real(self, rows))
    images = random_images(2, 12)
    totals = Totals()
    buffer = RowBuffer(totals, rows=5)
    buffer.flush()
    buffer.add(builder_of(1).rows())
    assert (folds, len(buffer), totals.images) == ([], 0, 0)
    for i in range(4):
        buffer.add(rows_of(images[i : i + 1], first=i))
    assert (folds, len(buffer), totals.images) == ([], 4, 0)
    buffer.add(rows_of(images[4:5], first=4))
    assert (folds, len(buffer), totals.images) == ([5], 0, 5), "at five rows, not at six"
    buffer.add(rows_of(images[5:11], first=5))
    assert (folds, len(buffer)) == ([5, 6], 0)
    buffer.add(rows_of(images[11:], first=11))
    buffer.flush()
    buffer.flush()
    assert (folds, len(buffer)) == ([5, 6, 1], 0)
    whole = Totals()
    real(whole, rows_of(images))
    assert totals == whole
    assert RowBuffer(Totals())._limit == 512


def test_a_buffer_of_floats() -> None:
    totals = Totals()
    buffer = RowBuffer(totals, rows=2)
    for i in range(5):
        buffer.add(float_rows(1, first=i))
    buffer.flush()
    assert (totals.kind, totals.images, totals.exact) == (Kind(2, "float64"), 5, False)


def folded_rows(images: list[np.ndarray], first: int = 0) -> tuple[Rows, Rows]:
    """Rows with bins, and the same with their bins as totals alone."""
    statistics = ("moments", "histogram")
    builder = builder_of(len(images), statistics)
    for place, image in enumerate(images):
        builder.add(f"image{first + place}", "", image)
    whole = builder.rows()
    assert whole.kind is not None
    part = Histogram(whole.kind).fold(whole.of("histogram"))
    columns = {name: column for name, column in whole.columns.items() if not name.startswith("histogram.")}
    return whole, dataclasses.replace(whole, columns=columns, folded={"histogram": part})


def test_totals_that_have_no_columns_are_folded_with_those_that_have() -> None:
    images = random_images(5, 9)
    parts = [folded_rows(images[i : i + 3], i) for i in (0, 3, 6)]
    expected, found = Totals(("moments", "histogram")), Totals(("moments", "histogram"))
    for whole, _ in parts:
        expected.fold(whole)
    buffer = RowBuffer(found, rows=100)
    for rows in (parts[0][0], parts[1][1], parts[2][0]):
        buffer.add(rows)
    assert (len(buffer), found.images) == (6, 3), "they do not wait"
    buffer.flush()
    assert found == expected
    with pytest.raises(DataError, match="the images differ"):
        buffer.add(dataclasses.replace(parts[0][1], kind=Kind(1, "uint8")))


def test_totals_that_have_no_columns_cannot_be_taken_apart() -> None:
    _, rows = folded_rows(random_images(5, 4))
    for step in (
        lambda: rows.take(np.array([0])),
        lambda: Rows.joined([rows, rows]),
        lambda: rows.pack(),
        lambda: Totals.of_segments(rows, [0, 2], ("moments", "histogram")),
    ):
        with pytest.raises(ValueError, match="of histogram there are only totals of all rows, none of"):
            step()
    assert Rows.joined([rows]) is rows


def test_a_buffer_folds_into_every_sink() -> None:
    images = random_images(5, 7)
    sinks = [Totals(), Totals(), Grouped()]
    buffer = RowBuffer(*sinks, rows=3)
    for i, image in enumerate(images):
        buffer.add(dataclasses.replace(rows_of([image], first=i), groups=["ab"[i % 2]]))
    buffer.flush()
    assert sinks[0] == sinks[1] == sinks[2].whole()
    for place, group in enumerate("ab"):
        expected = Totals()
        which = range(place, 7, 2)
        expected.fold(rows_of([images[i] for i in which], keys=[f"image{i}" for i in which]))
        assert sinks[2][group] == expected
    assert set(sinks[2]) == {"a", "b"}
    again = Grouped()
    again.merge(sinks[2])
    again.merge(sinks[2])
    assert again["a"]["moments"]["n"] == [2 * n for n in sinks[2]["a"]["moments"]["n"]]
    assert sinks[0] == sinks[2].whole(), "merging must copy"


KINDS: dict[str, Any] = {
    "8 bits": rows_of(random_images(1, 4)),
    "16 bits": rows_of(random_images(1, 4, np.uint16)),
    "floats": float_rows(4),
    "one": float_rows(1, channels=1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_back_from_bytes(kind: str) -> None:
    rows = KINDS[kind]
    form, blobs = packed(rows)
    assert len(blobs) == len(rows)
    assert same(Rows.unpack(form, list(rows.keys), list(rows.groups), blobs), rows)
    if len(rows) > 1:
        last = Rows.unpack(form, ["z"], ["y"], blobs[-1:])
        assert (last.keys, last.groups) == (["z"], ["y"])
        for name, array in arrays(last).items():
            np.testing.assert_array_equal(array, arrays(rows)[name][-1:], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_come_back_as_none(kind: str) -> None:
    rows = KINDS[kind]
    form, blobs = packed(rows.take(np.zeros(len(rows), bool)))
    assert blobs == []
    assert form == rows.pack()[0]
    assert len(Rows.unpack(form, [], [], [])) == 0


def test_the_bytes_are_little_endian_numbers_in_the_order_of_the_columns() -> None:
    """A checkpoint of today is read tomorrow."""
    rows = raw_rows(
        "uint16",
        [2],
        [3],
        sum=np.array([[1, 2]], np.uint64),
        sumsq=np.array([[3, 2**63]], np.uint64),
        min=np.array([[4, 5]], np.uint16),
        max=np.array([[6, 65535]], np.uint16),
    )
    form, blobs = packed(rows)
    assert json.loads(form) == {
        "kind": [2, "uint16"],
        "columns": [
            ["height", "<u8", []],
            ["width", "<u8", []],
            ["moments.n", "<u8", [2]],
            ["moments.sum", "<u8", [2]],
            ["moments.sumsq", "<u8", [2]],
            ["moments.min", "<u2", [2]],
            ["moments.max", "<u2", [2]],
        ],
    }
    words = [2, 3, 6, 6, 1, 2, 3, 2**63]
    assert blobs == [b"".join(n.to_bytes(8, "little") for n in words) + bytes([4, 0, 5, 0, 6, 0, 255, 255])]
    form, blobs = packed(float_rows(2, channels=1))
    assert json.loads(form)["kind"] == [1, "float64"]
    assert [name for name, _, _ in json.loads(form)["columns"]] == [
        "height", "width", *(f"moments.{name}" for name in FLOATS),
    ]  # fmt: skip
    assert {kind for _, kind, _ in json.loads(form)["columns"]} == {"<u8", "<f8"}
    assert [len(blob) for blob in blobs] == [56, 56]


def damage(**changes: Any) -> str:
    return json.dumps(json.loads(KINDS["8 bits"].pack()[0]) | changes)


@pytest.mark.parametrize(
    "form",
    [
        "no JSON",
        "[]",
        "{}",
        "null",
        damage(kind=None),
        damage(kind=["uint8", 3]),
        damage(kind=[3]),
        damage(kind=[3, "uint24"]),
        damage(columns=None),
        damage(columns=[["height", "<u8"]]),
        damage(columns=[["height", "no type", []]]),
        damage(columns=[["height", "<u8", []]]),
        damage(columns=[*json.loads(KINDS["8 bits"].pack()[0])["columns"], ["height", "<u8", []]]),
    ],
)
def test_a_damaged_form_is_refused(form: str) -> None:
    rows = KINDS["8 bits"]
    with pytest.raises(DataError, match="stored rows are damaged: "):
        Rows.unpack(form, list(rows.keys), list(rows.groups), packed(rows)[1])


def test_damaged_rows_are_refused() -> None:
    form, (a, b, *_) = packed(KINDS["8 bits"])
    for keys, blobs in [
        (["x"], [a[:-1]]),
        (["x"], [a + b"\0"]),
        (["x"], []),
        (["x"], [b""]),
        (["x"], [a, b]),
        (["x", "y"], [a]),
        (["x", "y"], [a[:-1], b + b"\0"]),  # together as long as they should be
        (["x", "y"], [a + b, b""]),
    ]:
        with pytest.raises(DataError, match="stored rows are damaged: "):
            Rows.unpack(form, keys, [""] * len(keys), blobs)
