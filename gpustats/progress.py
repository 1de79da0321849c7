"""A progress bar on the terminal with images/s and the time left."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm

from gpustats.sources import Source

__all__ = ["ProgressBar"]


class ProgressBar:
    """Shows a bar on stderr while a run lasts; a thread of its own counts the images of the source meanwhile.

    Parameters
    ----------
    source : Source
        Asked for its count.
    """

    def __init__(self, source: Source) -> None:
        self._bar = tqdm(
            unit=" images", unit_scale=False, dynamic_ncols=True, file=sys.stderr, smoothing=0.1, leave=False
        )
        self._counter = threading.Thread(target=self._count, args=(source.count,), daemon=True)

    def _count(self, count: Callable[[], int | None]) -> None:
        self._bar.total = count()

    def __enter__(self) -> ProgressBar:
        self._counter.start()
        return self

    def update(self, images: int) -> None:
        """Say that `images` more are done, failed ones included."""
        self._bar.update(images)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
