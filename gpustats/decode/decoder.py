"""CPU decoding of one image: simplejpeg for JPEG, imagecodecs for PNG, WebP and TIFF, Pillow for everything else.

The pixels are those of Pillow's ``convert("RGB")``: first frame, no EXIF turn, alpha dropped, greyscale repeated
three times; under other modes those of `gpustats.decode.modes` and `gpustats.decode.deep`.
The verdict is Pillow's too: a JPEG about which libjpeg warns, and a file that imagecodecs refuses or that is not plain
(`gpustats.decode.plain`, `gpustats.decode.plain_tiff`), is handed to Pillow, which refuses truncated files and keeps
what it can read whole.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import imagecodecs
import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import ImageFile

from gpustats.decode.depth import gdal_nodata
from gpustats.decode.extras import EXTRAS, needs
from gpustats.decode.formats import EIGHT_BIT_MODES, Format, looks_cut_off, sniff
from gpustats.decode.headers import jpeg_precision, jpeg_scans, may_hide_scans
from gpustats.decode.libtiff import silent_libtiff
from gpustats.decode.modes import check_array, image_pixels, in_mode, opaque
from gpustats.decode.pillow import check_scan, check_tiles, exif_orientation, open_image, too_large_tiles, verdict
from gpustats.decode.plain import Plain
from gpustats.decode.transform import Transform, is_sideways, masked, turned
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from gpustats.wording import option

__all__ = [
    "IMAGECODECS",
    "NUMPY",
    "PILLOW",
    "REDUCED",
    "SIMPLEJPEG",
    "Decoder",
    "check_array",
    "check_size",
    "jpeg_header",
    "versions",
    "whole_images_only",
]

SIMPLEJPEG = "simplejpeg"
REDUCED = "simplejpeg at reduced scale"
IMAGECODECS = "imagecodecs"
NUMPY = "numpy"
PILLOW = "pillow"

_START_OF_IMAGE = b"\xff\xd8"
_COEFFICIENT_BYTES = 6

_NO_TRANSFORM = Transform()
_MASK_BYTES = 16  # a pixel, for the masks of its channels


@functools.cache
def versions() -> dict[str, str]:
    """Return the decoders and their versions."""
    from importlib.metadata import version  # not at the start: it takes 20 ms

    return {
        SIMPLEJPEG: simplejpeg.__version__,
        IMAGECODECS: imagecodecs.__version__,
        NUMPY: np.__version__,
        PILLOW: PIL.__version__,
        **{name: version(name) for module, name in EXTRAS.values() if find_spec(module) is not None},
    }


_truncated_lock = threading.Lock()
_truncated_depth = 0
_truncated_before = False
_warnings = ExitStack()


@contextmanager
def whole_images_only() -> Iterator[None]:
    """Keep Pillow strict while a run lasts, also where the program has set ``ImageFile.LOAD_TRUNCATED_IMAGES``, and
    keep warnings of decoders (about damaged metadata and the like) from deciding, where the program makes errors of
    them. Nor does libtiff write to the terminal.

    Both hold for the whole process; they are put back when the last run ends.
    """
    global _truncated_depth, _truncated_before
    with _truncated_lock:
        if _truncated_depth == 0:
            _truncated_before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            _warnings.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif|pydicom)\b")
            _warnings.enter_context(silent_libtiff())
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
    transform : Transform, optional
        What is done to the pixels afterwards, for the memory that it takes.
    mode : {"RGB", "L", "RGBA", "native"}
        What comes out, see `gpustats.definition.Definition`.
    alpha_masks : bool
        Whether pixels that are transparent come out masked.
    nodata_tag : bool
        Whether those come out masked that a TIFF file itself says to stand for no data.
    beside : int
        Bytes a pixel that are needed for its mask, beside the image.
    deep : bool
        Whether images of more than 8 bits are decoded under the modes ``"RGB"`` and ``"L"``, too, at their depth.
    turn : bool
        Whether pixels come out turned as EXIF says.

    Attributes
    ----------
    max_pixels : int
        As given.
    value_range : int
        The value that the last image itself said to be 1.0, until `release`; 0 where it said none.
    color_space : str
        What the header of the last image said to be stored, where it was a JPEG whose header was read, until `release`.
    whole : tuple of int, or None
        Height and width of the last image, where it came out at a reduced scale, until `release`.
    """

    def __init__(
        self,
        max_pixels: int,
        memory: MemoryBudget,
        transform: Transform = _NO_TRANSFORM,
        mode: str = "RGB",
        *,
        alpha_masks: bool = False,
        nodata_tag: bool = False,
        beside: int = 0,
        deep: bool = False,
        turn: bool = False,
    ) -> None:
        self._mode = mode
        self._deep = mode == "native" or (deep and mode != "RGBA")
        self.value_range = 0
        self.color_space = ""
        self.whole: tuple[int, int] | None = None
        self._turn = turn
        self._alpha_masks = alpha_masks
        self._nodata_tag = nodata_tag
        self._beside = beside + (_MASK_BYTES if alpha_masks or nodata_tag else 0) + 4 * (mode == "RGBA")
        self.max_pixels = max_pixels
        self._memory = memory
        self._transform = transform
        self._as_is = mode == "RGB" and transform == _NO_TRANSFORM and not self._beside and not turn
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

    def decode(
        self, data: bytes | NDArray[np.uint8], ordinary: tuple[int, int] | None = None
    ) -> tuple[NDArray[Any], str]:
        """Decode one image; call `release` when its pixels were used, also after an error.

        Parameters
        ----------
        data : bytes or ndarray of uint8
            The file.
        ordinary : tuple of int, optional
            Height and width of a JPEG that is known to be ordinary: whole, of 8 bits, and grey or YCbCr.

        Returns
        -------
        pixels : ndarray, shape (H, W, C)
            uint8, C-contiguous, RGB or grey; under other modes also other integers and floats, of any channels and
            strides. Overwritten by the next call.
        decoder : str
            Which decoder made them: `SIMPLEJPEG`, `REDUCED`, `IMAGECODECS`, `NUMPY` (16-bit PNM) or `PILLOW`.

        Raises
        ------
        ImageError
            Where the image is not whole, is too large, or is of a kind that cannot be read.
        """
        if ordinary is not None and (pixels := self._decode_ordinary(data, *ordinary)) is not None:
            return pixels, SIMPLEJPEG
        if not isinstance(data, bytes):
            data = bytes(data)
        pixels, decoder = self._decode(data)
        if not self._turn:
            return pixels, decoder
        orientation = exif_orientation(data, decoder == PILLOW)
        if self.whole and is_sideways(orientation):
            self.whole = self.whole[::-1]
        return turned(pixels, orientation), decoder

    def _decode(self, data: bytes) -> tuple[NDArray[Any], str]:
        header = jpeg_header(data)
        if header is None:
            return self._decode_by_format(data)
        height, width, color_space = header
        self.color_space = color_space
        target = "GRAY" if color_space == "Gray" and self._mode != "RGB" else "RGB"
        channels = 1 if target == "GRAY" else 3
        check_size(height, width, self.max_pixels)
        by = self._reduction(data, height, width) if self._transform.fast else 1
        high, wide = (height, width) if by == 1 else (-(-height // by), -(-width // by))
        size = high * wide * channels
        later = 0 if self._as_is else self._later(high, wide)
        if max(size, later // 3) > self._buffer.nbytes or may_hide_scans(data, height * width):
            each = channels + (self._mode == "L")
            coefficients = _COEFFICIENT_BYTES * height * width * jpeg_scans(data, height * width)
            self._admit(max(high * wide * each + coefficients, later))
        # Of files with another precision, libjpeg gives only lossless ones that are stored in the colours asked for.
        as_stored = color_space == "RGB" or target == "GRAY"
        if color_space in ("CMYK", "YCCK") or (as_stored and jpeg_precision(data) != 8):
            return self._decode_by_format(data)
        if size > self._buffer.nbytes and size <= self._memory.share // 3:  # room for coefficients, too
            self._buffer = np.empty(size, np.uint8)
        try:
            buffer = self._buffer if size <= self._buffer.nbytes else np.empty(size, np.uint8)
            if by == 1:
                return in_mode(simplejpeg.decode_jpeg(data, target, buffer=buffer), self._mode), SIMPLEJPEG
            pixels = simplejpeg.decode_jpeg(data, target, min_height=high, min_width=wide, buffer=buffer)
            pixels = in_mode(pixels, self._mode)
            self.whole = height, width
            return pixels, REDUCED
        except Exception:  # noqa: BLE001 - libjpeg warned, or the package failed: Pillow decides
            buffer = self._buffer  # a large one is given back before Pillow takes as much
            return self._decode_by_format(data)

    def _reduction(self, data: bytes, height: int, width: int) -> int:
        """Return what the sides of a JPEG are divided by."""
        if self._turn and len(set(self._transform.resize)) == 2:  # it may not fit sideways as it does upright
            with suppress(ImageError):  # what cannot be read is told once the pixels could
                if is_sideways(exif_orientation(data, by_pillow=False)):
                    return self._transform.reduction(width, height)
        return self._transform.reduction(height, width)

    def _decode_ordinary(self, data: bytes | NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8] | None:
        """Return the pixels of a small ordinary JPEG, None for what has to be looked at more closely."""
        pixels = height * width
        if not self._as_is or pixels > min(self.max_pixels, self._buffer.nbytes // 3) or may_hide_scans(data, pixels):
            return None
        try:
            found: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", buffer=self._buffer)
        except Exception:  # noqa: BLE001 - see `decode`
            return None
        return found

    def release(self) -> None:
        """Give the memory of the last image back to the budget."""
        self.color_space = ""
        self.value_range = 0
        self.whole = None
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
        kind = sniff(data, weak=True)
        if kind is None:
            raise ImageError(
                "not_an_image", "the file is empty" if not data else "the first bytes are those of no image format"
            )
        try:
            pixels, decoder = self._decode_kind(kind, data)
            if self._nodata_tag and kind.name == "TIFF" and (value := gdal_nodata(data)) is not None:
                with np.errstate(over="ignore"):
                    pixels = masked(pixels, pixels != value)
            return pixels, decoder
        except ImageError:
            raise
        except MemoryError:
            raise ImageError("too_large", f"not enough memory to decode this {kind.name}") from None
        except NotImplementedError as error:
            raise ImageError("unsupported", f"{kind.name}: {error}") from None
        except Exception as error:  # noqa: BLE001 - hostile files make Pillow raise nearly anything; one image, named
            raise verdict(kind, error, data) from None

    def _decode_kind(self, kind: Format, data: bytes) -> tuple[NDArray[Any], str]:
        if kind.extra:
            needs(kind.extra, kind.name)
        # imagecodecs does not get the chunk of a transparent colour
        needs_alpha = self._alpha_masks or (self._mode == "RGBA" and kind.name == "PNG" and b"tRNS" in data)
        if kind.plain is not None and not needs_alpha and (plain := kind.plain(data)) is not None:
            self._admit_pixels(kind, data, plain.height, plain.width)
            pixels = _decode_with_imagecodecs(kind, plain)
            if pixels is not None:
                return in_mode(pixels, self._mode), IMAGECODECS
        if kind.deep is not None and not kind.pillow:
            return self._decode_deep(kind, data)
        if kind.misfit is not None and (misfit := kind.misfit(data)):
            if self._deep and kind.deep is not None:
                return self._decode_deep(kind, data)
            raise ImageError("unsupported", f"{kind.name} with {misfit}{_advice(kind, data, self._mode)}")
        if not kind.pillow:
            problem = option("alpha", "mask") if self._alpha_masks else "imagecodecs cannot decode it"
            raise ImageError("unsupported" if self._alpha_masks else "corrupt", f"{kind.name}: {problem}")
        return self._decode_with_pillow(kind, data), PILLOW

    def _decode_with_pillow(self, kind: Format, data: bytes) -> NDArray[np.uint8]:
        if kind.size is not None:
            self._admit_pixels(kind, data, *kind.size(data))
        with open_image(kind, data) as image:
            self._admit_pixels(kind, data, image.height, image.width)
            if image.mode not in EIGHT_BIT_MODES:
                raise ImageError(
                    "unsupported", f"{kind.name} of mode {image.mode}; only 8-bit grey and RGB can be read"
                )
            if kind.name == "TIFF":
                check_tiles(image, self.max_pixels)
            if kind.name == "JPEG":
                check_scan(data, image.mode)
            image.load()
            if kind.damage is not None and (damage := kind.damage(data)):
                raise ImageError("truncated" if looks_cut_off(kind, data) else "corrupt", f"{kind.name}: {damage}")
            visible = opaque(image) if self._alpha_masks else None
            # Pillow warns about transparency that the RGB result does not have anyway.
            if self._mode != "RGBA":
                image.info.pop("transparency", None)
            pixels = image_pixels(image, self._mode, kind.name)
            return pixels if visible is None else masked(pixels, visible)

    def _decode_deep(self, kind: Format, data: bytes) -> tuple[NDArray[Any], str]:
        assert kind.deep is not None
        deep = kind.deep(data)
        if not self._deep and not (deep.is_plain and self._mode != "RGBA"):
            raise ImageError("unsupported", f"{kind.name} of {deep.dtype}{_advice(kind, data, self._mode)}")
        check_size(deep.height, deep.width, self.max_pixels)
        if deep.largest_piece > max(self.max_pixels, 1):
            raise too_large_tiles(f"of {deep.largest_piece:,} pixels", self.max_pixels)
        self._admit(max(deep.peak(), self._later(deep.height, deep.width)))
        if self._alpha_masks and kind.name == "PNG" and deep.channels == deep.colours and b"tRNS" in data:
            raise ImageError("unsupported", f"{option('alpha', 'mask')}: PNG of 16 bits with a transparent colour")
        stored = deep.pixels()
        self.value_range = deep.value_range
        pixels = deep.in_mode(stored, self._mode)
        if self._alpha_masks and deep.colours and deep.channels > deep.colours:
            pixels = masked(pixels, stored[:, :, -1] > 0)
        decoder = EXTRAS[kind.extra][1] if kind.extra else NUMPY if kind.name == "PNM" else IMAGECODECS
        return pixels, f"{decoder}, {deep.note}" if deep.note else decoder

    def _later(self, height: int, width: int) -> int:
        """Return the bytes that an image takes after it was decoded."""
        return self._transform.peak_bytes(height, width) + self._beside * height * width

    def _admit_pixels(self, kind: Format, data: bytes, height: int, width: int) -> None:
        check_size(height, width, self.max_pixels)
        self._admit(max(kind.peak(data, height * width), self._later(height, width)))


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


def _decode_with_imagecodecs(kind: Format, plain: Plain) -> NDArray[np.uint8] | None:
    """Return the pixels, of shape (H, W) or (H, W, C), None where Pillow should have the file."""
    try:
        pixels: NDArray[np.uint8] = plain.decode() if plain.decode else getattr(imagecodecs, kind.codec)(plain.data)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow decides what is damaged, and says how
        return None
    if pixels.dtype != np.uint8 or pixels.shape[:2] != (plain.height, plain.width):
        return None
    return pixels


def _advice(kind: Format, data: bytes, mode: str) -> str:
    """Return the option with which a file of more than 8 bits or more bands can be measured, if there is one."""
    if mode == "native" or kind.deep is None:
        return ""
    try:
        deep = kind.deep(data)
    except Exception:  # noqa: BLE001 - hostile headers make Pillow raise nearly anything; the misfit is named already
        return ""
    as_it_is = f"; {option('mode', 'native')} measures it as it is stored"
    if mode == "RGBA" or deep.colours not in (1, 3 if mode == "RGB" else 1):
        return as_it_is
    return f"; {option('value_range')} with the value that is 1.0 measures it as {mode}{as_it_is}"


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Raise `ImageError` where an image of this size should not be decoded."""
    if height <= 0 or width <= 0:
        raise ImageError("corrupt", f"the header gives a size of {width} x {height} pixels")
    if height * width > max_pixels:
        raise ImageError(
            "too_large",
            f"the header gives {width} x {height} = {height * width:,} pixels, "
            f"more than {option('max_pixels', max_pixels)}",
        )
