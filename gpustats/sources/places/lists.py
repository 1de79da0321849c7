"""Images and containers named one by one: a file, a list, a text file of paths."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable, Iterator, Sequence

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.errors import DataError
from gpustats.failures import Failure
from gpustats.sources.base import Entry, Part, Source, takes_of_parts, within
from gpustats.sources.files.file import LOCAL_SCHEMES, File, key_of, public_url
from gpustats.sources.files.root import Root
from gpustats.sources.items import Item
from gpustats.sources.kinds import suffix
from gpustats.sources.options import SourceOptions
from gpustats.sources.places.patterns import has_braces

__all__ = ["FileSource", "ListSource", "TextListSource"]


class FileSource(Source):
    """One image file; its key is its name."""

    names_once = True

    def __init__(self, path: str, key: str = "", item: Item | None = None) -> None:
        super().__init__(path)
        self._item: Item = path if item is None else item
        self._key = key or os.path.basename(path)

    def parts(self) -> Iterator[Entry]:
        """Yield the one sample."""
        yield self._key, "", self._item

    def count(self) -> int:
        """Return 1."""
        return 1


class ListSource(Source):
    """A Python list: paths of images, and anything else that `open_source` takes.

    The key of an image is its path as it was given, with forward slashes; keys from a folder or a container begin with
    its path, those of an object with its place in the list.

    Parameters
    ----------
    entries : sequence
        Not empty.
    part : callable
        Returns the part for an entry that is no image file, and its key.
    given : frozenset of str
        The options that the user set: those have a use that have one for any entry.
    remote : callable, optional
        Returns the item for the URL of an image, or raises `DataError`; then URLs of images need no part.
    """

    def __init__(
        self,
        entries: Sequence[object],
        part: Callable[[object, str], Part],
        given: frozenset[str] = frozenset(),
        remote: Callable[[str], Item] | None = None,
    ) -> None:
        super().__init__(f"a list of {len(entries):,}")
        self._entries = entries
        self._part = part
        self._remote = remote
        others = ((n, entry) for n, entry in enumerate(entries) if _image_path(entry) is None)
        found = takes_of_parts((self._entry(*other) for other in others), given - {"repeats"})
        self.takes = found | {"repeats"}
        self.again = not any(hasattr(type(entry), "__next__") for entry in entries)

    def parts(self) -> Iterator[Entry]:
        """Yield the entries in the order of the list."""
        for position, entry in enumerate(self._entries):
            path = _image_path(entry)
            if path is not None:
                yield path.replace(os.sep, "/"), "", path
            elif self._remote is not None and _is_image_url(entry):
                key = key_of(str(entry))
                try:
                    yield key, "", self._remote(str(entry))
                except DataError as error:
                    yield Failure(key, "unreadable", str(error))
            elif isinstance(entry, str | os.PathLike):
                yield self._entry(position, entry)
            else:  # objects of the user's may not be made for several threads at once
                yield from within(self._entry(position, entry), self.notes)

    def _entry(self, position: int, entry: object) -> Part:
        named = isinstance(entry, str | os.PathLike)
        key = key_of(os.fsdecode(entry)).rstrip("/") if named else str(position)  # type: ignore[arg-type]
        return self._part(entry, key)

    def count(self) -> int | None:
        """Return the length of the list where every entry is an image."""
        return len(self._entries) if all(_image_path(entry) is not None for entry in self._entries) else None


def _image_path(entry: object) -> str | None:
    if isinstance(entry, str | os.PathLike):
        path = os.fsdecode(entry)
        if suffix(os.path.basename(path)) in IMAGE_SUFFIXES and not glob.has_magic(path) and "://" not in path:
            return path
    return None


def _is_image_url(entry: object) -> bool:
    if not isinstance(entry, str) or "://" not in entry or "::" in entry or has_braces(entry):
        return False
    return suffix(os.path.basename(public_url(entry))) in IMAGE_SUFFIXES and not entry.startswith(LOCAL_SCHEMES)


class TextListSource(Source):
    """A text file with the path of one image a line; blank lines and lines that start with ``#`` do not count.

    Relative paths are relative to the folder of the text file, or to ``root=``. The key is the line.

    In ``ImageSets/Main/train.txt`` of Pascal VOC a line is the name of a file in ``JPEGImages``, and in the lists of
    classes (``cat_train.txt``) a flag follows, which is the group.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file.label)
        self._file = file
        self._prefix = key + "/" if key else ""
        self._options = options

    def parts(self) -> Iterator[Entry]:
        """Yield the images line by line."""
        root = Root(self._file, self._options)
        images = self._images_of_voc()
        for line in self._lines():
            group = ""
            if images is not None:
                line, _, group = line.strip().partition(" ")
            key = self._prefix + key_of(line)
            item = root.item(line, key) if images is None else root.item(line, key, (images,))
            if isinstance(item, Failure):
                yield item
            else:
                yield key, group.strip(), item

    def _images_of_voc(self) -> str | None:
        """Return the folder of the images, from that of the list, where this is a list of Pascal VOC."""
        if self._options.root is not None or self._file.path is None:
            return None
        folder = os.path.dirname(os.path.abspath(self._file.path))
        images = os.path.join("..", "..", "JPEGImages")
        found = os.path.basename(os.path.dirname(folder)) == "ImageSets" and os.path.isdir(os.path.join(folder, images))
        return images if found else None

    def count(self) -> int | None:
        """Count the lines."""
        return sum(1 for _ in self._lines()) if self._file.path is not None else None

    def _lines(self) -> Iterator[str]:
        file = self._file.open()
        with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
            for raw in lines:
                line = raw.rstrip("\r\n")
                if line.strip() and not line.startswith("#"):
                    yield line
