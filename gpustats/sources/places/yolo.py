"""The data file of a YOLO dataset: YAML that names folders or lists of images for each split.

https://docs.ultralytics.com/datasets/detect/#ultralytics-yolo-format
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Entry, Source, inside
from gpustats.sources.choice import choose_one, listed
from gpustats.sources.files.file import File, LocalFile
from gpustats.sources.options import SourceOptions
from gpustats.sources.places.folder import FolderSource
from gpustats.sources.places.lists import TextListSource
from gpustats.wording import option

__all__ = ["YoloSource", "top_level"]

_SPLITS = ("train", "val", "test")
_KEY = re.compile(r"([A-Za-z_]\w*)\s*:(?:\s+(.*))?$")
_ENTRY = re.compile(r"\s*-\s+(.*)$")
_MOST = 1 << 20  # bytes of such a file


class YoloSource(Source):
    """The images of one split: a folder, a text file with one path a line, or several of these.

    Where there are several splits, ``column=`` says which: ``"train"``, or ``"*"`` for all. A split is relative to
    ``path`` of the file, which is relative to the file's folder; or to ``root=``.

    Parameters
    ----------
    file : File
        On this machine.
    key : str
        What failures are called.
    options : SourceOptions
        `column` and `root` count.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file.label)
        if file.path is None:
            raise DataError(f"{file.label}: a YOLO data file is read from this machine only")
        self._path = file.path
        self._key = key
        self._options = options

    def parts(self) -> Iterator[Entry]:
        """Yield the images of the splits in order."""
        try:
            with open(self._path, "rb") as file:
                data = top_level(file.read(_MOST).decode("utf-8-sig", "surrogateescape"))
            for split, places in self._chosen(data):
                for place in places:
                    for entry in self._images(place, self._bases(data)):
                        if isinstance(entry, tuple):
                            self.notes.choose("split", split)
                        yield entry
        except ImageError as error:
            yield Failure(self._key, error.reason, str(error))

    def _chosen(self, data: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
        splits = {name: data[name] for name in _SPLITS if data.get(name)}
        shown = {name: f"({', '.join(places)})" for name, places in splits.items()}
        self.notes.offer(shown)
        column = self._options.column
        if not splits:
            raise ImageError("unsupported", "YAML is read as YOLO's data file, with 'train', 'val' or 'test'")
        if column == "*":
            return list(splits.items())
        if column is not None and column not in splits:
            raise ImageError("unsupported", f"there is no split '{column}'; there are: {listed(shown)}")
        if column is None and len({tuple(places) for places in splits.values()}) == 1:
            column = next(iter(splits))
        how = f"{option('column')}, or read all with {option('column', '*')}"
        chosen = column or choose_one(shown, what="splits", choose_with=how)
        return [(name, places) for name, places in splits.items() if name == chosen]

    def _bases(self, data: dict[str, list[str]]) -> list[str]:
        if self._options.root is not None:
            return [self._options.root]
        folder = os.path.dirname(self._path)
        named = (data.get("path") or [""])[0]
        return [os.path.join(folder, named), named, folder] if named else [folder]

    def _images(self, place: str, bases: list[str]) -> Iterator[Entry]:
        """Yield what a split names, from the first of the folders that has it."""
        # Roboflow writes "../train/images" and means "train/images".
        names = [place, place[3:]] if place.startswith("../") else [place]
        found = [path for base in bases for name in names if os.path.exists(path := os.path.join(base, name))]
        if not found:
            yield Failure(f"{self._key}: {place}", "missing", "no such file or folder")
            return
        key = place.removeprefix("./").rstrip("/")
        if os.path.isdir(found[0]):
            source: Source = FolderSource(found[0], f"{key}/", group_prefix="")
        else:
            source = TextListSource(LocalFile(found[0]), "", self._options)
        yield from inside(source, key, self.notes)


def top_level(text: str) -> dict[str, list[str]]:
    """Return the texts, and lists of texts, of the top level of a YAML file. What is deeper is passed over.

    >>> top_level("path: ../coco8\\ntrain: images/train # 4 images\\nval: [a, 'b c']\\nnames:\\n  0: person\\n")
    {'path': ['../coco8'], 'train': ['images/train'], 'val': ['a', 'b c'], 'names': []}
    """
    found: dict[str, list[str]] = {}
    values: list[str] = []
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).rstrip()
        key, entry = _KEY.match(line), _ENTRY.match(line)
        if key:
            value = (key[2] or "").strip()
            values = found[key[1]] = []
            if value.startswith("[") and value.endswith("]"):
                values += [_plain(part) for part in value[1:-1].split(",") if part.strip()]
            elif value and value not in ("null", "~"):
                values.append(_plain(value))
        elif entry and not entry[1].endswith(":"):
            values.append(_plain(entry[1]))
    for name in (*_SPLITS, "path"):
        for value in found.get(name, []):
            if value[:1] in ("[", "{", "|", ">", "&", "*", "!"):
                raise ImageError("unsupported", f"the YAML of '{name}' is of a form that is not read: {value}")
    return found


def _plain(value: str) -> str:
    value = value.strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
