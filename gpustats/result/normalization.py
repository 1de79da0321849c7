"""Mean and std in the form that other libraries want them: their scale, their order of channels, and what to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gpustats.definition import UNNAMED, Definition
from gpustats.errors import DataError
from gpustats.failures import FailureLog
from gpustats.result.estimate import Estimate
from gpustats.statistics.base import Kind
from gpustats.statistics.totals import Totals

__all__ = ["Measured", "Normalization", "normalization", "normalization_notes", "plain", "rounded", "scale_words"]


class Measured(Protocol):
    """What this room reads of a result; `gpustats.Stats` is one."""

    @property
    def totals(self) -> Totals: ...
    @property
    def definition(self) -> Definition: ...
    @property
    def failures(self) -> FailureLog: ...
    @property
    def complete(self) -> bool: ...
    @property
    def estimate(self) -> Estimate | None: ...
    @property
    def n_images(self) -> int: ...
    @property
    def channels(self) -> tuple[str, ...]: ...
    def number(self, name: str) -> Any: ...
    def stderr(self, name: Any, *, of: Any) -> Any: ...
    def scaled(self, scale: float) -> Measured: ...


@dataclass(frozen=True, slots=True)
class Normalization:
    """What to subtract and what to divide by, for each channel.

    Attributes
    ----------
    mean, std, minimum, maximum : tuple of float
        One value a channel, on [0, `scale`]; values of floats and of signed and 32-bit integers as they are.
    scale : float
        The value that the largest pixel value has here.
    order : str
        ``"RGB"``, ``"BGR"``, ``"L"``, or ``"unnamed"`` for channels without a name.
    kind : Kind
        Of the images.
    images : int
        How many were measured.
    notes : tuple of str
        What a reader of the numbers must know: an interrupted run, failed images.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    scale: float
    order: str
    kind: Kind
    images: int
    notes: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        """What the numbers are, in one line."""
        order = f"{len(self.mean)} channels in the order of the arrays" if self.order == UNNAMED else self.order
        return f"{order}, {scale_words(self.kind, plain(self.scale))}"

    def ordered(self, order: str) -> Normalization:
        """Return the same with the channels in the order RGB or BGR.

        Raises
        ------
        DataError
            Where the channels are no colours.
        """
        if order == self.order:
            return self
        if {order, self.order} != {"RGB", "BGR"}:
            raise DataError(f"only colours can be put into the order {order}; these are {self.says}")
        values = {name: getattr(self, name)[::-1] for name in ("mean", "std", "minimum", "maximum")}
        return replace(self, order=order, **values)


def normalization(stats: Measured, scale: float) -> Normalization:
    """Return the pooled mean and std of a result.

    Parameters
    ----------
    stats : Measured
        The result; the scale it is shown on does not count.
    scale : float
        What the largest pixel value becomes. Values of float images are multiplied by it.

    Raises
    ------
    DataError
        Where there is no image, or a channel is constant, so that nothing can be divided by its std.
    """
    kind = stats.totals.kind
    if kind is None:
        raise DataError("the result holds no images, so it has no mean and std")
    shown = stats.scaled(scale)
    mean, std, low, high = (tuple(shown.number(name).tolist()) for name in ("mean", "std", "min", "max"))
    for channel, value in zip(stats.channels, std, strict=True):
        if not value > 0:
            problem = "has no pixels" if math.isnan(value) else "is constant (std 0)"
            raise DataError(f"channel {channel} {problem}: nothing can be divided by its std")
    return Normalization(
        mean,
        std,
        low,
        high,
        float(scale),
        stats.definition.color_order,
        kind,
        stats.n_images,
        tuple(normalization_notes(stats)),
    )


def normalization_notes(stats: Measured) -> list[str]:
    """Return what a reader of the numbers must know: a sample, an interrupted run, failed images."""
    notes = stats.estimate.facts() if stats.estimate is not None and not stats.estimate.whole else []
    if not stats.complete:
        notes.append("INCOMPLETE: the run was stopped before the end")
    if failed := len(stats.failures):
        notes.append(
            f"{failed:,} images failed and do not count" if failed > 1 else "1 image failed and does not count"
        )
    return notes


def scale_words(kind: Kind | None, scale: str) -> str:
    """Return what was done to pixel values, in words.

    Examples
    --------
    >>> scale_words(Kind(1, "uint8"), "255"), scale_words(Kind(1, "float64"), "1")
    ('values on [0, 255]', 'floats as they are')
    >>> scale_words(Kind(1, "uint16", 4095), "1")
    'values divided by 4095'
    """
    if kind is not None and (kind.as_is or kind.value_range is not None):
        times = "" if scale == "1" else f", times {scale}"
        if kind.value_range is not None:
            return f"values divided by {plain(kind.value_range)}{times}"
        return f"{'floats' if kind.is_float else 'integers'}{times.lstrip(',') or ' as they are'}"
    return f"values on [0, {scale}]"


def plain(value: float) -> str:
    """Return a number without a needless fraction: 255, not 255.0.

    Examples
    --------
    >>> plain(255.0), plain(0.5)
    ('255', '0.5')
    """
    return f"{value:.15g}"


def rounded(values: Sequence[float], digits: int) -> list[float]:
    """Return values rounded to significant digits."""
    return [float(f"{value:.{digits}g}") for value in values]
