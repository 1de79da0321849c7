"""CPU decoding of one image to 8-bit RGB: simplejpeg for JPEG, imagecodecs for PNG and WebP, Pillow for everything else
and for every file in doubt.

The pixels are those of Pillow's ``convert("RGB")``: first frame, no EXIF turn, alpha dropped, greyscale repeated
three times.
The verdict is Pillow's too: a JPEG about which libjpeg warns, and a PNG or WebP file that imagecodecs refuses or that
is not plain (`gpustats.decode.plain`), is handed to Pillow, which refuses truncated files and keeps what it can read
whole.
"""

from __future__ import annotations

import functools
import importlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version

import imagecodecs
import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile

from gpustats.decode.formats import EIGHT_BIT_MODES, Format, looks_cut_off, sniff
from gpustats.decode.headers import jpeg_precision, jpeg_scans, may_hide_scans
from gpustats.decode.plain import Plain
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget

__all__ = [
    "IMAGECODECS",
    "PILLOW",
    "SIMPLEJPEG",
    "Decoder",
    "check_size",
    "jpeg_header",
    "versions",
    "whole_images_only",
]

SIMPLEJPEG = "simplejpeg"
IMAGECODECS = "imagecodecs"
PILLOW = "pillow"

_START_OF_IMAGE = b"\xff\xd8"
_COEFFICIENT_BYTES = 6

_ENDS_EARLY = ("premature end of data segment", "found marker 0xd9 instead of RST")
"""libjpeg's warnings JWRN_HIT_MARKER and JWRN_MUST_RESYNC: a marker, or the end of the image, where data should be."""

_STRIP_PIXELS = 1 << 17  # a strip is held four times while it is converted
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # TIFF tags


@functools.cache
def versions() -> dict[str, str]:
    """Return the decoders and their versions."""
    return {SIMPLEJPEG: version("simplejpeg"), IMAGECODECS: version("imagecodecs"), PILLOW: PIL.__version__}


_truncated_lock = threading.Lock()
_truncated_depth = 0
_truncated_before = False
_warnings = ExitStack()


@contextmanager
def whole_images_only() -> Iterator[None]:
    """Keep Pillow strict while a run lasts, also where the program has set ``ImageFile.LOAD_TRUNCATED_IMAGES``, and
    keep its warnings (about damaged metadata and the like) from deciding, where the program makes errors of them.

    Both hold for the whole process; they are put back when the last run ends.
    """
    global _truncated_depth, _truncated_before
    with _truncated_lock:
        if _truncated_depth == 0:
            _truncated_before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            _warnings.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\b")
        _truncated_depth += 1
    try:
        yield
    finally:
        with _truncated_lock:
            _truncated_depth -= 1
            if _truncated_depth == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _truncated_before
                _warnings.close()


class Decoder:
    """Decodes images for one thread, into a buffer that it keeps.

    Parameters
    ----------
    max_pixels : int
        An image whose header gives more fails before anything is allocated.
    memory : MemoryBudget
        Asked before pixels are allocated.
    """

    def __init__(self, max_pixels: int, memory: MemoryBudget) -> None:
        self._max_pixels = max_pixels
        self._memory = memory
        self._reserved = 0
        self._file_alone = 0
        self._buffer: NDArray[np.uint8] = np.empty(1 << 20, np.uint8)

    def expect_file(self, size: int) -> None:
        """Say that a file of `size` bytes is about to be read; waits until there is memory for a large one.

        Raises
        ------
        ImageError
            Where no file may be that large.
        """
        if size > self._memory.share and not self._file_alone:
            self._reserved = self._memory.reserve_all(size)
            self._file_alone = size

    def decode(self, data: bytes) -> tuple[NDArray[np.uint8], str]:
        """Decode one image; call `release` when its pixels were used, also after an error.

        Returns
        -------
        pixels : ndarray of uint8, shape (H, W, 3)
            C-contiguous, RGB. Overwritten by the next call.
        decoder : str
            Which decoder made them: `SIMPLEJPEG`, `IMAGECODECS` or `PILLOW`.

        Raises
        ------
        ImageError
            Where the image is not whole, is too large, or is of a kind that cannot be read.
        """
        header = jpeg_header(data)
        if header is None:
            return self._decode_by_format(data)
        height, width, color_space = header
        size = height * width * 3
        check_size(height, width, self._max_pixels)
        if size > self._buffer.nbytes or may_hide_scans(data, height * width):
            self._admit(height * width * (3 + _COEFFICIENT_BYTES * jpeg_scans(data, height * width)))
        # Of files with another precision, libjpeg gives RGB only for lossless ones that are stored as RGB.
        if color_space in ("CMYK", "YCCK") or (color_space == "RGB" and jpeg_precision(data) != 8):
            return self._decode_by_format(data)
        if size > self._buffer.nbytes and size <= self._memory.share // 3:  # room for coefficients, too
            self._buffer = np.empty(size, np.uint8)
        try:
            target = self._buffer if size <= self._buffer.nbytes else np.empty(size, np.uint8)
            return simplejpeg.decode_jpeg(data, "RGB", buffer=target), SIMPLEJPEG
        except Exception:  # noqa: BLE001 - libjpeg warned, or the package failed: Pillow decides
            target = self._buffer  # a large one is given back before Pillow takes as much
            return self._decode_by_format(data)

    def release(self) -> None:
        """Give the memory of the last image back to the budget."""
        if self._reserved:
            self._memory.release(self._reserved)
            self._reserved = self._file_alone = 0

    def _admit(self, size: int) -> None:
        """Wait until `size` bytes may be allocated for pixels."""
        if self._file_alone:
            self._memory.check(self._file_alone + size)
        else:
            self.release()
            self._reserved = self._memory.reserve(size)

    def _decode_by_format(self, data: bytes) -> tuple[NDArray[np.uint8], str]:
        kind = sniff(data)
        if kind is None:
            raise ImageError(
                "not_an_image", "the file is empty" if not data else "the first bytes are those of no image format"
            )
        try:
            if kind.misfit is not None and (misfit := kind.misfit(data)):
                raise ImageError("unsupported", f"{kind.name} with {misfit}")
            if kind.plain is not None and (plain := kind.plain(data)) is not None:
                self._admit_pixels(kind, data, plain.height, plain.width)
                pixels = _decode_with_imagecodecs(kind, plain)
                if pixels is not None:
                    return pixels, IMAGECODECS
            return self._decode_with_pillow(kind, data), PILLOW
        except ImageError:
            raise
        except MemoryError:
            raise ImageError("too_large", f"not enough memory to decode this {kind.name}") from None
        except NotImplementedError as error:
            raise ImageError("unsupported", f"{kind.name}: {error}") from None
        except Exception as error:  # noqa: BLE001 - hostile files make Pillow raise nearly anything; one image, named
            raise _verdict(kind, error, data) from None

    def _decode_with_pillow(self, kind: Format, data: bytes) -> NDArray[np.uint8]:
        if kind.size is not None:
            self._admit_pixels(kind, data, *kind.size(data))
        with _open(kind, data) as image:
            self._admit_pixels(kind, data, image.height, image.width)
            if image.mode not in EIGHT_BIT_MODES:
                raise ImageError(
                    "unsupported", f"{kind.name} of mode {image.mode}; only 8-bit grey and RGB can be read"
                )
            if kind.name == "TIFF":
                _check_tiles(image, self._max_pixels)
            if kind.name == "JPEG":
                _check_scan(data, image.mode)
            image.load()
            if kind.damage is not None and (damage := kind.damage(data)):
                raise ImageError("truncated" if looks_cut_off(kind, data) else "corrupt", f"{kind.name}: {damage}")
            # Pillow warns about transparency that the RGB result does not have anyway.
            image.info.pop("transparency", None)
            return _as_rgb(image)

    def _admit_pixels(self, kind: Format, data: bytes, height: int, width: int) -> None:
        check_size(height, width, self._max_pixels)
        self._admit(kind.peak(data, height * width))


def jpeg_header(data: bytes) -> tuple[int, int, str] | None:
    """Return height, width and colour space of a JPEG; None where simplejpeg cannot read the header.

    None means that the file is no JPEG, or one that Pillow has to decode. simplejpeg raises `ValueError` for most of
    these, but also `KeyError` for a chroma subsampling that it does not know, so every exception counts.
    """
    if data[:2] != _START_OF_IMAGE:  # simplejpeg takes 2 microseconds to say so
        return None
    try:
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(data)
    except Exception:  # noqa: BLE001 - see above
        return None
    return int(height), int(width), str(color_space)


def _check_scan(data: bytes, mode: str) -> None:
    """Refuse a JPEG whose compressed data end too early; with an end marker behind them, Pillow fills in grey."""
    try:
        simplejpeg.decode_jpeg(data, "CMYK" if mode == "CMYK" else "RGB")
    except Exception as error:  # noqa: BLE001 - for this one question; Pillow decides about everything else
        if any(words in str(error) for words in _ENDS_EARLY):
            raise ImageError("truncated", "JPEG: the compressed data end before the last row") from None


def _decode_with_imagecodecs(kind: Format, plain: Plain) -> NDArray[np.uint8] | None:
    """Return the pixels as RGB, None where Pillow should have the file."""
    try:
        pixels = getattr(imagecodecs, kind.codec)(plain.data)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow decides what is damaged, and says how
        return None
    if pixels.dtype != np.uint8 or pixels.shape[:2] != (plain.height, plain.width):
        return None
    return _rgb(pixels if pixels.ndim == 3 else pixels[:, :, None])


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey or colour, with or without alpha, as RGB: alpha dropped, grey three times."""
    samples = pixels.shape[2]
    if samples == 3:
        return pixels
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    rgb[...] = pixels[:, :, : 1 if samples < 3 else 3]
    return rgb


def _as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return ``image.convert("RGB")`` as an array; a large one in strips, so that it is never held three times."""
    if image.width * image.height <= _STRIP_PIXELS:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")))
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    step = max(_STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)).convert("RGB"))
    return pixels


def _check_tiles(image: Image.Image, max_pixels: int) -> None:
    """Refuse a TIFF whose tiles or strips are larger than any image may be: libtiff allocates a whole one."""
    tags = image.tag_v2  # type: ignore[attr-defined]  # TIFF images have it
    width, height = tags.get(_TILE_WIDTH, image.width), tags.get(_TILE_HEIGHT, 1)
    if isinstance(width, int) and isinstance(height, int) and width * height > max(max_pixels, 1):
        raise ImageError("too_large", f"TIFF: tiles of {width} x {height} pixels, more than max_pixels={max_pixels:,}")


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Raise `ImageError` where an image of this size should not be decoded."""
    if height <= 0 or width <= 0:
        raise ImageError("corrupt", f"the header gives a size of {width} x {height} pixels")
    if height * width > max_pixels:
        raise ImageError(
            "too_large",
            f"the header gives {width} x {height} = {height * width:,} pixels, more than max_pixels={max_pixels:,}",
        )


def _open(kind: Format, data: bytes) -> ImageFile.ImageFile:
    # Straight to the format's own class: Image.open would try every plugin (some run other programs) and
    # holds every caller to one process-wide pixel limit.
    module, _, name = kind.pillow.partition(".")
    factory = getattr(importlib.import_module(f"PIL.{module}"), name)
    image: ImageFile.ImageFile = factory(io.BytesIO(data))
    return image


def _verdict(kind: Format, error: Exception, data: bytes) -> ImageError:
    message = " ".join(str(error).split()) or type(error).__name__
    lower = message.lower()
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError("too_large", f"{kind.name}: {message}")
    if "truncated" in lower or "unexpected end" in lower or isinstance(error, EOFError) or looks_cut_off(kind, data):
        return ImageError("truncated", f"{kind.name}: {message}")
    if "too large" in lower:  # inflated texts and profiles
        return ImageError("too_large", f"{kind.name}: {message}")
    if "unknown pixel mode" in lower or "not supported" in lower or "unsupported" in lower or "cannot handle" in lower:
        return ImageError("unsupported", f"{kind.name}: {message}")
    return ImageError("corrupt", f"{kind.name}: {message}")
