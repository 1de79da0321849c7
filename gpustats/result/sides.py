"""The two sides of a comparison: a result or a preset, on one scale and in one order of channels."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.result.normalization import Measured, normalization_notes
from gpustats.result.presets import Preset, preset, presets
from gpustats.wording import named

__all__ = ["Side", "side_of", "sides"]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes
    ----------
    name : str
        What it is called in texts.
    measured : Measured or None
        The result, where it is one.
    preset : Preset or None
        The preset, where it is one.
    channels : tuple of str
        Their names, in the order of `number`: RGB where they are colours.
    notes : tuple of str
        What was converted, and what a reader must know.
    """

    name: str
    measured: Measured | None
    preset: Preset | None
    channels: tuple[str, ...]
    notes: tuple[str, ...]

    def number(self, name: str) -> NDArray[np.float64]:
        """Return a number with a value a channel, shape (C,), on [0, 1]; of a kind without a scale, values as they are.

        A preset has ``mean`` and ``std`` only.
        """
        if self.measured is not None:
            values = np.asarray(self.measured.scaled(1).number(name), np.float64)
            return values[::-1] if self.measured.definition.color_order == "BGR" else values
        assert self.preset is not None
        values = np.array({"mean": self.preset.mean, "std": self.preset.std}[name]) / self.preset.scale
        return values[::-1] if self.preset.order == "BGR" else values

    @property
    def as_is(self) -> bool:
        """Whether values are taken as they are, so that their scale is not known."""
        return self.measured is not None and self.measured.totals.kind is not None and self.measured.totals.kind.as_is


def side_of(given: Any, load: Callable[[str], Any], name: str) -> Side:
    """Return a side from what a user gives.

    Parameters
    ----------
    given : Stats, str or path-like
        A result, a file with a result, or the name of a preset. Where a file is called like a preset, the preset is
        meant; ``./imagenet`` is the file.
    load : callable
        Reads a result from a path.
    name : str
        What a result is called that has no file.

    Raises
    ------
    DataError
        For an empty result, an unknown name, and anything else.
    """
    if isinstance(given, Preset):
        return _of_preset(given)
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        is_file = os.path.exists(path) or os.path.basename(path) != path or path.endswith(".json")
        if path in presets or not is_file:
            return _of_preset(preset(path))
        if os.path.isdir(path):
            raise DataError(f"{printable(path)} is a folder; compute it, save the result, and compare that")
        return _of_result(load(path), printable(path))
    if hasattr(given, "totals"):
        return _of_result(given, name)
    raise DataError(
        f"a comparison is between results, files of results and presets, not {type(given).__name__}; presets are "
        f"{', '.join(presets)}"
    )


def _of_preset(found: Preset) -> Side:
    notes = []
    if found.scale != 1:
        notes.append(f"the numbers of {found.name} are on [0, {found.scale}]; they are shown on [0, 1] here")
    if found.order == "BGR":
        notes.append(f"the numbers of {found.name} are in the order BGR; they are shown as R, G, B here")
    return Side(found.name, None, found, ("L",) if found.order == "L" else tuple("RGB"), tuple(notes))


def _of_result(stats: Measured, name: str) -> Side:
    kind = stats.totals.kind
    if kind is None:
        raise DataError(f"{name} holds no images, so there is nothing to compare")
    channels = stats.channels
    notes = [f"{name}: {note}" for note in normalization_notes(stats)]
    if stats.definition.color_order == "BGR":
        channels = channels[::-1]
        notes.append(f"{name} is in the order BGR; it is shown as R, G, B here")
    if kind.max_value not in (0, 255):
        notes.append(f"{name} is of images with {kind}; values are divided by {kind.max_value:,.15g}")
    return Side(name, stats, None, channels, tuple(notes))


def sides(a: Side, b: Side) -> tuple[str, ...]:
    """Return what has to be said about two sides together.

    Raises
    ------
    DataError
        Where they cannot be compared: other channels, or values taken as they are that are not on [0, 1].
    """
    if a.channels != b.channels:
        raise DataError(
            f"{a.name} has {_counted(a)}, {b.name} has {_counted(b)}: these cannot be compared channel by channel; "
            "files are read as RGB, arrays keep the channels they have"
        )
    notes = [*a.notes, *b.notes]
    for one, other in ((a, b), (b, a)):
        if one.as_is and not other.as_is:
            assert one.measured is not None
            assert one.measured.totals.kind is not None
            what = "float" if one.measured.totals.kind.is_float else "integer"
            top = float(max(abs(one.number("max").max()), abs(one.number("min").min())))
            if top > 1:
                raise DataError(
                    f"{one.name} is of {what} values that reach {top:g}, {other.name} is on [0, 1]: measure values "
                    f"that are divided to [0, 1], or say with {named('value_range')} what 1.0 is"
                )
            notes.append(f"{one.name} is of {what} values, taken as they are; {other.name} is on [0, 1]")
    return tuple(notes)


def _counted(side: Side) -> str:
    return f"{len(side.channels)} channel{'s' * (len(side.channels) != 1)} ({', '.join(side.channels)})"
