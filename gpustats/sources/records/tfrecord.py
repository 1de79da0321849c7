"""TFRecord files of `tf.train.Example`, with their checksums verified and without TensorFlow.

A record is its length (8 bytes, little endian), the masked CRC-32C of these bytes, the data, and the masked CRC-32C of
the data:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, cast

from gpustats.decode.formats import sniff
from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Sample, ShardSource, held_until
from gpustats.sources.choice import choose_one, listed
from gpustats.sources.files.file import File
from gpustats.sources.options import SourceOptions, missing_extra
from gpustats.sources.records.protobuf import fields, varint
from gpustats.wording import option

__all__ = ["TFRecordSource"]

_HEAD = struct.Struct("<QI")
_IMAGE_FEATURES = (("image/encoded",), ("image",), ("image_raw",), ("encoded",), ("jpg", "png"))
_GROUP_FEATURES = ("image/class/label", "label", "class", "image/class/text")


class TFRecordSource(ShardSource):
    """The images of one TFRecord file, plain or compressed with gzip. The key is the number of the record.

    A record whose data has a wrong checksum is a failure; after a wrong length nothing can be found any more, so the
    rest of the file is one failure.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `feature` holds the encoded image, `group` the label.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._max_bytes = options.max_bytes
        self._feature = options.feature
        self._group = options.group
        self._grouped = options.group is None  # a record had the feature that names the group
        self._names: set[str] = set()
        try:
            import google_crc32c
        except ImportError:
            raise missing_extra(file.label, "TFRecord", "google-crc32c", "tfrecord") from None
        self._crc = google_crc32c.value

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the records."""
        with ExitStack() as stack:
            stream = stack.enter_context(self.file.open())
            if stream.read(2) == b"\x1f\x8b":
                stream.seek(0)
                stream = stack.enter_context(cast(BinaryIO, gzip.GzipFile(fileobj=stream)))
            else:
                stream.seek(0)
            try:
                yield from held_until(self._records(stream), lambda: self._grouped, self._no_group)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ImageError("corrupt", f"the compressed file is damaged: {error}") from None

    def _records(self, stream: BinaryIO) -> Iterator[Sample | Failure]:
        number = position = 0
        while head := stream.read(_HEAD.size):
            if len(head) < _HEAD.size:
                raise ImageError("truncated", f"the file ends within the length of record {number}")
            size, checksum = _HEAD.unpack(head)
            if _unmasked(checksum) != self._crc(head[:8]):
                raise ImageError(
                    "corrupt",
                    f"the length of record {number} (at byte {position:,}) has a wrong checksum: the rest is not read",
                )
            key = f"{self.key}/{number}"
            if size >= 1 << 62:
                raise ImageError("corrupt", f"record {number} (at byte {position:,}) claims {size:,} bytes")
            if size > self._max_bytes:
                yield Failure(key, "too_large", f"the record has {size:,} bytes, more than {self._max_bytes:,}")
                stream.seek(position + _HEAD.size + size + 4)
            else:
                record, tail = stream.read(size), stream.read(4)
                if len(record) < size or len(tail) < 4:
                    raise ImageError("truncated", f"the file ends within record {number} (at byte {position:,})")
                if _unmasked(int.from_bytes(tail, "little")) != self._crc(record):
                    yield Failure(key, "corrupt", f"record {number} (at byte {position:,}) has a wrong checksum")
                else:
                    yield self._sample(key, memoryview(record))
            position += _HEAD.size + size + 4
            number += 1

    def _no_group(self) -> ImageError:
        names = ", ".join(sorted(self._names))
        return ImageError("unsupported", f"there is no feature '{self._group}' for the group; there are: {names}")

    def _sample(self, key: str, record: memoryview) -> Sample | Failure:
        try:
            features = _example(record)
        except ValueError as error:
            return Failure(key, "corrupt", f"the record is no tf.train.Example: {error}")
        try:
            found = self._image_feature(features)
        except ImageError as error:
            return Failure(key, error.reason, str(error))
        value = _first(features[found])
        assert isinstance(value, bytes)
        self.notes.choose("feature", found)
        labels = (self._group,) if self._group is not None else _GROUP_FEATURES
        label_from = next((name for name in labels if name in features), None)
        if not self._names:
            self.notes.offer({name: _described(features[name]) for name in sorted(features)}, label_from)
        try:
            count = _count(features[found])
        except ValueError as error:
            return Failure(key, "corrupt", f"the feature '{found}' is damaged: {error}")
        if count > 1:
            return Failure(
                key, "unsupported", f"the feature '{found}' holds {count} values; one image a record is read"
            )
        label = None if label_from is None else _first(features[label_from])
        self._grouped |= self._group in features
        self._names.update(features)
        group = label.decode("utf-8", "replace") if isinstance(label, bytes) else "" if label is None else str(label)
        return key, group, value

    def _image_feature(self, features: dict[str, memoryview]) -> str:
        """Return the name of the feature that is the image: by its name, else the one whose bytes are those of one."""
        if self._feature is not None:
            wanted = [self._feature] if self._feature in features else []
        else:
            usual = [name for names in _IMAGE_FEATURES for name in names]
            wanted = [name for name in features if name in usual]
            if not wanted:
                wanted = [
                    name for name in features if isinstance(value := _first(features[name]), bytes) and sniff(value)
                ]
        found = choose_one(
            dict.fromkeys(wanted, ""), what="features", choose_with=option("feature"), usual=_IMAGE_FEATURES
        )
        if found is None or not isinstance(_first(features[found]), bytes):
            there = listed({name: f"({_described(features[name])})" for name in sorted(features)})
            what = (
                f"no bytes feature '{self._feature or _IMAGE_FEATURES[0][0]}'"
                if found is None
                else f"the feature '{found}' holds {_described(features[found])}, not an encoded image"
            )
            raise ImageError("missing", f"{what}; there are: {there}; choose with {option('feature')}")
        return found


def _described(feature: memoryview) -> str:
    """Return the type of a feature, in words."""
    try:
        kinds = [kind for kind, values in fields(feature) if isinstance(values, memoryview)]
    except ValueError:
        return "damaged"
    return {1: "bytes", 2: "floats", 3: "integers"}.get(kinds[0], "unknown") if kinds else "nothing"


def _unmasked(masked: int) -> int:
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _example(record: memoryview) -> dict[str, memoryview]:
    """Return the features of an Example, each still encoded: features (1) maps (1) names (1) to Features (2)."""
    found: dict[str, memoryview] = {}
    for number, features in fields(record):
        if number == 1 and isinstance(features, memoryview):
            for entry_number, entry in fields(features):
                if entry_number == 1 and isinstance(entry, memoryview):
                    parts = dict(fields(entry))
                    name, feature = parts.get(1), parts.get(2, memoryview(b""))
                    if isinstance(name, memoryview) and isinstance(feature, memoryview):
                        found[str(name, "utf-8", "replace")] = feature
    return found


def _count(feature: memoryview) -> int:
    """Return how many values a Feature of bytes has.

    Raises
    ------
    ValueError
        Where it is damaged.
    """
    return sum(
        number == 1
        for kind, values in fields(feature)
        if kind == 1 and isinstance(values, memoryview)
        for number, _ in fields(values)
    )


def _first(feature: memoryview) -> bytes | int | float | None:
    """Return the first value of a Feature: a list (1) of bytes (1), floats (2) or 64-bit integers (3)."""
    try:
        for kind, values in fields(feature):
            if isinstance(values, memoryview):
                for number, value in fields(values):
                    if number == 1:
                        if isinstance(value, int):
                            return value
                        if kind == 1:
                            return bytes(value)
                        if kind == 2 and len(value) >= 4:
                            return float(struct.unpack_from("<f", value)[0])
                        return varint(value, 0)[0] if len(value) else None  # packed
    except ValueError:
        pass
    return None
