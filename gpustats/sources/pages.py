"""Every page of a file as an image of its own: the directories of a TIFF, the frames of an animation.

A file of one page keeps its key. Those of several give ``scan.tif/0``, ``scan.tif/1``, ... as files of several arrays
do. A page of a TIFF is the file with another first directory, so that every decoder reads it as it reads a file. The
frames of a GIF, WebP, APNG or AVIF are what Pillow composes of them, handed on as a TIFF without compression.
"""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from gpustats.decode.depth import tiff_directories
from gpustats.decode.formats import Format, looks_cut_off, sniff
from gpustats.decode.pillow import open_image, verdict
from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Entry, Part, Sample, Source, Within
from gpustats.sources.items import Item, check_bytes, load

__all__ = ["Paged"]

_ANIMATED = ("GIF", "WebP", "PNG", "AVIF")
_MOST_PAGES = 65_536
_BYTES_A_PIXEL = 8
_FRAMES_KEPT = 8


class Paged(Source):
    """Another source, with an image for every page of its files.

    Parameters
    ----------
    source : Source
        What has the files.
    max_bytes : int
        The most that may be read of one.
    """

    def __init__(self, source: Source, max_bytes: int) -> None:
        super().__init__(source.label, source.takes)
        self.notes = source.notes
        self.lists, self.again, self.names_once = source.lists, source.again, source.names_once
        self._source = source
        self._max_bytes = max_bytes

    def holder(self) -> str | None:
        """Return what identifies the file that all images are in, see `Source.holder`."""
        return self._source.holder()

    def parts(self) -> Iterator[Entry]:
        """Yield the pages."""
        within: str | None = None
        for entry in self._source.parts():
            if isinstance(entry, Part):
                yield Part(entry.key, _paged_part, (entry, self._max_bytes))
            elif not isinstance(entry, tuple):
                if isinstance(entry, Within):
                    within = entry.path
                yield entry
            else:
                yield from self._pages(entry, within)

    def _pages(self, sample: Sample, within: str | None) -> Iterator[Entry]:
        key, group, item = sample
        try:
            pages, failure = _pages_of(item, self._max_bytes, self.notes.skipped)
        except ImageError as error:
            yield Failure(key, error.reason, str(error))
            return
        if len(pages) < 2 and failure is None:
            yield sample
            return
        if within is None and isinstance(item, str):
            yield Within(item)  # what shows that a page has changed
        for number, page in enumerate(pages):
            yield f"{key}/{number}", group, page
        yield Within(within)
        if failure is not None:
            yield Failure(key, failure.reason, str(failure))


def _paged_part(part: Part, max_bytes: int) -> Source:
    return Paged(part.open(*part.args), max_bytes)


def _pages_of(item: Item, max_bytes: int, skipped: Any) -> tuple[Sequence[Item], ImageError | None]:
    """Return the pages of a file, and why there may be more; fewer than two where it is one image as it is."""
    if not isinstance(item, str | bytes | memoryview) and not callable(item):
        return (), None
    try:
        data = load(item, max_bytes)
    except ImageError:
        return (), None  # the worker finds it again, and says so
    kind = sniff(data, weak=True) if isinstance(data, bytes) else None
    if kind is None or not isinstance(data, bytes):
        return (), None
    held = item if isinstance(item, str) else data
    if kind.name == "TIFF":
        pages, small, end = tiff_directories(data, _MOST_PAGES)
        if small:
            skipped["reduced_page"] += small
        failure = None if end is None else ImageError("truncated", f"TIFF: {end}")
        return [_TiffPage(held, start) for start in pages], failure
    try:
        frames = _frames(kind, data)
    except Exception:  # noqa: BLE001 - hostile files make Pillow raise nearly anything; the decoder says what it is
        return (), None
    if frames < 2:
        return (), None
    if kind.name not in _ANIMATED:
        raise ImageError("unsupported", f"{kind.name} of {frames} images or frames, which are not read one by one")
    if frames > _MOST_PAGES:
        raise ImageError("too_large", f"{kind.name} of {frames:,} frames; more than {_MOST_PAGES:,} are not read")
    film = _Film(kind, held)
    failure = ImageError("truncated", f"{kind.name}: the file ends early") if looks_cut_off(kind, data) else None
    return [held if number == 0 else film.frame(number) for number in range(frames)], failure


def _frames(kind: Format, data: bytes) -> int:
    if kind.name == "DICOM":
        import pydicom

        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        return int(dataset.get("NumberOfFrames", None) or 1)
    if kind.name not in (*_ANIMATED, "HEIC") or (kind.misfit is not None and kind.name != "HEIC" and kind.misfit(data)):
        return 1
    with open_image(kind, data) as image:
        return int(getattr(image, "n_frames", 1))


class _TiffPage:
    """A page of a TIFF: the file with another first directory."""

    def __init__(self, item: str | bytes, start: int) -> None:
        self._item = item
        self._start = start

    def __call__(self, max_bytes: int) -> bytes:
        """Read it."""
        data = load(self._item, max_bytes)
        assert isinstance(data, bytes)
        order = "<" if data[:2] == b"II" else ">"
        big = data[2:4] in (b"+\0", b"\0+")
        place, form = (8, "Q") if big else (4, "I")
        return b"".join((data[:place], struct.pack(order + form, self._start), data[place + struct.calcsize(form) :]))


class _Film:
    """An animation that is open, for its frames: each is asked for once, by several threads, nearly in order."""

    def __init__(self, kind: Format, item: str | bytes) -> None:
        self._kind = kind
        self._item = item
        self._lock = threading.Lock()
        self._image: Any = None
        self._passed: dict[int, bytes] = {}  # frames before the present one that nobody has asked for so far

    def frame(self, number: int) -> Item:
        """Return an item for a frame."""
        return lambda max_bytes: self._read(number, max_bytes)

    def _read(self, number: int, max_bytes: int) -> bytes:
        data = b""
        with self._lock:
            try:
                if number in self._passed:
                    return self._passed.pop(number)
                if self._image is None or number <= self._image.tell():  # Pillow cannot go back in every format
                    data = load(self._item, max_bytes)  # type: ignore[assignment]  # a path or bytes
                    self._image = open_image(self._kind, data)
                check_bytes(_BYTES_A_PIXEL * self._image.width * self._image.height, max_bytes)
                for passed in range(max(self._image.tell() + 1, number - _FRAMES_KEPT), number):
                    self._passed[passed] = self._composed(passed)
                while len(self._passed) > _FRAMES_KEPT:
                    del self._passed[min(self._passed)]
                return self._composed(number)
            except ImageError:
                raise
            except Exception as error:  # noqa: BLE001 - one frame, named
                self._image = None  # the next one begins anew
                raise verdict(self._kind, error, data) from None

    def _composed(self, number: int) -> bytes:
        self._image.seek(number)
        frame = self._image.convert("RGBA" if self._image.has_transparency_data else "RGB")
        file = io.BytesIO()
        frame.save(file, "TIFF")
        return file.getvalue()
