"""What is measured: made from the options before a run, and part of its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gpustats.errors import DataError

__all__ = ["MODES", "RGB", "UNNAMED", "Definition", "channel_names", "color_order"]

RGB = "RGB"
"""The colour order that decoders give."""

_LATER = {"mode", "nodata"}
"""Fields that results of earlier versions do not have."""

MODES = ("RGB", "L", "native")
"""What encoded images are measured as."""

UNNAMED = "unnamed"
"""The colour order of arrays whose channels have no letter."""


def color_order(channels: int) -> str:
    """Return the colour order of images of so many channels: what a decoder gives, or the custom for arrays."""
    return {0: "RGB", 1: "L", 3: "RGB"}.get(channels, UNNAMED)


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
    mode : str
        What encoded images were measured as: ``"RGB"`` and ``"L"`` are Pillow's 8-bit conversions, ``"native"`` the
        channels and the depth that are stored.
    nodata : tuple of float
        Values that were left out: one number for every channel, or one a channel for a whole pixel; empty for none.
    statistics : tuple of str
        What is computed. Results that differ in nothing else can be added: they keep what both have.
    """

    color_order: str = RGB
    transform: str = "none"
    exif_transpose: bool = False
    frame: int = 0
    mode: str = "RGB"
    nodata: tuple[float, ...] = ()
    statistics: tuple[str, ...] = field(default=("moments",), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for JSON."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, data: Any) -> Definition:
        """Read what `to_dict` wrote; what an older version did not know has its default.

        Raises
        ------
        DataError
            For anything else.
        """
        expected = cls().to_dict()
        if (
            not isinstance(data, dict)
            or not expected.keys() - _LATER <= data.keys() <= expected.keys()
            or any(type(value) is not type(expected[name]) for name, value in data.items())
            or not all(isinstance(name, str) for name in data.get("statistics", ()))
            or data.get("mode", "RGB") not in MODES
            or not all(type(value) is float for value in data.get("nodata", ()))
        ):
            raise DataError(f"'definition' should hold {', '.join(expected)}, got {data!r:.200}")
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        return cls(**fields)
