"""Samples of an archive: members with one name and several extensions, and which of them is the image.

As in WebDataset, the extension of a member is what follows the first dot of its name: ``a/x.seg.png`` is the member
``seg.png`` of the sample ``a/x``. Parts that begin with no letter belong to the name: ``IMG.2020.jpg`` and
``IMG.2021.jpg`` are two images with the extension ``jpg``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Set
from functools import lru_cache

from gpustats.failures import ImageError, printable

__all__ = ["Extensions", "parted"]

_LISTED = 20
_WORD = re.compile(r"[^\W\d][\w-]*")


def parted(name: str) -> tuple[str, str, str]:
    """Return the name of a member's sample, what follows its first dot, and its extension; both in lower case.

    >>> parted("a.b/x.seg.PNG"), parted("IMG.2020.jpg")
    (('a.b/x', 'seg.png', 'seg.png'), ('IMG', '2020.jpg', 'jpg'))
    """
    folder, slash, base = name.rpartition("/")
    stem, _, field = base.partition(".")
    field = field.lower()
    return folder + slash + stem, field, _extension(field)


@lru_cache(1024)
def _extension(field: str) -> str:
    parts = field.split(".")
    first = len(parts) - 1
    while first and _WORD.fullmatch(parts[first - 1]):
        first -= 1
    return ".".join(parts[first:])


class Extensions:
    """Which images of an archive count.

    Without ``column=`` all do, unless samples have images of several kinds: two samples with the same two extensions
    (``jpg`` and ``png``, ``left.jpg`` and ``right.jpg``), or images of different formats in the only sample there is. A
    single pair among other images is taken for two images, as in a folder.

    Parameters
    ----------
    column : str, optional
        The extensions to read, separated by semicolons; ``*`` for all.
    """

    def __init__(self, column: str | None) -> None:
        self.chosen = frozenset(column.lower().split(";")) if column and column != "*" else None
        self._checked = column is None
        self._together: set[str] = set()  # extensions of samples that have several
        self._samples = 0
        self._last: tuple[str, Set[str]] = "", frozenset()  # that has several
        self._others: set[str] = set()
        self._found = False

    def take(self, field: str, extension: str, is_image: bool) -> bool:
        """Say whether a member is to be read."""
        if self.chosen is None:
            return is_image
        if field in self.chosen or extension in self.chosen:
            self._found = True
            return True
        if len(self._others) < _LISTED:
            self._others.add(extension or field)
        return False

    def check(self, images: Iterable[tuple[str, str]]) -> bool:
        """Look at images, given by name and extension; return whether later ones may show that these differ in kind.

        All images whose names differ in nothing but the extension are given together.

        Raises
        ------
        ImageError
            Where only the user can say which of them are the images.
        """
        if not self._checked:
            return False
        found: defaultdict[str, set[str]] = defaultdict(set)
        for name, extension in images:
            found[name[: -len(extension) - 1]].add(extension)
        self._samples += len(found)
        several = False
        for sample, extensions in found.items():
            if len(extensions) > 1:
                several = True
                self._last = sample, extensions
                if len(extensions & self._together) > 1:
                    raise self._error()
                self._together |= extensions
        return several

    def settle(self) -> None:
        """Raise `ImageError` where the only sample has images of different formats; after all were looked at."""
        if self._samples == 1 and len({extension.rpartition(".")[2] for extension in self._last[1]}) > 1:
            raise self._error()

    def _error(self) -> ImageError:
        sample, extensions = self._last
        listed = ", ".join(printable(extension) for extension in sorted(extensions)[:_LISTED])
        shortest = printable(min(extensions, key=lambda text: (len(text), text)))
        return ImageError(
            "unsupported",
            f"samples hold several images, such as '{printable(sample)}' with {listed}; choose with column= "
            f"(column='{shortest}'), or read all with column='*'",
        )

    def finish(self) -> None:
        """Raise `ImageError` where there are members, but none with an extension that was asked for."""
        if self.chosen is not None and not self._found and self._others:
            wanted = "', '".join(map(printable, sorted(self.chosen)))
            listed = ", ".join(map(printable, sorted(self._others)))
            raise ImageError("unsupported", f"no member has the extension '{wanted}'; there are: {listed}")
