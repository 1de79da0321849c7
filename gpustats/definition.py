"""What is measured: made from the options before a run, and part of its result."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from gpustats.errors import DataError

__all__ = ["ALPHA", "KINDS", "MODES", "PAGES", "RGB", "UNNAMED", "Definition", "channel_names", "color_order"]

RGB = "RGB"
"""The colour order that decoders give."""

_RARE = {"pages", "value_range", "nodata_tag", "alpha", "mask", "histogram_range", "bins"}
"""Fields that are not written where they have their default."""

_LATER = {"mode", "nodata", *_RARE}
"""Fields that a result need not have: those of earlier versions do not."""

MODES = ("RGB", "L", "RGBA", "native")
"""What encoded images are measured as."""

PAGES = ("first", "all")
"""Which pages of a file of several are images."""

ALPHA = ("drop", "mask")
"""What is done with the alpha of encoded images."""

KINDS = ("one", "separate")
"""Whether all images must be of one kind, or each kind has a result of its own. It changes no number, so it is no field
of `Definition`."""

UNNAMED = "unnamed"
"""The colour order of arrays whose channels have no letter."""


def color_order(channels: int, mode: str = RGB) -> str:
    """Return the colour order of images of so many channels: what a decoder gives, or the custom for arrays."""
    return {0: "RGB", 1: "L", 3: "RGB", len(mode): mode}.get(channels, UNNAMED)


def channel_names(channels: int, order: str) -> tuple[str, ...]:
    """Return the names of channels: the letters of their order, "0", "1", ... where it is unnamed."""
    return tuple(map(str, range(channels))) if order == UNNAMED else tuple(order)


@dataclass(frozen=True, slots=True)
class Definition:
    """What the numbers of a result are numbers of. Results with different definitions cannot be added.

    Attributes
    ----------
    color_order : str
        The order of the channels: ``"RGB"``, ``"L"`` for one channel, ``"unnamed"`` for arrays of another number, or
        what the user gave for arrays, such as ``"BGR"``.
    transform : str
        What was done to an image between decoding and measuring.
    exif_transpose : bool
        Whether images were turned as their EXIF orientation says.
    frame : int
        The frame of an animation that counts.
    pages : str
        Which pages of a file count: ``"first"``, or ``"all"``, each as an image.
    mode : str
        What encoded images were measured as: ``"RGB"``, ``"L"`` and ``"RGBA"`` are Pillow's 8-bit conversions,
        ``"native"`` the channels and the depth that are stored.
    value_range : float
        What the user said to be 1.0, 0 where nothing. It is part of the kind of the images, by which results are kept
        apart.
    nodata : tuple of float
        Values that were left out: one number for every channel, or one a channel for a whole pixel; empty for none.
    nodata_tag : bool
        Whether values were left out that a TIFF file itself says to stand for no data.
    alpha : str
        What was done with the alpha of encoded images: ``"drop"``, or ``"mask"``, which leaves transparent pixels out.
    mask : str
        Where masks came from that leave pixels out: ``"none"``, ``"folder"`` or ``"function"``.
    histogram_range : tuple of float
        The ends of the range in which values of float images are counted; empty where they are not.
    bins : int
        How many bins the range is divided into. Histograms with other bins cannot be added, which they say themselves.
    statistics : tuple of str
        What is computed. Results that differ in nothing else can be added: they keep what both have.
    """

    color_order: str = RGB
    transform: str = "none"
    exif_transpose: bool = False
    frame: int = 0
    pages: str = "first"
    mode: str = "RGB"
    value_range: float = field(default=0.0, compare=False)
    nodata: tuple[float, ...] = ()
    nodata_tag: bool = False
    alpha: str = "drop"
    mask: str = "none"
    histogram_range: tuple[float, ...] = field(default=(), compare=False)
    bins: int = field(default=0, compare=False)
    statistics: tuple[str, ...] = field(default=("moments",), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for JSON; what hardly anybody asks for is in it where somebody did."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        usual = {field.name for field in fields(self) if field.name in _RARE and values[field.name] == field.default}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items() if n not in usual}

    @classmethod
    def from_dict(cls, data: Any) -> Definition:
        """Read what `to_dict` wrote; what an older version did not know has its default.

        Raises
        ------
        DataError
            For anything else.
        """
        expected = cls().to_dict()
        default = cls()
        rare = {name: getattr(default, name) for name in _RARE}
        known = expected | {name: list(v) if isinstance(v, tuple) else v for name, v in rare.items()}
        if (
            not isinstance(data, dict)
            or not expected.keys() - _LATER <= data.keys() <= known.keys()
            or any(type(value) is not type(known[name]) for name, value in data.items())
            or not all(isinstance(name, str) for name in data.get("statistics", ()))
            or len(data.get("histogram_range", ())) not in (0, 2)
            or data.get("mode", "RGB") not in MODES
            or not all(type(value) is float for name in ("nodata", "histogram_range") for value in data.get(name, ()))
            or not 0 <= data.get("value_range", 0.0) < math.inf
            or data.get("pages", "first") not in PAGES
            or data.get("alpha", "drop") not in ALPHA
            or data.get("mask", "none") not in ("none", "folder", "function")
        ):
            raise DataError(f"'definition' should hold {', '.join(expected)}, got {data!r:.200}")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        return cls(**values)
