"""TFRecord, protocol buffers and LMDB: features, labels, lengths, checksums, and what each guard refuses."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from gpustats.sources.records.protobuf import fields, varint
from tests.images import encoded, photo
from tests.sources.packing import contents, need

A, B = b"first image", b"the second image, which is a good deal longer" * 9


def number(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def message(tag: int, data: bytes) -> bytes:
    return number(tag << 3 | 2) + number(len(data)) + data


def as_bytes(value: bytes) -> bytes:
    return message(1, message(1, value))


def as_ints(*values: int) -> bytes:
    return message(3, message(1, b"".join(number(value) for value in values)))


def as_floats(*values: float) -> bytes:
    return message(2, message(1, struct.pack(f"<{len(values)}f", *values)))


def example(**features: bytes) -> bytes:
    entries = (message(1, message(1, name.replace("__", "/").encode()) + message(2, v)) for name, v in features.items())
    return message(1, b"".join(entries))


def masked(data: bytes) -> int:
    crc = need("google_crc32c").value(data)
    return int(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(record: bytes, size: int | None = None) -> bytes:
    length = struct.pack("<Q", len(record) if size is None else size)
    return length + struct.pack("<I", masked(length)) + record + struct.pack("<I", masked(record))


def records(tmp_path: Path, *parts: bytes, **options: Any) -> Any:
    (tmp_path / "a.tfrecord").write_bytes(b"".join(parts))
    return contents(tmp_path / "a.tfrecord", **options)


def test_records_in_order_with_labels(tmp_path: Path) -> None:
    both = [framed(example(image__encoded=as_bytes(A), label=as_ints(7))), framed(example(image=as_bytes(B)))]
    expected = [("a.tfrecord/0", "7", A), ("a.tfrecord/1", "", B)]
    assert records(tmp_path, *both) == (expected, [], [], {})
    assert records(tmp_path, gzip.compress(b"".join(both))) == (expected, [], [], {})
    assert records(tmp_path) == ([], [], [], {})
    found = records(tmp_path, gzip.compress(b"".join(both))[:-9])
    assert (found.images, found.failures) == (expected, [("a.tfrecord", "corrupt")])
    assert found.messages[0].startswith("the compressed file is damaged: ")


IMAGE_FEATURES = ["image__encoded", "image", "image_raw", "encoded", "jpg", "png"]
GROUP_FEATURES = ["image__class__label", "label", "class", "image__class__text"]


@pytest.mark.parametrize("first", [0, 1, 2, 3, 5])
def test_which_feature_is_the_image(first: int, tmp_path: Path) -> None:
    features = {name: as_bytes(name.encode()) for name in reversed(IMAGE_FEATURES[first:])}
    found = records(tmp_path, framed(example(other=as_bytes(B), **features)))
    assert [image for _, _, image in found.images] == [IMAGE_FEATURES[first].encode()]
    found = records(tmp_path, framed(example(other=as_bytes(B), **features)), feature="other")
    assert [image for _, _, image in found.images] == [B]


def test_features_that_are_equally_good(tmp_path: Path) -> None:
    both = framed(example(jpg=as_bytes(A), png=as_bytes(B)))
    found = records(tmp_path, both)
    assert (found.images, found.failures) == ([], [("a.tfrecord/0", "unsupported")])
    assert found.messages == ["several features may hold images: jpg, png; choose with feature="]
    assert [image for _, _, image in records(tmp_path, both, feature="png").images] == [B]


def test_a_feature_is_known_by_its_bytes_where_names_say_nothing(tmp_path: Path) -> None:
    found = records(tmp_path, framed(example(x=as_bytes(JPEG), y=as_bytes(A), label=as_ints(3))))
    assert found.images == [("a.tfrecord/0", "3", JPEG)]
    found = records(tmp_path, framed(example(x=as_bytes(JPEG), y=as_bytes(JPEG))))
    assert found.messages == ["several features may hold images: x, y; choose with feature="]


def test_a_feature_of_numbers_is_named_with_its_type(tmp_path: Path) -> None:
    found = records(tmp_path, framed(example(image=as_floats(0.5, 1.0), label=as_ints(3))))
    assert found.failures == [("a.tfrecord/0", "missing")]
    assert found.messages == [
        "the feature 'image' holds floats, not an encoded image; there are: image (floats), label (integers); "
        "choose with feature="
    ]


@pytest.mark.parametrize("first", range(4))
def test_which_feature_is_the_label(first: int, tmp_path: Path) -> None:
    features = {name: as_bytes(name.encode()) for name in reversed(GROUP_FEATURES[first:])}
    found = records(tmp_path, framed(example(image=as_bytes(A), other=as_ints(3), **features)))
    assert found.groups == [GROUP_FEATURES[first]]
    found = records(tmp_path, framed(example(image=as_bytes(A), other=as_ints(3), **features)), group="other")
    assert found.groups == ["3"]
    assert records(tmp_path, framed(example(image=as_bytes(A), other=as_ints(3))), group="gone").groups == [""]


@pytest.mark.parametrize(
    ("label", "group"),
    [
        (as_bytes("日本".encode()), "日本"),
        (as_bytes(b"caf\xe9"), "caf\ufffd"),
        (as_bytes(b""), ""),
        (as_ints(300, 5), "300"),
        (as_ints((1 << 64) - 1), str((1 << 64) - 1)),
        (message(3, number(1 << 3) + number(42)), "42"),  # not packed
        (message(3, number(1 << 3) + number(0)), "0"),
        (as_floats(0.5, 2.0), "0.5"),
        (message(2, message(1, b"abc")), "97"),
        (message(3, message(1, b"")), ""),
        (message(2, message(1, b"")), ""),
        (message(3, message(1, b"\x80")), ""),
        (b"", ""),
        (message(3, b""), ""),
        (message(3, message(2, b"\x05")), ""),
        (number(3 << 3) + b"\x05", ""),
        (b"\x80", ""),
    ],
)
def test_labels_of_every_type(label: bytes, group: str, tmp_path: Path) -> None:
    found = records(tmp_path, framed(example(image=as_bytes(A), label=label)))
    assert found.images == [("a.tfrecord/0", group, A)]


def test_records_without_an_image(tmp_path: Path) -> None:
    found = records(
        tmp_path,
        framed(example(b=as_bytes(A), a=as_ints(1))),
        framed(b""),
        framed(example(image=as_ints(5))),
        framed(b"\x0a\x05abc"),
        framed(example(image=as_bytes(B))),
    )
    assert found.images == [("a.tfrecord/4", "", B)]
    assert list(zip(found.failures, found.messages, strict=True)) == [
        (
            ("a.tfrecord/0", "missing"),
            "no bytes feature 'image/encoded'; there are: a (integers), b (bytes); choose with feature=",
        ),
        (("a.tfrecord/1", "missing"), "no bytes feature 'image/encoded'; there are: none; choose with feature="),
        (
            ("a.tfrecord/2", "missing"),
            "the feature 'image' holds integers, not an encoded image; there are: image (integers); "
            "choose with feature=",
        ),
        (("a.tfrecord/3", "corrupt"), "the record is no tf.train.Example: a field is cut off"),
    ]


def test_a_record_with_several_images_is_refused(tmp_path: Path) -> None:
    """Frames of an episode, for example: the first one alone would be a wrong number."""
    one, several = as_bytes(JPEG), message(1, message(1, JPEG) * 3)
    found = records(tmp_path, framed(example(image=several)), framed(example(image=one)), feature="image")
    assert found.keys == ["a.tfrecord/1"]
    assert found.failures == [("a.tfrecord/0", "unsupported")]
    assert found.messages == ["the feature 'image' holds 3 values; one image a record is read"]


def test_a_feature_that_is_damaged_behind_its_first_value_costs_one_record(tmp_path: Path) -> None:
    damaged = message(1, message(1, JPEG) + b"\x0a\xff\xff\x7f")
    found = records(tmp_path, framed(example(image=damaged)), framed(example(image=as_bytes(JPEG))), feature="image")
    assert found.keys == ["a.tfrecord/1"]
    assert found.failures == [("a.tfrecord/0", "corrupt")]
    assert found.messages == ["the feature 'image' is damaged: a field is cut off"]


def test_fields_of_an_example_that_mean_nothing_here(tmp_path: Path) -> None:
    whole = example(image=as_bytes(A))
    strange = number(2 << 3) + b"\x07" + message(2, b"x") + number(1 << 3) + b"\x07"
    inner = message(1, number(1 << 3) + b"\x07" + message(2, b"x") + message(1, number(1 << 3) + b"\x01"))
    inner += message(1, message(1, message(1, b"name") + number(2 << 3) + b"\x07"))
    found = records(tmp_path, framed(strange + inner + whole), framed(example(image=as_bytes(A)) + strange))
    assert [image for _, _, image in found.images] == [A, A]
    found = records(tmp_path, framed(message(1, message(1, message(1, b"only a name")))))
    assert "there are: only a name (nothing);" in found.messages[0]
    name_of_bytes = message(1, message(1, message(1, b"\xff") + message(2, as_bytes(A))))
    assert records(tmp_path, framed(name_of_bytes), feature="\ufffd").keys == ["a.tfrecord/0"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_record_as_large_as_allowed(packed: bool, tmp_path: Path) -> None:
    large, small = example(image=as_bytes(B)), example(image=as_bytes(A))
    data = framed(small) + framed(large) + framed(small)
    data = gzip.compress(data) if packed else data
    found = records(tmp_path, data, max_bytes=len(large))
    assert found.keys == ["a.tfrecord/0", "a.tfrecord/1", "a.tfrecord/2"]
    found = records(tmp_path, data, max_bytes=len(large) - 1)
    assert found.keys == ["a.tfrecord/0", "a.tfrecord/2"]
    assert (found.failures, found.messages) == (
        [("a.tfrecord/1", "too_large")],
        [f"the record has {len(large)} bytes, more than {len(large) - 1}"],
    )


def test_where_a_file_of_records_may_end(tmp_path: Path) -> None:
    one = framed(example(image=as_bytes(A)))
    for size in range(1, len(one)):
        found = records(tmp_path, one, one[:size])
        assert found.keys == ["a.tfrecord/0"]
        within = "the length of record 1" if size < 12 else f"record 1 (at byte {len(one)})"
        assert (found.failures, found.messages) == (
            [("a.tfrecord", "truncated")],
            [f"the file ends within {within}"],
        )


def test_lengths_and_checksums_of_records(tmp_path: Path) -> None:
    one = framed(example(image=as_bytes(A)))
    at = f"(at byte {2 * len(one)})"
    for size, failure, text in [
        ((1 << 62) - 1, ("a.tfrecord/2", "too_large"), f"the record has {(1 << 62) - 1:,} bytes, more than"),
        (1 << 62, ("a.tfrecord", "corrupt"), f"record 2 {at} claims {1 << 62:,} bytes"),
    ]:
        found = records(tmp_path, one, one, framed(b"", size))
        assert found.keys == ["a.tfrecord/0", "a.tfrecord/1"]
        assert found.failures[0] == failure
        assert found.messages[0].startswith(text)
    wrong = bytearray(one)
    wrong[20] ^= 1
    found = records(tmp_path, one, one, bytes(wrong), one)
    assert found.keys == ["a.tfrecord/0", "a.tfrecord/1", "a.tfrecord/3"]
    assert (found.failures, found.messages) == (
        [("a.tfrecord/2", "corrupt")],
        [f"record 2 {at} has a wrong checksum"],
    )
    for place in (0, 7, 8, 11):
        wrong = bytearray(one)
        wrong[place] ^= 1
        found = records(tmp_path, one, one, bytes(wrong), one)
        assert found.failures == [("a.tfrecord", "corrupt")]
        assert found.messages == [f"the length of record 2 {at} has a wrong checksum: the rest is not read"]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 1 << 14, (1 << 28) - 1, 1 << 35, (1 << 63) - 1, (1 << 64) - 1])
def test_numbers(value: int) -> None:
    data = number(value)
    assert varint(memoryview(b"xy" + data + b"z"), 2) == (value, 2 + len(data))
    with pytest.raises(ValueError, match="a number is cut off"):
        varint(memoryview(data[:-1]), 0)


def test_the_longest_number() -> None:
    assert varint(memoryview(b"\x80" * 9 + b"\x01"), 0) == (1 << 63, 10)
    with pytest.raises(ValueError, match="a number is too long"):
        varint(memoryview(b"\x80" * 10 + b"\x01"), 0)


def test_fields_of_every_wire_type() -> None:
    data = (
        number(1 << 3) + number(300)
        + number(2 << 3 | 1) + b"8 bytes!"
        + number(3 << 3 | 2) + number(3) + b"abc"
        + number(20 << 3 | 5) + b"four"
    )  # fmt: skip
    found = [(tag, value if isinstance(value, int) else bytes(value)) for tag, value in fields(memoryview(data))]
    assert found == [(1, 300), (2, b"8 bytes!"), (3, b"abc"), (20, b"four")]
    with pytest.raises(ValueError, match="a field is cut off"):
        list(fields(memoryview(data[:-1])))
    for wire in (3, 4, 6, 7):
        with pytest.raises(ValueError, match=f"wire type {wire} is not known"):
            list(fields(memoryview(number(1 << 3 | wire) + bytes(9))))
    assert list(fields(memoryview(b""))) == []


JPEG = encoded(photo(8, 8))


def datum(*parts: bytes) -> bytes:
    return b"".join(parts)


CHANNELS, HEIGHT, WIDTH = b"\x08\x03", b"\x10\x05", b"\x18\x07"


def test_values_of_lmdb(tmp_path: Path) -> None:
    environment = need("lmdb").open(str(tmp_path / "db"), map_size=1 << 24)
    values = {
        b"a/plain.jpg": JPEG,
        b"b\xff\xc3\xa9": JPEG + b"x",
        b"c datum": datum(message(4, JPEG), b"\x28\x07"),
        b"d encoded, says the datum": datum(CHANNELS, message(4, b"no image"), b"\x38\x01"),
        b"e not encoded": datum(CHANNELS, HEIGHT, WIDTH, message(4, bytes(105)), b"\x28\x07\x38\x00"),
        b"f raw, without sizes": message(4, bytes(105)),
        b"g pickled": pickle.dumps({}, 2),
        b"h pickled": pickle.dumps({}, 5),
        b"i text": b"123",
        b"j damaged": message(4, JPEG)[:-5],
        b"k number in the place of data": b"\x20\x01",
        b"l empty": b"",
        b"m like a pickle": b"\x80\x01",
        b"n like a pickle": b"\x80\x06",
        b"o large": JPEG + bytes(6000),
        b"p damaged": bytes(4) + JPEG[4:],
        b"q keys": b"[\n 'a', '\xc3\xbc'\n]",
        b"r no image.JPG": b"text",
        b"__keys__": bytes(range(200)),
    }
    with environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    environment.close()
    for path in (tmp_path / "db", tmp_path / "db" / "data.mdb"):
        found = contents(path, max_bytes=len(JPEG) + 6000)
        name = path.name
        assert found.images == [
            (f"{name}/a/plain.jpg", "", JPEG),
            (f"{name}/b\\xffé", "", JPEG + b"x"),
            (f"{name}/c datum", "7", JPEG),
            (f"{name}/d encoded, says the datum", "", b"no image"),
            (f"{name}/o large", "", JPEG + bytes(6000)),
        ]
        assert found.failures == [
            (f"{name}/e not encoded", "unsupported"),
            (f"{name}/f raw, without sizes", "unsupported"),
            (f"{name}/g pickled", "unsupported"),
            (f"{name}/h pickled", "unsupported"),
            (f"{name}/j damaged", "not_an_image"),
            (f"{name}/l empty", "not_an_image"),
            (f"{name}/p damaged", "not_an_image"),
            (f"{name}/r no image.JPG", "not_an_image"),
        ]
        assert found.messages[:2] == [
            "a Caffe Datum of raw pixels (7 x 5 x 3): its channel order is not known",
            "a Caffe Datum of raw pixels (? x ? x ?): its channel order is not known",
        ]
        assert "pickles are not read" in found.messages[2]
        assert found.messages[4:6] == [
            "the first bytes of the value are those of no image format",
            "the value is empty",
        ]
        assert found.skipped == {"non_image": 6}
    found = contents(tmp_path / "db", max_bytes=len(JPEG) + 5999)
    assert dict(zip(found.failures, found.messages, strict=True))["db/o large", "too_large"] == (
        f"the value has {len(JPEG) + 6000:,} bytes"
    )


def test_a_database_that_is_none(tmp_path: Path) -> None:
    need("lmdb")
    (tmp_path / "a.mdb").write_bytes(bytes(9000))
    assert contents(tmp_path / "a.mdb").failures == [("a.mdb", "corrupt")]
    (tmp_path / "a.lmdb").mkdir()
    (tmp_path / "a.lmdb" / "data.mdb").write_bytes(b"")
    found = contents(tmp_path / "a.lmdb")
    assert found.failures == [("a.lmdb", "corrupt")]
    assert "LMDB: this is no database" in found.messages[0]
    memory = need("fsspec").filesystem("memory")
    memory.pipe_file("/records/a.mdb", bytes(9000))
    found = contents("memory://records/a.mdb")
    assert (found.failures, found.messages) == (
        [("a.mdb", "unsupported")],
        ["LMDB is read from this machine only; copy it here first"],
    )
