"""What the parts of the GPU engine hand to one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.base import Columns, Kind

__all__ = ["CHANNELS", "KIND", "POISON", "BatchReducer", "EncodedBatch", "EncodedImage", "PendingBatch"]

CHANNELS = 3

KIND = Kind(CHANNELS, "uint8")
"""What DALI decodes to."""

POISON = 0xA5
"""Written over pixels once they were reduced: a buffer that comes back full of it was never written by the decoder."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One JPEG in memory with the size that its header gives."""

    key: str
    group: str
    data: bytes
    height: int
    width: int

    @property
    def pixel_bytes(self) -> int:
        """Bytes that it takes when decoded."""
        return self.height * self.width * CHANNELS


@dataclass(slots=True)
class EncodedBatch:
    """JPEGs that are decoded together."""

    images: list[EncodedImage] = field(default_factory=list)
    pixel_bytes: int = 0
    encoded_bytes: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def add(self, image: EncodedImage) -> None:
        """Append an image."""
        self.images.append(image)
        self.pixel_bytes += image.pixel_bytes
        self.encoded_bytes += len(image.data)

    def arrays(self) -> list[NDArray[np.uint8]]:
        """Return the encoded bytes as DALI takes them, without a copy."""
        return [np.frombuffer(image.data, np.uint8) for image in self.images]

    def halves(self) -> list[EncodedBatch]:
        """Split in two."""
        middle = len(self.images) // 2
        parts = []
        for images in (self.images[:middle], self.images[middle:]):
            part = EncodedBatch()
            for image in images:
                part.add(image)
            parts.append(part)
        return parts


class PendingBatch(Protocol):
    """A launch under way. Until `result` returned, the decoded pixels must stay where they are."""

    def result(self) -> Columns:
        """Wait for the kernel and return the columns of the rows, one row an image."""
        ...


class BatchReducer(Protocol):
    """Reduces decoded samples at their addresses."""

    name: str

    def launch(
        self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]
    ) -> PendingBatch:
        """Start reducing 8-bit RGB samples in HWC layout; arrays of shape (N,)."""
        ...
