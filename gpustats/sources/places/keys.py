"""Images named by keys: what stands before and behind the key is given once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpustats.failures import Failure
from gpustats.sources.base import Sample, Source
from gpustats.sources.files.file import LocalFile, key_of
from gpustats.sources.files.root import Root
from gpustats.sources.options import SourceOptions

__all__ = ["KeysSource"]


class KeysSource(Source):
    """Files below ``root=``, named with or without their ending. The key of an image is as it was given.

    Parameters
    ----------
    names : sequence of str
        Relative paths.
    options : SourceOptions
        `root` and `suffixes` count.
    """

    def __init__(self, names: Sequence[str], options: SourceOptions) -> None:
        takes = frozenset({"root", "suffixes", "repeats", "storage_options"})
        super().__init__(f"a list of {len(names):,}", takes)
        self._names = names
        self._options = options

    def parts(self) -> Iterator[Sample | Failure]:
        """Yield the images in the order of the list."""
        root = Root(LocalFile(""), self._options)
        for name in self._names:
            key = key_of(name)
            item = root.item(name, key)
            yield item if isinstance(item, Failure) else (key, "", item)

    def count(self) -> int:
        """Return the length of the list."""
        return len(self._names)
