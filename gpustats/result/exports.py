"""Mean and std as a library wants them: the text to paste, and the object where the library is installed."""

from __future__ import annotations

import difflib
import textwrap
from typing import Any

from gpustats.errors import DataError
from gpustats.result import builders
from gpustats.result.export_table import EXPORTS, Export
from gpustats.result.normalization import Measured, Normalization, normalization
from gpustats.result.value_range import range_hint
from gpustats.statistics.base import Kind

__all__ = ["DIGITS", "build", "named", "text"]

DIGITS = 9
"""Significant digits in texts: what tells every float32 from the next (IEEE 754-2019, 5.12.2)."""


def named(name: str) -> Export:
    """Return an export.

    Raises
    ------
    DataError
        For a name that is not known; the nearest is suggested.
    """
    if name in EXPORTS:
        return EXPORTS[name]
    near = difflib.get_close_matches(name.lower(), EXPORTS, 1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise DataError(f"there is no export {name!r:.80}.{guess} There are: {', '.join(EXPORTS)}")


def text(name: str, stats: Measured, *, scale: float | None = None, bgr: bool = False) -> str:
    """Return the text to paste; the parameters are those of `gpustats.Stats.export`."""
    export = named(name)
    numbers = _numbers(name, export, stats, scale, bgr)
    values = builders.values(numbers, DIGITS)
    if export.is_json:
        if numbers.notes:
            raise DataError(f"{'; '.join(numbers.notes)}: the text for {name} is JSON, which has no place to say so")
        return export.template.format(**values)
    about = [f"{numbers.says}; mean and std of all pixels of {numbers.images:,} image{'s' * (numbers.images != 1)}"]
    if export.says:
        about.append(export.says.format(**values))
    hint = range_hint(numbers.kind, stats.scaled(1).number)
    if hint:
        about.append(hint)
    lines = [line for remark in (*about, *numbers.notes) for line in textwrap.wrap(remark, 100)]
    return "".join(f"# {line}\n" for line in lines) + export.template.format(**values)


def build(name: str, stats: Measured, *, scale: float | None = None, bgr: bool = False) -> Any:
    """Return the object of the library; the parameters are those of `gpustats.Stats.to`."""
    export = named(name)
    values = builders.values(_numbers(name, export, stats, scale, bgr), None)
    try:
        return export.build(values)
    except ImportError as error:
        raise DataError(
            f"{export.what} cannot be built here: {error}; install the library, or take the text: export({name!r})"
        ) from error


def _numbers(name: str, export: Export, stats: Measured, scale: float | None, bgr: bool) -> Normalization:
    """Return what an export shows of a result; an error where the library cannot take it."""
    kind = stats.totals.kind
    if kind is not None and export.channels and kind.channels not in export.channels:
        wanted = " or ".join(str(count) for count in export.channels)
        raise DataError(f"{name} takes images of {wanted} channels, this result is of images with {kind}")
    if kind is not None and export.eight_bits and Kind(kind.channels, "uint8") != kind:
        raise DataError(f"{name} takes images of 8 bits, this result is of images with {kind}")
    usual = (kind.max_value or 1) if kind is not None and export.scale == "pixel" else 1
    if export.fixed and ((scale or usual) != usual or (bgr and export.order != "BGR")):
        raise DataError(
            f"{name} is for {export.order} images with values on [0, {usual}], by what the library does itself; "
            "another scale or order of colours would be wrong there"
        )
    scale = usual if scale is None else scale
    numbers = normalization(stats, scale)
    wanted = "BGR" if bgr else export.order
    if bgr or len(numbers.mean) == 3:
        return numbers.ordered(wanted)
    return numbers
