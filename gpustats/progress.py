"""A progress bar on the terminal or in a notebook with images/s and the time left."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from gpustats.sources import Source

__all__ = ["ProgressBar", "reported"]


@contextmanager
def reported(progress: bool | Callable[[int], None] | None, source: Source) -> Iterator[Callable[[int], None]]:
    """Give the function that is called with the number of images done since the last call.

    Parameters
    ----------
    progress : bool, callable or None
        Whether to show a bar, None where stderr is a terminal or in a notebook; or the function itself.
    source : Source
        What is read.
    """
    if callable(progress):
        yield progress
    elif progress or (progress is None and (_in_notebook() or (sys.stderr is not None and sys.stderr.isatty()))):
        with ProgressBar(source) as bar:
            yield bar.update
    else:
        yield lambda images: None


def _in_notebook() -> bool:
    return "ipykernel.zmqshell" in sys.modules


def _tqdm() -> Any:
    """Return tqdm's bar for the place where this runs."""
    if not _in_notebook():
        from tqdm import tqdm  # tqdm.auto would import asyncio as well

        return tqdm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that ipywidgets are missing, and shows a bar of text
        from tqdm.auto import tqdm as chosen

    return chosen


class ProgressBar:
    """Shows a bar on stderr, or as a widget in a notebook, while a run lasts.

    Another thread counts the images of the source meanwhile.

    Parameters
    ----------
    source : Source
        Asked for its count.
    """

    def __init__(self, source: Source) -> None:
        self._bar = _tqdm()(
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
