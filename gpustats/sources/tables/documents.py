"""Documents of annotations that name images: JSON of COCO, LVIS and LabelMe, XML of Pascal VOC and CVAT."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from xml.parsers import expat

from gpustats.failures import ImageError

__all__ = ["BESIDE_XML", "EMBEDDED", "Row", "beside_json", "json_rows", "xml_rows"]

Row = tuple[int, "Mapping[str, Any] | str"]
"""Number and row of a table; a text says what is wrong with it."""

EMBEDDED = "imageData"
"""Where LabelMe keeps the encoded image itself."""

BESIDE_XML = ("", "images", "../JPEGImages", "../images")
"""Folders in which VOC and CVAT keep the images, from that of the XML file."""

_CHUNK = 1 << 16


def beside_json(name: str) -> tuple[str, ...]:
    """Return folders in which the images of a JSON file may be, from its own: ``instances_val2017.json``, for one.

    >>> beside_json("instances_val2017.json")
    ('', 'images', '..', '../images', '../val2017', '../images/val2017')
    """
    split = name.rpartition(".")[0].partition("_")[2]
    return ("", "images", "..", "../images", *((f"../{split}", f"../images/{split}") if split else ()))


def json_rows(text: bytes) -> Iterator[Row]:
    """Yield the rows of a list of objects or paths, of COCO's ``images``, or the one image of a LabelMe file.

    Raises
    ------
    ImageError
        For any other JSON.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError("corrupt", f"not JSON: {error}") from None
    if isinstance(data, dict) and isinstance(data.get("imagePath"), str):
        yield 1, {"path": data["imagePath"].replace("\\", "/"), EMBEDDED: data.get(EMBEDDED)}
        return
    rows = data.get("images") if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise ImageError(
            "unsupported", "JSON is read as a list of objects, as COCO with its 'images', or as LabelMe's 'imagePath'"
        )
    for number, row in enumerate(rows, 1):
        if isinstance(row, str):
            row = {"path": row}
        elif isinstance(row, dict) and "file_name" not in row and isinstance(row.get("coco_url"), str):
            row = {**row, "file_name": "/".join(row["coco_url"].split("/")[-2:])}  # LVIS: the split's folder and name
        yield number, row if isinstance(row, dict) else "not a JSON object"


def xml_rows(stream: BinaryIO) -> Iterator[Row]:
    """Yield the one image of a VOC file, or the images of a CVAT file with their subset as label.

    Raises
    ------
    ImageError
        For any other XML, and for one that declares a document type: entities may be made to grow without bound.
    """
    document = _Document()
    parser = expat.ParserCreate()
    parser.StartElementHandler = document.start
    parser.EndElementHandler = document.end
    parser.CharacterDataHandler = document.text
    parser.StartDoctypeDeclHandler = _refuse
    number = 0
    try:
        while True:
            chunk = stream.read(_CHUNK)
            parser.Parse(chunk, not chunk)
            for row in document.rows:
                number += 1
                yield number, row
            document.rows.clear()
            if not chunk:
                break
    except expat.ExpatError as error:
        raise ImageError("corrupt", f"not XML: {error}") from None
    if not number:
        what = " (CVAT for video names no image files)" if document.tracks else ""
        raise ImageError("unsupported", f"XML is read as VOC's 'annotation' or CVAT's 'annotations' of images{what}")


def _refuse(*declaration: object) -> None:
    raise ImageError("unsupported", "XML that declares a document type is not read")


class _Document:
    """What a parser of XML meets."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.tracks = False
        self._open: list[str] = []
        self._name: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._open == ["annotations"]:
            if tag == "image":
                self.rows.append({"path": attributes.get("name"), "label": attributes.get("subset")})
            self.tracks |= tag == "track"
        self._open.append(tag)

    def end(self, tag: str) -> None:
        if self._open == ["annotation", "filename"]:
            self.rows.append({"path": "".join(self._name).strip()})
        self._open.pop()

    def text(self, text: str) -> None:
        if self._open == ["annotation", "filename"]:
            self._name.append(text)
