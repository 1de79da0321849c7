"""From pixels to rows, rows to bytes and back, and many small batches to one total."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gpustats import DataError, ImageMoments
from gpustats.failures import ImageError
from gpustats.float_moments import FloatAccumulator, FloatMoments
from gpustats.rowcodec import pack, unpack
from gpustats.rows import RowBuffer, RowBuilder, joined
from gpustats.statistics.totals import Totals
from tests.test_moments import random_images, rows_of

ARRAYS = {ImageMoments: ("height", "width", "sum", "sumsq", "min", "max"),
          FloatMoments: ("height", "width", "mean", "deviation", "min", "max")}  # fmt: skip


def same(a: Any, b: Any) -> bool:
    assert type(a) is type(b)
    assert (list(a.keys), list(a.groups), a.kind, len(a), a.channels) == (
        list(b.keys), list(b.groups), b.kind, len(b), b.channels,
    )  # fmt: skip
    for name in ARRAYS[type(a)]:
        mine, theirs = getattr(a, name), getattr(b, name)
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    return True


def float_rows(count: int = 3, first: int = 0, channels: int = 2) -> FloatMoments:
    """Rows whose every number differs."""
    numbers = [np.arange(count * channels).reshape(count, channels) + 100.0 * i + 0.25 + first for i in range(4)]
    size = np.arange(first + 1, first + count + 1).astype(np.uint64)
    names = [f"image{first + i}" for i in range(count)]
    return FloatMoments(names, [f"g{i}" for i in range(count)], size, size + np.uint64(7), *numbers)


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
    builder, images = RowBuilder(20), []
    for _ in range(2):
        image = rng.integers(0, np.iinfo(dtype).max + 1, (5, 7, channels)).astype(dtype)
        for pixels in shapes_of(image).values():
            builder.add(f"image{len(images)}", "", pixels)
            images.append(image)
    assert same(builder.rows(), rows_of(images))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_in_every_layout(dtype: type) -> None:
    image = np.random.default_rng(0).integers(-50, 50, (4, 8, 3)).astype(dtype)  # sums are exact in any order
    builder = RowBuilder(20)
    ways = shapes_of(image)
    for name, pixels in ways.items():
        builder.add(name, "g", pixels)
    rows = builder.rows()
    assert isinstance(rows, FloatMoments)
    assert (rows.keys, rows.groups) == (list(ways), ["g"] * len(ways))
    values = image.reshape(-1, 3).astype(np.float64)
    for i in range(len(ways)):
        np.testing.assert_allclose(rows.mean[i], values.mean(0), rtol=1e-15, atol=1e-15)
        np.testing.assert_allclose(rows.deviation[i], ((values - values.mean(0)) ** 2).sum(0), rtol=1e-13)
        assert rows.min[i].tolist() == values.min(0).tolist()
        assert rows.max[i].tolist() == values.max(0).tolist()
        assert (rows.height[i], rows.width[i]) == (4, 8)


def test_an_image_of_two_axes_has_one_channel() -> None:
    builder = RowBuilder(3)
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for pixels in (image, image[:, :, None], image.T.copy().T):
        builder.add(f"image{len(builder.rows())}", "", pixels)
    assert same(builder.rows(), rows_of([image[:, :, None]] * 3))


def test_a_failed_image_leaves_no_row() -> None:
    builder = RowBuilder(3)
    one = np.ones((2, 2, 1), np.float32)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ImageError, match="a pixel is not finite") as caught:
            builder.add("bad", "x", one * bad)
        assert caught.value.reason == "corrupt"
    with pytest.raises(ImageError, match="too large for a variance"):
        builder.add("bad", "x", np.array([[[1e300], [-1e300]]]))
    builder.add("good", "y", one * 3)
    rows = builder.rows()
    assert (rows.keys, rows.groups, rows.mean.tolist()) == (["good"], ["y"], [[3.0]])


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("bool", r"pixels of type bool are masks, not images; convert them first, for example with .astype\('uint8'\)"),
        ("i4", "pixels of type int32 are not measured; convert them to uint8, uint16 or a float type"),
        (">i8", "pixels of type int64 are not measured"),
        ("i1", "pixels of type int8 are not measured"),
        ("u4", "pixels of type uint32 are not measured"),
    ],
)
def test_types_that_are_not_measured(dtype: str, message: str) -> None:
    builder = RowBuilder(1)
    with pytest.raises(ImageError, match=message) as caught:
        builder.add("a", "", np.zeros((2, 2, 3), dtype))
    assert caught.value.reason == "unsupported"
    assert len(builder.rows()) == 0


def test_16_bit_images_have_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.rows._U16_PIXELS", 20)
    builder = RowBuilder(2)
    builder.add("fits", "", np.zeros((4, 5, 3), np.uint16))
    with pytest.raises(ImageError, match="16-bit images of more than 20 pixels are not measured") as caught:
        builder.add("large", "", np.zeros((3, 7, 3), np.uint16))
    assert caught.value.reason == "too_large"
    assert builder.rows().keys == ["fits"]
    RowBuilder(1).add("8 bits", "", np.zeros((3, 7, 3), np.uint8))
    RowBuilder(1).add("floats", "", np.zeros((3, 7, 3), np.float32))


def test_the_largest_16_bit_image_cannot_overflow() -> None:
    """One pixel more than 2**32 is refused before it is read: it takes no memory here."""
    huge = np.broadcast_to(np.zeros(1, np.uint16), (65537, 65536, 1))
    with pytest.raises(ImageError, match="more than 4,294,967,296 pixels"):
        RowBuilder(1).add("huge", "", huge)
    assert 2**32 * 65535**2 < 2**64


def test_images_that_differ_are_named_in_any_order() -> None:
    color, grey, deep, floats = (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8),
                                 np.zeros((2, 2, 3), np.uint16), np.zeros((2, 2, 3), np.float32))  # fmt: skip
    words = {id(color): "3 channels of 8 bits", id(grey): "1 channel of 8 bits", id(deep): "3 channels of 16 bits",
             id(floats): "3 channels of floats"}  # fmt: skip
    for a in (color, grey, deep, floats):
        for b in (color, grey, deep, floats):
            builder, parts, buffer = RowBuilder(2), [], RowBuffer()
            builder.add("a\n", "", a)
            for name, image in (("a\n", a), ("b", b)):
                single = RowBuilder(1)
                single.add(name, "", image)
                parts.append(single.rows())
            if a is b:
                builder.add("b", "", b)
                assert same(joined(parts), builder.rows())
                continue
            (kind_a, key_a), (kind_b, key_b) = sorted([(words[id(a)], "a\\n"), (words[id(b)], "b")])
            message = (
                f"the images differ: {key_a} has {kind_a}, {key_b} has {kind_b}; "
                "these cannot be pooled, compute them separately"
            )
            with pytest.raises(DataError) as caught:
                builder.add("b", "", b)
            assert str(caught.value) == message
            with pytest.raises(DataError) as caught:
                joined(parts)
            assert str(caught.value) == message
            buffer.add(parts[0])
            with pytest.raises(DataError) as caught:
                buffer.add(parts[1])
            assert str(caught.value) == message


def test_rows_are_of_8_bits_unless_they_say_so() -> None:
    rows = rows_of(random_images(0, 1))
    values = {name: getattr(rows, name) for name in ARRAYS[ImageMoments]}
    assert ImageMoments(rows.keys, rows.groups, **values).kind == "3 channels of 8 bits"


def test_rows_are_joined_in_order() -> None:
    images = random_images(1, 6)
    parts = [rows_of(images[:2]), rows_of(images[:1]), rows_of(images[2:6], first=2)]
    nothing = RowBuilder(1).rows()
    assert (len(nothing), type(nothing)) == (0, ImageMoments)
    assert same(joined([nothing, parts[0], nothing, parts[2]]), rows_of(images))
    assert joined([nothing]) is nothing
    assert joined([nothing, nothing]) is nothing
    assert joined([parts[1], nothing]) is parts[1], "one part is not copied"
    deep = rows_of(random_images(1, 3, np.uint16))
    assert joined([deep, deep]).kind == "3 channels of 16 bits"
    floats = joined([float_rows(3), float_rows(2, first=3)])
    assert floats.keys == [f"image{i}" for i in range(5)]
    assert floats.groups == ["g0", "g1", "g2", "g0", "g1"]
    for name in ARRAYS[FloatMoments]:
        whole = np.concatenate([getattr(float_rows(3), name), getattr(float_rows(2, first=3), name)])
        np.testing.assert_array_equal(getattr(floats, name), whole, err_msg=name)


def test_a_buffer_folds_when_it_is_full_and_when_it_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    folds: list[int] = []
    real = Totals.fold
    monkeypatch.setattr(Totals, "fold", lambda self, rows: folds.append(len(rows)) or real(self, rows))
    images = random_images(2, 12)
    buffer = RowBuffer(rows=5)
    buffer.flush()
    buffer.add(RowBuilder(1).rows())
    assert (folds, len(buffer), buffer.totals.images) == ([], 0, 0)
    for i in range(4):
        buffer.add(rows_of(images[i : i + 1], first=i))
    assert (folds, len(buffer), buffer.totals.images) == ([], 4, 0)
    buffer.add(rows_of(images[4:5], first=4))
    assert (folds, len(buffer), buffer.totals.images) == ([5], 0, 5), "at five rows, not at six"
    buffer.add(rows_of(images[5:11], first=5))
    assert (folds, len(buffer)) == ([5, 6], 0)
    buffer.add(rows_of(images[11:], first=11))
    buffer.flush()
    buffer.flush()
    assert (folds, len(buffer)) == ([5, 6, 1], 0)
    whole = Totals()
    real(whole, rows_of(images))
    assert buffer.totals == whole
    assert RowBuffer()._limit == 512


def test_a_buffer_of_floats() -> None:
    buffer = RowBuffer(rows=2)
    assert type(buffer.totals) is Totals
    for i in range(5):
        buffer.add(float_rows(1, first=i))
    buffer.flush()
    assert type(buffer.totals) is FloatAccumulator
    assert buffer.totals.images == 5


KINDS: dict[str, Any] = {
    "8 bits": rows_of(random_images(1, 4)),
    "16 bits": rows_of(random_images(1, 4, np.uint16)),
    "floats": float_rows(4),
    "one": float_rows(1, channels=1),
    "none": RowBuilder(1).rows(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_back_from_bytes(kind: str) -> None:
    rows = KINDS[kind]
    form, blobs = pack(rows)
    assert len(blobs) == len(rows)
    assert same(unpack(form, list(rows.keys), list(rows.groups), blobs), rows)
    if len(rows) > 1:
        last = unpack(form, ["z"], ["y"], blobs[-1:])
        assert (last.keys, last.groups) == (["z"], ["y"])
        for name in ARRAYS[type(rows)]:
            np.testing.assert_array_equal(getattr(last, name), getattr(rows, name)[-1:], err_msg=name)


def test_the_bytes_are_those_of_earlier_versions() -> None:
    """Little-endian numbers in the order of the fields; a checkpoint of today is read tomorrow."""
    form, blobs = pack(
        ImageMoments(
            ["x"],
            ["g"],
            np.array([2], np.uint64),
            np.array([3], np.uint64),
            np.array([[1, 2]], np.uint64),
            np.array([[3, 2**63]], np.uint64),
            np.array([[4, 5]], np.uint16),
            np.array([[6, 65535]], np.uint16),
            max_value=65535,
        )
    )
    assert json.loads(form) == {
        "rows": "ImageMoments",
        "arrays": [
            ["height", "<u8", []],
            ["width", "<u8", []],
            ["sum", "<u8", [2]],
            ["sumsq", "<u8", [2]],
            ["min", "<u2", [2]],
            ["max", "<u2", [2]],
        ],
        "scalars": {"max_value": 65535},
    }
    words = [2, 3, 1, 2, 3, 2**63]
    assert blobs == [b"".join(n.to_bytes(8, "little") for n in words) + bytes([4, 0, 5, 0, 6, 0, 255, 255])]
    form, blobs = pack(float_rows(2, channels=1))
    assert json.loads(form)["scalars"] == {}
    assert [name for name, kind, shape in json.loads(form)["arrays"]] == list(ARRAYS[FloatMoments])
    assert {kind for _, kind, _ in json.loads(form)["arrays"]} == {"<u8", "<f8"}
    assert [len(blob) for blob in blobs] == [48, 48]


def damage(**changes: Any) -> str:
    return json.dumps(json.loads(pack(KINDS["8 bits"])[0]) | changes)


@pytest.mark.parametrize(
    "form",
    [
        "no JSON",
        "[]",
        "{}",
        "null",
        damage(rows="Rows"),
        damage(rows=["ImageMoments"]),
        damage(arrays=None),
        damage(arrays=[["height", "<u8"]]),
        damage(arrays=[["height", "no type", []]]),
        damage(arrays=[["height", "<u8", []]]),
        damage(scalars={"min_value": 0}),
        damage(scalars=None),
    ],
)
def test_a_damaged_form_is_refused(form: str) -> None:
    rows = KINDS["8 bits"]
    with pytest.raises(DataError, match="stored rows are damaged: "):
        unpack(form, list(rows.keys), list(rows.groups), pack(rows)[1])


def test_damaged_rows_are_refused() -> None:
    form, (a, b, *_) = pack(KINDS["8 bits"])
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
            unpack(form, keys, [""] * len(keys), blobs)
