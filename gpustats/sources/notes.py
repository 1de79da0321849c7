"""What a source says about itself: what it passed over, and what it chose."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gpustats.failures import printable

__all__ = ["Notes"]

_NAMES_KEPT = 100


@dataclass(slots=True)
class Notes:
    """What a source says about itself after it was read.

    Attributes
    ----------
    skipped : Counter
        What was passed over, by kind.
    images_from : Counter
        How many images were found where the source had to choose: ``{"column 'image'": 1000}``.
    """

    skipped: Counter[str] = field(default_factory=Counter)
    images_from: Counter[str] = field(default_factory=Counter)

    def choose(self, what: str, name: str, images: int = 1) -> None:
        """Note that images were found in a column, an array or the like. The first hundred names are kept."""
        place = f"{what} '{printable(name)[:100]}'"
        if place not in self.images_from and len(self.images_from) >= _NAMES_KEPT:
            place = f"another {what}"
        self.images_from[place] += images

    def add(self, other: Notes) -> None:
        """Add what another source says."""
        self.skipped.update(other.skipped)
        self.images_from.update(other.images_from)

    def clear(self) -> None:
        """Forget everything: the source is read again."""
        self.skipped.clear()
        self.images_from.clear()
