"""What differs between two results, or a result and a preset, and what it means for a network."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.result import distances
from gpustats.result.sides import Side, sides
from gpustats.result.stored import plain
from gpustats.result.text import WIDTH
from gpustats.result.verdict import level, verdict

__all__ = ["Comparison", "comparison"]

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """How `a` differs from `b`. All arrays have the shape (C,), and values are on [0, 1].

    Attributes
    ----------
    a, b : str
        What was compared.
    channels : tuple of str
        Names of the channels.
    mean, std : ndarray
        Of `a`, all pixels pooled.
    other_mean, other_std : ndarray
        Of `b`.
    seen_mean, seen_std : ndarray
        What a network sees: mean and std that the images of `a` have after Normalize with the numbers of `b`.
    alike : tuple of str
        Under which definition mean and std were compared for `shift`: names of numbers, such as ``per_image.mean``.
    mean_shift, std_shift : ndarray
        ``(mean - other_mean) / other_std`` and ``std / other_std - 1`` under that definition. NaN where `b` has no
        statistics.
    z_mean, z_std : ndarray or None
        By how many standard errors the images' average mean and average std differ, images taken as independent.
        None where the error is not known.
    differs : bool or None
        Whether there is a difference that sampling does not explain (95%, for all channels together).
    wasserstein : ndarray or None
        Wasserstein-1 distance of the histograms, in units of the values; None without histograms.
    jensen_shannon : ndarray or None
        Jensen-Shannon divergence of the histograms, in bits, from 0 to 1.
    notes : tuple of str
        What was converted, assumed or is missing.
    """

    a: str
    b: str
    channels: tuple[str, ...]
    mean: Values
    std: Values
    other_mean: Values
    other_std: Values
    seen_mean: Values
    seen_std: Values
    alike: tuple[str, str]
    mean_shift: Values
    std_shift: Values
    z_mean: Values | None
    z_std: Values | None
    differs: bool | None
    wasserstein: Values | None
    jensen_shannon: Values | None
    notes: tuple[str, ...]

    @property
    def shift(self) -> float:
        """The largest shift of a channel's mean or std, in stds of `b`; NaN where it cannot be said."""
        return float(np.abs([self.mean_shift, self.std_shift]).max())

    @property
    def verdict(self) -> dict[str, str]:
        """What to normalize with: for frozen weights, fine-tuning, and training from scratch."""
        return verdict(self.b, self.shift)

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain containers; NaN is given as None, so that the JSON is valid."""
        found: dict[str, Any] = {}
        for name in (*self.__slots__, "shift", "verdict"):
            value = getattr(self, name)
            found[name] = plain(value.tolist() if isinstance(value, np.ndarray) else value)
        return found

    def __repr__(self) -> str:
        lines = ["gpustats.Comparison", *_wrapped(f"  a: {self.a}", 5), *_wrapped(f"  b: {self.b}", 5), ""]
        lines.append("  " + " " * 22 + "".join(f"{name:>12}" for name in self.channels))
        rows = self._rows()
        lines += [f"  {name:<22}" + "".join(f"{value:>12.6f}" for value in values) for name, values, _ in rows]
        lines.append("")
        lines += [line for name, _, text in rows if text for line in _wrapped(f"  {name}: {text}", 4)]
        lines.append("")
        notes = [*self.notes, *([] if math.isnan(self.shift) else [f"shift {self.shift:.3g}: {level(self.shift)}"])]
        lines += [line for note in notes for line in _wrapped(f"  - {note}", 4)]
        lines.append("")
        lines += [line for use, text in self.verdict.items() for line in _wrapped(f"  {use}: {text}", 4)]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, Values, str]]:
        """Return name, values and explanation of the rows that there are."""
        mean_is, std_is = self.alike
        rows = [
            ("mean of a", self.mean, ""),
            ("mean of b", self.other_mean, ""),
            ("difference", self.mean - self.other_mean, ""),
            ("std of a", self.std, "of all pixels pooled"),
            ("std of b", self.other_std, ""),
            ("difference", self.std - self.other_std, ""),
            ("seen mean", self.seen_mean, "what the network sees of a after Normalize with the numbers of b"),
            ("seen std", self.seen_std, ""),
            ("shift of mean", self.mean_shift, f"difference in stds of b, compared as {mean_is}"),
            ("shift of std", self.std_shift, f"std of a / std of b - 1, compared as {std_is}"),
            ("standard errors, mean", self.z_mean, "by which the images' average mean differs"),
            ("standard errors, std", self.z_std, "by which the images' average std differs"),
            ("Wasserstein-1", self.wasserstein, "distance of the histograms, on [0, 1]"),
            ("Jensen-Shannon", self.jensen_shannon, "divergence of the histograms, in bits"),
        ]
        return [(name, values, text) for name, values, text in rows if values is not None]


def comparison(a: Side, b: Side) -> Comparison:
    """Compare two sides.

    Raises
    ------
    DataError
        Where they cannot be compared, or nothing can be divided by the std of `b`.
    """
    notes = list(sides(a, b))
    mean, std, other_mean, other_std = (side.number(name) for side in (a, b) for name in ("mean", "std"))
    if not (other_std > 0).all():
        channel = b.channels[int(np.argmin(other_std > 0))]
        raise DataError(f"{b.name}: channel {channel} is constant (std 0), so Normalize cannot divide by it")
    alike, (mean_shift, std_shift), said = _shifts(a, b)
    sampling = distances.sampling(a, b)
    wasserstein, jensen_shannon, missing = distances.of_histograms(a, b)
    return Comparison(
        a.name,
        b.name,
        a.channels,
        mean,
        std,
        other_mean,
        other_std,
        (mean - other_mean) / other_std,
        std / other_std,
        alike,
        mean_shift,
        std_shift,
        sampling.z_mean,
        sampling.z_std,
        sampling.differs,
        wasserstein,
        jensen_shannon,
        (*notes, *said, *sampling.notes, *missing),
    )


def _shifts(a: Side, b: Side) -> tuple[tuple[str, str], tuple[Values, Values], list[str]]:
    """Return the definition that both sides share, the shifts under it, and what to say about it."""
    unknown = np.full(len(a.channels), math.nan)
    for side in (a, b):
        if side.preset is not None and not side.preset.statistics:
            text = f"{side.name} is {side.preset.says}: how far images are from it says nothing"
            return ("mean", "std"), (unknown, unknown), [text]
    defined = [(s.preset.mean_is, s.preset.std_is) for s in (a, b) if s.preset is not None]
    mean_is, std_is = ((x or y) for x, y in zip(defined[0] if defined else ("", ""), ("mean", "std"), strict=True))
    said = _of_definitions(a, b, mean_is, std_is)
    mean, other_mean = (s.number("mean" if s.measured is None else mean_is) for s in (a, b))
    std, other_std = (s.number("std" if s.measured is None else std_is) for s in (a, b))
    if any(s.preset is not None and set(s.preset.std) == {1.0} for s in (a, b)):
        own = std if a.preset is None else other_std
        said.append("only the mean is compared, in stds of the images: nothing is divided by a std there")
        return (mean_is, std_is), ((mean - other_mean) / own, np.zeros(len(mean))), said
    return (mean_is, std_is), ((mean - other_mean) / other_std, std / other_std - 1), said


def _of_definitions(a: Side, b: Side, mean_is: str, std_is: str) -> list[str]:
    """Return what to say where two definitions meet."""
    known = [side.preset for side in (a, b) if side.preset is not None]
    if len(known) == 2 and known[0].std_is != known[1].std_is:
        return [f"{known[0].name} and {known[1].name} are of two definitions of std, so their shift says little"]
    said = []
    for found in known:
        if not found.std_is:
            said.append(f"how the numbers of {found.name} are defined is not known; they are compared with pooled ones")
        elif std_is != "std":
            said.append(
                f"two definitions: the std of {found.name} is not that of all pixels pooled; {std_is} is the number of "
                f"a result that matches it, and the shift compares that ({found.name} is {found.says})"
            )
    return said


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent)
