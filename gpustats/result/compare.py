"""`compare`: results, files of results and presets."""

from __future__ import annotations

import os
from typing import TypeAlias

from gpustats.result.comparison import Comparison, comparison
from gpustats.result.presets import Preset
from gpustats.result.sides import side_of
from gpustats.result.stats import Stats

__all__ = ["compare"]

Given: TypeAlias = "Stats | Preset | str | os.PathLike[str]"


def compare(a: Given, b: Given) -> Comparison:
    """Compare a dataset with another or with numbers in circulation: "ImageNet's mean and std, or my own?"

    Parameters
    ----------
    a, b : Stats, Preset, str or path-like
        Each a result, a file with a saved result, or the name of a preset (`gpustats.presets`).

    Returns
    -------
    Comparison
        Differences, what a network sees, whether sampling explains them, and a verdict. Print it.

    Raises
    ------
    DataError
        For an unknown name (the nearest is suggested), a file that is no result, an empty result, different channels.

    Examples
    --------
    >>> import gpustats, numpy
    >>> images = numpy.random.default_rng(0).integers(0, 256, (40, 9, 8, 3), dtype="uint8")
    >>> found = gpustats.compare(gpustats.compute(images, progress=False), "imagenet")
    >>> found.seen_std.round(1).tolist()  # after Normalize with ImageNet's numbers
    [1.3, 1.3, 1.3]
    """
    return comparison(side_of(a, Stats.load, "a"), side_of(b, Stats.load, "b"))
