"""Whether the images of a loop come again and again: workers that do not share their work, epochs, endless loops."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gpustats.wording import amount, option

__all__ = ["Repetition", "same_images"]

_MOST = 1024
"""Contents that are counted."""

_PIECES, _PIECE = 16, 2048
"""What is compared of a large array: so many pieces of so many bytes, evenly spaced."""

_SURE, _SURE_AT_THE_END = 8, 16
"""Different contents that have to come again before a run is ended."""

_ROUNDS = 16
"""How often every image comes before the user is told that this may be endless."""


class Repetition:
    """Compares the pixels that a loop yields. Costs about 10 us an image and a fixed amount of memory.

    Of up to 1,024 contents it is counted how often they come; where there are more, of those whose hash ends in enough
    zero bits: which ones depends on the pixels alone, and each is counted from its first time on.

    Parameters
    ----------
    workers : int
        How many processes iterate over a dataset of their own, and give their batches in turn.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._counts: dict[int, int] = {}
        self._mask = 0
        self._images = 0
        self._look_at = 256
        self._element: list[int | None] = []
        self._first: list[int | None] | None = None  # the batch of the first worker in this round
        self._elements = 0
        self._alike = workers > 1

    def add(self, image: Any) -> None:
        """Count an image: a NumPy array, bytes, or a PIL image that is decoded. Others are passed over."""
        content = _content(image)
        if self._alike:
            self._element.append(content)
        self._images += 1
        if content is None or content & self._mask:
            return
        self._counts[content] = self._counts.get(content, 0) + 1
        if len(self._counts) > _MOST:
            self._mask = 2 * self._mask + 1
            self._counts = {known: times for known, times in self._counts.items() if not known & self._mask}

    def after_element(self) -> bool:
        """Note that an element is complete; say whether all workers are seen to give the same."""
        if self._images >= self._look_at:
            self._look_at *= 2
            self._warn_of_rounds()
        if not self._alike:
            return False
        if self._elements % self._workers == 0:
            self._first = self._element
        self._alike = self._element == self._first and None not in self._element
        self._element = []
        self._elements += 1
        return self._whole_rounds(_SURE)

    def at_the_end(self) -> bool:
        """Say whether every worker gave the same images, in any order."""
        counts = self._counts.values()
        if self._workers < 2 or len(counts) < 2:
            return False
        multiples = min(counts) == self._workers and not any(times % self._workers for times in counts)
        together = len(counts) >= _SURE_AT_THE_END or max(counts) == self._workers
        return self._whole_rounds(2) or (multiples and together)

    def remark(self) -> str | None:
        """Return what is to be said at the end; None where some images came once, as is usual."""
        counts = self._counts.values()
        if len(counts) < 2 or min(counts) < 2:
            return None
        what = "different images" if not self._mask else "images that were compared"
        return f"no image came only once: each of {len(counts):,} {what} came at least {min(counts):,} times"

    def _whole_rounds(self, contents: int) -> bool:
        return self._alike and self._elements % self._workers == 0 and len(self._counts) >= contents

    def _warn_of_rounds(self) -> None:
        if len(self._counts) > 1 and min(self._counts.values()) >= _ROUNDS:
            self._look_at = 1 << 63
            warnings.warn(
                f"every image came at least {_ROUNDS} times among {amount(self._images, 'image')}, and the loop goes "
                "on. If it never ends, give a part of it: itertools.islice(data, 1000)",
                stacklevel=2,
            )


def same_images(label: str, workers: int) -> str:
    """Return what is said where workers do not share their work."""
    return (
        f"{label}: its {workers} workers yield the same images, so each image would count {workers} times: the "
        "IterableDataset does not divide its work. Use num_workers=1, divide it by torch.utils.data.get_worker_info(), "
        f"or give {option('repeats', 'count')} to count them all"
    )


def _content(image: Any) -> int | None:
    from xxhash import xxh3_64_intdigest

    if isinstance(image, np.ndarray) and not image.dtype.hasobject and image.size:
        values = image.ravel(order="K").view(np.uint8)  # no copy where the axes are only in another order
        if len(values) > _PIECES * _PIECE:
            values = values[: len(values) // _PIECES * _PIECES].reshape(_PIECES, -1)[:, :_PIECE]
        return xxh3_64_intdigest(np.ascontiguousarray(values).data)
    if isinstance(image, bytes | bytearray | memoryview):
        return xxh3_64_intdigest(image)
    if hasattr(image, "getbands") and not getattr(image, "tile", None):  # a PIL image that is decoded
        return xxh3_64_intdigest(image.tobytes())
    return None
