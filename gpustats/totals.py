"""What the two accumulators share: counts, image sizes, the hash of the keys, and how all of it is written and read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError, MergeError

__all__ = ["TotalsBase", "natural"]

_T = TypeVar("_T", bound="TotalsBase")

_KEY_MODULUS = 1 << 128
"""The hash of a set of keys is a sum modulo this."""


class TotalsBase:
    """Counts of images and pixels, and a list of numbers per channel for each name in `per_channel`.

    Attributes
    ----------
    channels : int
        Channels an image has; 0 while empty.
    images, pixels : int
        How many were folded.
    images_unbiased : int
        Images of more than one pixel: those that have a ddof=1 std.
    height_min, height_max, width_min, width_max : int
        Range of the image sizes.
    key_hash : int
        Order-free 128-bit hash of the keys.
    """

    scalars: ClassVar[tuple[str, ...]] = (
        "channels",
        "images",
        "pixels",
        "images_unbiased",
        "height_min",
        "height_max",
        "width_min",
        "width_max",
    )
    per_channel: ClassVar[tuple[str, ...]] = ()

    __slots__ = (*scalars, "key_hash")

    channels: int
    images: int
    pixels: int
    images_unbiased: int
    height_min: int
    height_max: int
    width_min: int
    width_max: int
    key_hash: int

    def __init__(self) -> None:
        for name in self.scalars:
            setattr(self, name, 0)
        for name in self.per_channel:
            setattr(self, name, [])
        self.key_hash = 0

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"{type(self).__name__}(images={self.images}, pixels={self.pixels}, channels={self.channels})"

    @property
    def kind(self) -> str:
        """What the images are, for messages and to tell totals apart that cannot be pooled."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers in plain containers; `from_dict` reads them back exactly."""
        data: dict[str, Any] = {name: getattr(self, name) for name in self.scalars}
        data |= {name: list(getattr(self, name)) for name in self.per_channel}
        data["key_hash"] = f"{self.key_hash:032x}"
        return data

    def _count(
        self, keys: Sequence[str], height: NDArray[np.uint64], width: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Take counts, sizes and keys from rows; return the pixels of each image and whether it has several.

        Raises
        ------
        ValueError
            Where an image has no pixels.
        """
        pixels = height * width
        if not pixels.all():
            raise ValueError(f"image {keys[int(np.argmin(pixels))]!r} has no pixels")
        several = pixels > 1
        self.images = len(keys)
        self.pixels = int(pixels.sum())
        self.images_unbiased = int(several.sum())
        self.height_min, self.height_max = int(height.min()), int(height.max())
        self.width_min, self.width_max = int(width.min()), int(width.max())
        self.key_hash = _hash(keys)
        return pixels, several

    def _copy(self: _T, other: _T) -> None:
        """Become equal to `other`."""
        for name in self.scalars:
            setattr(self, name, getattr(other, name))
        for name in self.per_channel:
            setattr(self, name, list(getattr(other, name)))
        self.key_hash = other.key_hash

    def _check_kind(self, other: TotalsBase) -> None:
        if self.kind != other.kind:
            raise MergeError(
                f"images of {self.kind} cannot be pooled with images of {other.kind}; compute them separately"
            )

    def _add(self: _T, other: _T, sums: Sequence[str]) -> None:
        """Add counts, sizes, extremes and keys, and the per-channel numbers that are plain sums."""
        for name, combine in (("min", min), ("max", max)):
            setattr(self, name, list(map(combine, getattr(self, name), getattr(other, name))))
        for name in sums:
            setattr(self, name, [a + b for a, b in zip(getattr(self, name), getattr(other, name), strict=True)])
        self.images += other.images
        self.pixels += other.pixels
        self.images_unbiased += other.images_unbiased
        self.height_min = min(self.height_min, other.height_min)
        self.height_max = max(self.height_max, other.height_max)
        self.width_min = min(self.width_min, other.width_min)
        self.width_max = max(self.width_max, other.width_max)
        self.key_hash = (self.key_hash + other.key_hash) % _KEY_MODULUS

    def _read(self, data: Any, value: Callable[[Any, str], Any]) -> None:
        """Take what `to_dict` wrote; `value` checks one number of a channel.

        Raises
        ------
        DataError
            Where a number is missing or is not of its kind.
        """
        try:
            for name in self.scalars:
                setattr(self, name, natural(data[name], name))
            for name in self.per_channel:
                values = data[name]
                if not isinstance(values, list) or len(values) != self.channels:
                    raise DataError(f"'{name}' should list {self.channels} numbers, got {values!r:.80}")
                setattr(self, name, [value(number, name) for number in values])
            self.key_hash = int(data["key_hash"], 16) % _KEY_MODULUS
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"the numbers are incomplete or damaged: {error!r}") from None


def natural(value: Any, name: str) -> int:
    """Return a non-negative integer as it is.

    Raises
    ------
    DataError
        For anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DataError(f"'{name}' should be a non-negative integer, got {value!r:.80}")
    return value


def _hash(keys: Sequence[str]) -> int:
    """Return the sum of the keys' 128-bit BLAKE2b hashes modulo 2**128: the same for any order and any split."""
    blake2b = hashlib.blake2b
    total = sum(
        int.from_bytes(blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest(), "big") for key in keys
    )
    return total % _KEY_MODULUS
