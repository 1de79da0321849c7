"""Formats behind an extra: HEIC through pillow-heif, DICOM through pydicom. They are imported where a file comes.

References
----------
DICOM PS3.3, C.7.6.3 (image pixel), C.11.1 (modality LUT); PS3.10, 7.1 (file meta information).
ISO/IEC 14496-15, 8.3.3.1 (HEVC decoder configuration record).
"""

from __future__ import annotations

import importlib
import io
import struct
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.deep import Deep, integers
from gpustats.decode.depth import jpeg2000_components, too_deep
from gpustats.decode.headers import jpeg_frame
from gpustats.failures import ImageError
from gpustats.install import pip_install

__all__ = ["EXTRAS", "deep_dicom", "deep_heic", "dicom_size", "heic_misfit", "needs"]

EXTRAS = {"heif": ("pillow_heif", "pillow-heif"), "dicom": ("pydicom", "pydicom")}
"""Module and distribution by the name of the extra."""


def needs(extra: str, name: str) -> None:
    """Raise `ImageError` where the package of an extra is not installed, which files of a format need."""
    module, distribution = EXTRAS[extra]
    try:
        importlib.import_module(module)
    except ImportError:
        message = f"{name} is read by the package {distribution}, which is not installed: {pip_install(extra)}"
        raise ImageError("unsupported", message) from None


def _heic_bits(data: bytes) -> int:
    """Return the bits a sample of the first image that is coded as HEVC, 8 where there is none."""
    start = data.find(b"hvcC")
    return 8 + max(data[start + 21] & 7, data[start + 22] & 7) if 0 <= start < len(data) - 22 else 8


def heic_misfit(data: bytes) -> str | None:
    """Look at the depth; pillow-heif would shift other depths to 8 bits."""
    bits = _heic_bits(data)
    return None if bits == 8 else too_deep(bits)


def deep_heic(data: bytes) -> Deep:
    """Return the primary image of a HEIC file of 10 or 12 bits."""
    import pillow_heif

    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    image = file[file.primary_index]
    letters, _, bits = image.mode.partition(";")
    if letters not in ("L", "RGB", "RGBA") or not bits.isdecimal():
        raise ImageError("unsupported", f"HEIC of mode {image.mode}")
    (width, height), channels = image.size, len(letters)

    def decode() -> NDArray[Any]:
        return np.asarray(image).reshape(height, width, channels)

    said = (1 << int(bits)) - 1
    return Deep(height, width, channels, np.dtype(np.uint16), decode, 0, channels - 1 | 1, said, bytes_a_sample=12)


_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META = 4096
_GREY, _COLOURS = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_JPEG, _JPEG_2000 = b"\xff\xd8", (b"\xff\x4f", b"\0\0\0\x0c")


def dicom_size(data: bytes) -> tuple[int, int]:
    """Return height and width from the first bytes of a DICOM file."""
    dataset = _read(data, stop_before_pixels=True)
    return int(dataset.Rows), int(dataset.Columns)


def _read(data: bytes, **options: Any) -> Any:
    import pydicom

    if _DEFLATED in data[:_META]:  # pydicom would inflate the whole file, however large it becomes
        raise ImageError("unsupported", "DICOM that is compressed as a whole (deflated transfer syntax)")
    return pydicom.dcmread(io.BytesIO(data), **options)


def deep_dicom(data: bytes) -> Deep:
    """Return the first frame of a DICOM file, rescaled by its slope and intercept; no window (VOI) is applied."""
    dataset = _read(data)
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ImageError("unsupported", f"DICOM without pixels ({_kind(dataset)})")
    height, width, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel", 1))
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    colours = 1 if photometric in _GREY else 3 if photometric in _COLOURS else 0
    if colours != samples:
        raise ImageError("unsupported", f"DICOM of {photometric or 'unknown colours'}; grey, RGB and YBR are measured")
    if "ModalityLUTSequence" in dataset:
        raise ImageError("unsupported", "DICOM with a modality LUT; only slope and intercept are applied")
    _check_frame(dataset, height, width)
    slope, intercept = _rescale(dataset)
    bits, signed = int(dataset.BitsAllocated), bool(dataset.get("PixelRepresentation", 0))
    stored = integers(bits, signed) if "PixelData" in dataset else np.dtype(f"f{bits // 8}")
    dtype, said = stored, 0
    if (slope, intercept) != (1, 0):
        whole = stored.kind != "f" and slope.is_integer() and intercept.is_integer()
        dtype = np.dtype(np.int64 if whole else np.float64)
    elif stored.kind == "u" and int(dataset.BitsStored) < 8 * stored.itemsize:
        said = (1 << int(dataset.BitsStored)) - 1
    decode = partial(_decode_dicom, dataset, slope, intercept, dtype)
    each = 3 * stored.itemsize + 16
    note = photometric if photometric == "MONOCHROME1" else ""  # 0 is white
    return Deep(height, width, samples, dtype, decode, 0, colours, said, bytes_a_sample=each, note=note)


def _decode_dicom(dataset: Any, slope: float, intercept: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    try:
        pixels: NDArray[Any] = pixel_array(dataset, index=0)
    except (RuntimeError, NotImplementedError) as error:  # no plugin for the transfer syntax, or none of it can do it
        raise ImageError("unsupported", f"DICOM: {_syntax(dataset)}: {' '.join(str(error).split())[:200]}") from None
    if (slope, intercept) == (1, 0):
        return pixels.astype(dtype, casting="safe")
    number = int if dtype.kind == "i" else float
    return pixels.astype(dtype) * number(slope) + number(intercept)


def _check_frame(dataset: Any, height: int, width: int) -> None:
    """Raise `ImageError` where a compressed frame is of another size than the file says, for which memory is asked."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames", None) or 1))
    sizes: list[tuple[int, ...]] = []
    if frame.startswith(_JPEG) and (start := jpeg_frame(frame)):
        sizes.append(struct.unpack_from(">HH", frame, start + 5))
    if frame.startswith(_JPEG_2000):
        sizes.append(jpeg2000_components(frame)[:2])
    if any(size != (height, width) for size in sizes):
        raise ImageError("corrupt", f"DICOM: its frame is of another size than {width} x {height}")


def _rescale(dataset: Any) -> tuple[float, float]:
    """Return slope and intercept, of an enhanced file those of its first frame."""
    places = [dataset]
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(dataset.get(name, None) or ())[:1]:
            places += list(group.get("PixelValueTransformationSequence", None) or ())[:1]
    found = [place for place in places if "RescaleSlope" in place or "RescaleIntercept" in place]
    if not found:
        return 1.0, 0.0
    return float(found[-1].get("RescaleSlope", 1)), float(found[-1].get("RescaleIntercept", 0))


def _kind(dataset: Any) -> str:
    return _name(dataset.get("SOPClassUID", None), "of no known kind")


def _syntax(dataset: Any) -> str:
    return _name(dataset.file_meta.TransferSyntaxUID, "an unknown transfer syntax")


def _name(uid: Any, otherwise: str) -> str:
    """Return the name of a UID, in one line: a damaged one has itself for a name."""
    return " ".join(str(getattr(uid, "name", "")).split())[:80] or otherwise
