"""CIFAR-10 and CIFAR-100 as published for C programs: records of labels and 3,072 bytes, without a header.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files.file import File
from gpustats.sources.items import check_bytes
from gpustats.sources.options import SourceOptions

__all__ = ["CifarBinarySource"]

_PIXELS = 3 * 32 * 32


class CifarBinarySource(ShardSource):
    """The 32 x 32 colour images of one batch file; the label (of CIFAR-100 the fine one) is the group.

    Parameters
    ----------
    file, key, options
        See `ShardSource`.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._max_bytes = options.max_bytes

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        with self.file.open() as stream:
            data = stream.read(self._max_bytes + 1)
        check_bytes(len(data), self._max_bytes)
        labels = 1 if "batch" in self.file.name else 2  # CIFAR-100 has a coarse one and a fine one
        record = labels + _PIXELS
        whole, rest = divmod(len(data), record)
        if rest or not whole:
            raise ImageError("corrupt", f"{len(data):,} bytes are no whole number of records of {record:,} bytes")
        records = np.frombuffer(data, np.uint8).reshape(whole, record)
        images = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        for i, (label, image) in enumerate(zip(records[:, labels - 1].tolist(), images, strict=True)):
            yield f"{self.key}/{i}", str(label), image
