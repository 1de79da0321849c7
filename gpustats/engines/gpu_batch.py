"""What the parts of the GPU engine hand to one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.base import Columns, Kind, Part

__all__ = ["CHANNELS", "KIND", "POISON", "BatchReducer", "EncodedBatch", "EncodedImage", "PendingBatch", "in_arena"]

CHANNELS = 3

KIND = Kind(CHANNELS, "uint8")
"""What DALI decodes to."""

POISON = 0xA5
"""Written over pixels once they were reduced: a buffer that comes back full of it was never written by the decoder."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One JPEG in memory."""

    key: str
    group: str
    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBatch:
    """JPEGs that are decoded together, their bytes in one arena.

    Attributes
    ----------
    arena : ndarray of uint8
        Memory that holds them all, and maybe more.
    keys, groups : list of str
        The name of each image, and its group.
    starts, sizes : ndarray of int32, shape (N,)
        Where the bytes of each image are in the arena.
    heights, widths : ndarray of uint64, shape (N,)
        As their headers say.
    components : ndarray of uint8, shape (N,)
        The same: 1 for grey, 3 for colour.
    whole : bool
        Whether no other batch is in the same arena.
    """

    arena: NDArray[np.uint8]
    keys: list[str]
    groups: list[str]
    starts: NDArray[np.int32]
    sizes: NDArray[np.int32]
    heights: NDArray[np.uint64]
    widths: NDArray[np.uint64]
    components: NDArray[np.uint8]
    whole: bool = True

    @classmethod
    def of(cls, images: Sequence[EncodedImage], headers: Sequence[tuple[int, int, int]]) -> EncodedBatch:
        """Return a batch of images in memory and their heights, widths and components."""
        arena, starts, lengths = in_arena([image.data for image in images])
        heights, widths, components = np.array(headers, np.uint64).reshape(-1, 3).T
        return cls(
            arena,
            [image.key for image in images],
            [image.group for image in images],
            starts,
            lengths,
            heights,
            widths,
            components.astype(np.uint8),
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def pixel_bytes(self) -> int:
        """Bytes that the images take when decoded."""
        return int((self.heights * self.widths).sum()) * CHANNELS

    def image(self, index: int) -> EncodedImage:
        """Return one image, its bytes copied out of the arena."""
        start = int(self.starts[index])
        data = self.arena[start : start + int(self.sizes[index])].tobytes()
        return EncodedImage(self.keys[index], self.groups[index], data)

    def files(self) -> Iterator[memoryview]:
        """Yield the bytes of each image where they are."""
        arena = self.arena.data
        for start, size in zip(self.starts.tolist(), self.sizes.tolist(), strict=True):
            yield arena[start : start + size]

    def halves(self) -> list[EncodedBatch]:
        """Split in two."""
        middle = len(self) // 2
        return [
            EncodedBatch(
                self.arena,
                self.keys[part],
                self.groups[part],
                self.starts[part],
                self.sizes[part],
                self.heights[part],
                self.widths[part],
                self.components[part],
                whole=False,
            )
            for part in (slice(middle), slice(middle, None))
        ]


def in_arena(images: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Return images in one arena, where each starts, and how long it is."""
    sizes = np.array([len(data) for data in images], np.int32)
    return np.frombuffer(b"".join(images), np.uint8), np.cumsum(sizes, dtype=np.int32) - sizes, sizes


class PendingBatch(Protocol):
    """A launch under way. Until `result` returned, the decoded pixels must stay where they are."""

    def result(self) -> Columns:
        """Wait for the kernel and return the columns of the rows, one row an image."""
        ...

    def folded(self, left_out: NDArray[np.bool_]) -> Mapping[str, Part]:
        """Return the totals of statistics that have no columns, by name; `result` comes first.

        `left_out`, of shape (N,), says which images do not count; each of these is of one colour.
        """
        ...


class BatchReducer(Protocol):
    """Reduces decoded samples at their addresses."""

    name: str

    def launch(
        self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]
    ) -> PendingBatch:
        """Start reducing 8-bit RGB samples in HWC layout; arrays of shape (N,)."""
        ...
