"""Sampling errors and distances of histograms, for comparisons."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpustats.result.normalization import Measured
from gpustats.result.sides import Side
from gpustats.statistics import ALWAYS

__all__ = ["CONFIDENCE", "FEW", "Sampling", "of_histograms", "sampling"]

CONFIDENCE = 0.95
"""How often two samples of one set of images are found to be no different."""

FEW = 30
"""Below so many images the normal distribution is a rough approximation."""

Values = NDArray[np.float64]


class Sampling(NamedTuple):
    """What sampling explains of a difference; see `gpustats.result.comparison.Comparison`."""

    z_mean: Values | None
    z_std: Values | None
    differs: bool | None
    notes: list[str]


def sampling(a: Side, b: Side) -> Sampling:
    """Return by how many standard errors two sides differ, images taken as independent draws.

    Compared are the *averages over images* of the image's mean and std, whose errors every result has; and with a
    preset, the numbers that it means, pooled ones by cluster sampling (`gpustats.statistics.clusters`). Two results are
    told apart where one of the ``2 C`` differences is beyond the normal quantile of 1 - 0.05 / (2 * 2 C) (Bonferroni,
    so that channels may be correlated).
    """
    results = [side for side in (a, b) if side.measured is not None]
    if not results:
        return Sampling(None, None, None, [])
    if a.measured is not None and b.measured is not None and _same_images(a.measured, b.measured):
        differs = _changed(a, b)
        said = "the pixels differ" if differs else "their numbers are the same"
        text = f"both have the same images by number, names and sizes, so no sampling is between them: {said}"
        return Sampling(None, None, differs, [text])
    small = min(side.measured.n_images for side in results if side.measured is not None)
    if small < 2:
        return Sampling(None, None, None, ["one image has no sampling error that could be known"])
    notes = [f"{small} images are few: standard errors are rough"] if small < FEW else []
    if len(results) == 2:
        z_mean, z_std = (
            _z(a.number(name) - b.number(name), _error(a, name), _error(b, name))
            for name in ("per_image.mean", "per_image.std")
        )
        return _judged(z_mean, z_std, notes)
    return _against(results[0], b if results[0] is a else a, notes)


def _against(side: Side, known: Side, notes: list[str]) -> Sampling:
    """A result against a preset, whose own error is not known and not counted."""
    assert known.preset is not None
    assert side.measured is not None
    if not known.preset.statistics:
        return Sampling(None, None, None, notes)
    notes.append(f"the sampling error is that of {side.name} alone; that of {known.name} is not known")
    mean_is, std_is = known.preset.mean_is or "mean", known.preset.std_is or "std"
    pooled = [what for what, name in (("mean", mean_is), ("std", std_is)) if name == what]
    if pooled and side.measured.totals[ALWAYS]["products"] is None:
        notes.append(
            f"the sampling error of a pooled {' and '.join(pooled)} is not known to this result of an earlier version"
        )
        mean_is, std_is = "per_image.mean" if "mean" in pooled else mean_is, "" if "std" in pooled else std_is
    z_mean = _z(side.number(mean_is) - known.number("mean"), _error(side, mean_is))
    z_std = _z(side.number(std_is) - known.number("std"), _error(side, std_is)) if std_is else None
    return _judged(z_mean, z_std, notes)


def _judged(z_mean: Values, z_std: Values | None, notes: list[str]) -> Sampling:
    every = np.concatenate([z_mean] + ([] if z_std is None else [z_std]))
    if np.isnan(every).any():
        return Sampling(z_mean, z_std, None, [*notes, "images of one pixel have no std that could be compared"])
    limit = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / len(every))
    differs = bool((np.abs(every) > limit).any())
    said = "larger than sampling explains" if differs else "not larger than sampling explains"
    return Sampling(z_mean, z_std, differs, [*notes, f"the difference is {said} ({limit:.3g} standard errors, 95%)"])


def _z(difference: Values, *errors: Values) -> Values:
    """Return a difference in standard errors: 0 for none, infinite where there is a difference without an error."""
    error = np.sqrt(sum(error**2 for error in errors))
    without_error = np.where(difference > 0, np.inf, np.where(difference < 0, -np.inf, difference))
    return np.divide(difference, error, out=without_error, where=error > 0)


def _error(side: Side, name: str) -> Values:
    """Return the standard error of a number, images taken as independent draws; of stds with ddof=1 that of ddof=0."""
    assert side.measured is not None
    name = name.replace("std_unbiased", "std")
    error: Values = side.measured.scaled(1).stderr(name, of="population")
    return error[::-1] if side.measured.definition.color_order == "BGR" else error


def _same_images(a: Measured, b: Measured) -> bool:
    """Whether number, names and sizes of the images are the same, as far as a result knows."""
    names = ("images", "pixels", "key_hash", "height_min", "height_max", "width_min", "width_max")
    return all(getattr(a.totals, name) == getattr(b.totals, name) for name in names)


def _changed(a: Side, b: Side) -> bool:
    """Whether the numbers of the same images differ: beyond rounding, where they are of floats or of two depths."""
    assert a.measured is not None
    assert b.measured is not None
    kind = a.measured.totals.kind
    exact = kind is not None and kind == b.measured.totals.kind and not kind.is_float
    names = ("mean", "std", "per_image.mean", "per_image.std")
    return not all(
        np.allclose(a.number(n), b.number(n), rtol=0 if exact else 1e-9, atol=0, equal_nan=True) for n in names
    )


def of_histograms(a: Side, b: Side) -> tuple[Values | None, Values | None, list[str]]:
    """Return Wasserstein-1 distance and Jensen-Shannon divergence of two results, and what is missing for them.

    The Wasserstein-1 distance on a line is the integral of ``|F - G|`` of the distribution functions (Vallender 1974,
    Theory of Probability and its Applications 18, 784-786). The divergence is that of Lin 1991 (IEEE Transactions on
    Information Theory 37, 145-151), with logarithms to the base 2.
    """
    if a.measured is None or b.measured is None:
        return None, None, []
    without = [s.name for s in (a, b) if s.measured is not None and "histogram" not in s.measured.totals.statistics]
    if without:
        said = f"no distance of distributions: {' and '.join(without)} was computed without the statistic histogram"
        return None, None, [said]
    first, second = (_axis(side) for side in (a, b))
    if not np.array_equal(first, second):
        said = f"no distance of distributions: the bins of {a.name} are not those of {b.name}"
        return None, None, [said]
    floats = a.measured.totals.kind is not None and a.measured.totals.kind.is_float
    outside = [s.name for s in (a, b) if floats and (_outside(s) > 0).any()]
    if outside:
        said = f"no distance of distributions: {' and '.join(outside)} has values outside the range of its histogram"
        return None, None, [said]
    p, q = (_shares(side) for side in (a, b))
    wasserstein = np.abs(np.cumsum(p, axis=1) - np.cumsum(q, axis=1))[:, :-1] @ np.diff(first)
    notes = []
    if floats:
        notes.append(f"the Wasserstein-1 distance of bins may be off by {2 * a.number('bin_error').max():.3g}, a bin")
    return wasserstein, np.clip(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2, 0, 1), notes


def _axis(side: Side) -> Values:
    """Return where the bins of a histogram are: the values of integers, the middles of the bins of floats."""
    assert side.measured is not None
    kind = side.measured.totals.kind
    assert kind is not None
    if kind.is_float:
        edges: Values = side.measured.scaled(1).number("histogram_edges")
        return (edges[:-1] + edges[1:]) / 2
    low, high = kind.limits
    return np.arange(low, high + 1) / (kind.max_value or 1)


def _outside(side: Side) -> Values:
    return side.number("outside_share.low") + side.number("outside_share.high")


def _shares(side: Side) -> Values:
    bins = side.number("histogram")
    shares: Values = bins / bins.sum(axis=1, keepdims=True)
    return shares


def _entropy(p: Values) -> Values:
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    entropy: Values = -(p * logs).sum(axis=1)
    return entropy
