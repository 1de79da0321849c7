"""What a source says about itself: what it passed over, and what it chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from gpustats.errors import DataError
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
    kinds : Counter
        How many containers there were, by their name in `gpustats.sources.kinds.KINDS`.
    there : dict
        What there was to choose from, of the first container: name and type or shape.
    group_from : str or None
        The column or the like that names the group, of the first container.
    remarks : list of str
        Where what was read is not each image of the data once: a sampler, for example.
    stopped : DataError or None
        Why the source ended before its end; its ``__cause__`` is what the user's object raised.
    """

    skipped: Counter[str] = field(default_factory=Counter)
    images_from: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    there: dict[str, str] = field(default_factory=dict)
    group_from: str | None = None
    remarks: list[str] = field(default_factory=list)
    stopped: DataError | None = None
    _last: str | None = None

    def offer(self, candidates: Mapping[str, object], group_from: str | None = None) -> None:
        """Note what there is to choose from, and what names the group. The first hundred names are kept."""
        if not self.there:
            self.there = {printable(name)[:100]: str(kind) for name, kind in islice(candidates.items(), _NAMES_KEPT)}
            self.group_from = group_from

    def choose(self, what: str, name: str, images: int = 1) -> None:
        """Note that images were found in a column, an array or the like. The first hundred names are kept."""
        place = f"{what} '{printable(name)[:100]}'"
        if place not in self.images_from and len(self.images_from) >= _NAMES_KEPT:
            place = f"another {what}"
        self.images_from[place] += images
        self._last = place

    def take_back(self) -> None:
        """Take back the image that was noted last: it is passed over."""
        if self._last is not None:
            self.images_from[self._last] -= 1

    def add(self, other: Notes) -> None:
        """Add what another source says."""
        self.skipped.update(other.skipped)
        self.images_from.update(other.images_from)
        self.kinds.update(other.kinds)
        self.remarks += other.remarks
        self.stopped = self.stopped or other.stopped
        self.offer(other.there, other.group_from)

    def clear(self) -> None:
        """Forget everything: the source is read again."""
        for counts in (self.skipped, self.images_from, self.kinds):
            counts.clear()
        self.remarks.clear()
        self.there, self.group_from, self.stopped, self._last = {}, None, None, None
