"""HEIC and DICOM, which packages behind extras read; QOI and TGA, which Pillow reads."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.decode.decoder import Decoder, versions, whole_images_only
from gpustats.decode.formats import sniff
from gpustats.decode.peek import peek
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from tests.images import encoded, photo

DEEP = np.random.default_rng(1).integers(0, 4096, (9, 7)).astype(np.uint16)
PHOTO = photo(33, 41)


def decoded(data: bytes, mode: str = "native", **options: Any) -> tuple[Any, str, float]:
    decoder = Decoder(10**6, MemoryBudget(1 << 30, 1), mode=mode, **options)
    with whole_images_only():
        pixels, name = decoder.decode(data)
    return pixels.copy(), name, decoder.value_range


def refused(data: bytes, mode: str = "native", reason: str = "unsupported") -> str:
    with pytest.raises(ImageError) as caught:
        decoded(data, mode)
    assert caught.value.reason == reason, str(caught.value)
    return str(caught.value)


def dicom(pixels: Any, bits: int = 0, encapsulated: bytes = b"", preamble: bytes = bytes(128), **tags: Any) -> bytes:
    """Return a DICOM file of an image, or of several of shape (N, H, W)."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.encaps import encapsulate
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

    colours = pixels.ndim == 3 and pixels.shape[2] == 3
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[:2] if colours else pixels.shape[-2:]
    dataset.SamplesPerPixel = 3 if colours else 1
    dataset.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        dataset.PlanarConfiguration = 0
    if pixels.ndim == 3 and not colours:
        dataset.NumberOfFrames = len(pixels)
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = encapsulate([encapsulated]) if encapsulated else pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(dataset, name, value)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    jpeg = JPEGBaseline8Bit if encapsulated[:2] == b"\xff\xd8" else JPEG2000Lossless
    meta.TransferSyntaxUID = jpeg if encapsulated else ExplicitVRLittleEndian
    dataset.file_meta, dataset.preamble = meta, preamble
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def test_dicom_as_it_is_stored() -> None:
    for array in (DEEP, DEEP.astype(np.uint8), DEEP.astype(np.int16) - 2000, DEEP.astype(np.uint32) << 20):
        pixels, name, said = decoded(dicom(array))
        assert (pixels.dtype, name, said) == (array.dtype, "pydicom", 0)
        assert np.array_equal(pixels[..., 0], array)
    pixels, _, said = decoded(dicom(DEEP, bits=12))
    assert (said, np.array_equal(pixels[..., 0], DEEP)) == (4095, True)
    colours = np.dstack([DEEP.astype(np.uint8)] * 3)
    for mode in ("RGB", "native"):
        assert np.array_equal(decoded(dicom(colours), mode)[0], colours)
    assert np.array_equal(decoded(dicom(colours[..., 0]), "RGB")[0], colours), "grey of 8 bits, three times"
    assert decoded(dicom(DEEP, PhotometricInterpretation="MONOCHROME1"))[1] == "pydicom, MONOCHROME1"
    frames = np.stack([DEEP, DEEP + 1])
    assert np.array_equal(decoded(dicom(frames))[0][..., 0], DEEP), "the first frame"
    file = dicom(DEEP, preamble=b"II*\0".ljust(128, b"\0"))
    assert sniff(file).name == "DICOM", "not a TIFF"
    assert peek(file[:600]) == ("DICOM", 9, 7)


@pytest.mark.parametrize(("slope", "intercept", "dtype"), [("2", "-1024", "int64"), ("0.5", "3", "float64")])
def test_slope_and_intercept_are_applied(slope: str, intercept: str, dtype: str) -> None:
    rescaled = DEEP.astype(dtype) * float(slope) + float(intercept)
    pixels, _, said = decoded(dicom(DEEP, bits=12, RescaleSlope=slope, RescaleIntercept=intercept))
    assert (pixels.dtype, said, np.array_equal(pixels[..., 0], rescaled)) == (dtype, 0, True)
    assert decoded(dicom(DEEP, bits=12, RescaleSlope="1", RescaleIntercept="0"))[2] == 4095
    pydicom = pytest.importorskip("pydicom")
    inner, group = pydicom.Dataset(), pydicom.Dataset()
    inner.RescaleSlope, inner.RescaleIntercept = slope, intercept
    group.PixelValueTransformationSequence = [inner]
    for place in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        assert np.array_equal(decoded(dicom(DEEP, **{place: [group]}))[0][..., 0], rescaled), place


def test_a_run_over_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom(DEEP.astype(np.int16), RescaleSlope="1", RescaleIntercept="-1024"))
    stats = gpustats.compute(tmp_path, mode="native", progress=False)
    assert stats.totals["moments"]["sum"] == [int(DEEP.sum()) - 1024 * DEEP.size]
    assert (stats.value_range, stats.runs[0]["images_by_decoder"]) == (None, {"pydicom": 1})
    with pytest.raises(gpustats.AllImagesFailed, match=r"DICOM of int64; value_range= with .*; mode='native' measures"):
        gpustats.compute(tmp_path, progress=False)


def test_compressed_dicom() -> None:
    jpeg = encoded(PHOTO.convert("L"))
    grey = np.zeros((33, 41), np.uint8)
    with Image.open(io.BytesIO(jpeg)) as image:
        assert np.array_equal(decoded(dicom(grey, encapsulated=jpeg))[0][..., 0], np.asarray(image))
    deep = bytes(imagecodecs.jpeg2k_encode(DEEP, level=0, reversible=True, codecformat="j2k", bitspersample=16))
    assert np.array_equal(decoded(dicom(DEEP, encapsulated=deep))[0][..., 0], DEEP)
    small = np.zeros((4, 5), np.uint8)
    for frame in (jpeg, deep):
        assert "another size than 5 x 4" in refused(dicom(small, encapsulated=frame), reason="corrupt")
    lossless = dicom(DEEP, encapsulated=deep).replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.80")
    assert "DICOM: JPEG-LS Lossless Image Compression: Unable to decompress" in refused(lossless)


def test_what_a_dicom_is_refused_for() -> None:
    pydicom = pytest.importorskip("pydicom")
    data = dicom(DEEP)
    dataset = pydicom.dcmread(io.BytesIO(data))
    del dataset.PixelData
    file = io.BytesIO()
    dataset.save_as(file)
    assert refused(file.getvalue()) == "DICOM without pixels (CT Image Storage)"
    assert "PALETTE COLOR; grey" in refused(dicom(DEEP, PhotometricInterpretation="PALETTE COLOR"))
    lut = pydicom.Dataset()
    assert "modality LUT" in refused(dicom(DEEP, ModalityLUTSequence=[lut]))
    deflated = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0")
    assert "deflated transfer syntax" in refused(deflated)
    refused(data[:-20], reason="corrupt")
    refused(data[:300], reason="unsupported")
    with pytest.raises(ImageError, match="max_pixels=62"):
        Decoder(62, MemoryBudget(1 << 30, 1), mode="native").decode(data)
    assert "3 channels are not L" in refused(dicom(np.dstack([DEEP.astype(np.uint8)] * 3)), "L")


def heic(pixels: Any, mode: str = "RGB") -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    size = pixels.shape[1], pixels.shape[0]
    pillow_heif.from_bytes(mode=mode, size=size, data=pixels.tobytes()).save(file, quality=-1, chroma=444)
    return file.getvalue()


def test_heic() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pixels = np.asarray(PHOTO)
    data = heic(pixels)
    expected = np.asarray(pillow_heif.open_heif(io.BytesIO(data)))
    assert np.abs(expected.astype(int) - pixels).max() < 4
    for mode in ("RGB", "native"):
        found, name, _ = decoded(data, mode)
        assert (np.array_equal(found, expected), name) == (True, "pillow")
    assert peek(data) == ("HEIC", 33, 41)
    refused(data[: len(data) // 2], "RGB", reason="truncated")


def test_heic_of_more_than_8_bits() -> None:
    pytest.importorskip("pillow_heif")
    data = heic(np.asarray(PHOTO).astype(np.uint16) * 257, "RGB;16")
    assert "HEIC with 10 bits a sample; only 8 can be read; value_range=" in refused(data, "RGB")
    found, name, said = decoded(data)
    assert (found.dtype, found.shape, name, said) == (np.uint16, (33, 41, 3), "pillow-heif", 1023)
    assert np.abs(found / 1023 - np.asarray(PHOTO) / 255).max() < 0.02
    assert np.array_equal(decoded(data, "RGB", deep=True)[0], found)


@pytest.mark.parametrize(
    ("module", "start", "message"),
    [
        ("pillow_heif", b"\0\0\0\x18ftypheic", "HEIC is read by the package pillow-heif, which is not .*heif"),
        ("pydicom", bytes(128) + b"DICM", "DICOM is read by the package pydicom, which is not installed: .*dicom"),
    ],
)
def test_an_extra_that_is_missing_is_named(
    module: str, start: bytes, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=message) as caught:
        decoded(start + bytes(300))
    assert caught.value.reason == "unsupported"
    with pytest.raises(ImageError, match=message):
        peek(start + bytes(300))
    path = tmp_path / ("a.heic" if module == "pillow_heif" else "a.dcm")
    path.write_bytes(start + bytes(300))
    with pytest.raises(gpustats.AllImagesFailed, match=message):
        gpustats.compute(tmp_path, progress=False)


@pytest.mark.parametrize("kind", ["QOI", "TGA"])
def test_qoi_and_tga(kind: str) -> None:
    for mode in ("RGB", "RGBA") if kind == "QOI" else ("RGB", "RGBA", "L", "P"):
        image = PHOTO.convert(mode)
        data = encoded(image, kind)
        assert np.array_equal(decoded(data, "RGB")[0], np.asarray(image.convert("RGB")))
        assert np.array_equal(decoded(data, "RGBA")[0], np.asarray(image.convert("RGBA")))
        assert sniff(data, weak=True).name == kind
        assert (sniff(data) is None) == (kind == "TGA"), "a signature of few bits counts for images alone"
        refused(data[:-60], "RGB", reason="truncated" if kind == "TGA" else "corrupt")


def test_the_versions_of_extras_are_recorded() -> None:
    pydicom = pytest.importorskip("pydicom")
    assert versions()["pydicom"] == pydicom.__version__


def jpegxl(array: Any, **options: Any) -> bytes:
    if not imagecodecs.JPEGXL.available:
        pytest.skip("this imagecodecs has no JPEG XL")
    return bytes(imagecodecs.jpegxl_encode(array, **{"lossless": True, **options}))


@pytest.mark.parametrize("size", [(33, 41), (1, 1), (8, 256), (64, 64), (120, 160), (513, 300), (700, 350)])
def test_jpeg_xl(size: tuple[int, int]) -> None:
    pixels = np.asarray(photo(*size))
    for array in (pixels[..., :1], pixels, np.dstack([pixels, pixels[..., :1]])):
        for options in ({}, {"usecontainer": True}):
            data = jpegxl(array if array.shape[2] > 1 else array[..., 0].copy(), **options)
            found, name, _ = decoded(data)
            assert (np.array_equal(found, array), name) == (True, "imagecodecs")
            assert peek(data) == ("JPEG XL", *size)
            rgb = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
            assert np.array_equal(decoded(data, "RGB")[0], rgb)
    with pytest.raises(ImageError, match="max_pixels=5"):
        Decoder(5, MemoryBudget(1 << 30, 1)).decode(jpegxl(np.zeros((2, 3, 3), np.uint8)))


def test_jpeg_xl_in_parts() -> None:
    """ISO/IEC 18181-2: boxes jxlp begin with the number of the part, the last with its highest bit set."""
    codestream = jpegxl(np.asarray(PHOTO))
    start = bytes.fromhex("0000000c4a584c200d0a870a00000014667479706a786c20000000006a786c20")
    parts = [(0, codestream[:900]), (0x80000001, codestream[900:])]
    boxes = b"".join((12 + len(part)).to_bytes(4, "big") + b"jxlp" + n.to_bytes(4, "big") + part for n, part in parts)
    assert np.array_equal(decoded(start + boxes)[0], np.asarray(PHOTO))
    large = (1).to_bytes(4, "big") + b"jxlc" + (16 + len(codestream)).to_bytes(8, "big") + codestream
    assert np.array_equal(decoded(start + large)[0], np.asarray(PHOTO))
    refused(start + bytes(8), reason="truncated")
    refused(start + bytes(30), reason="corrupt")


def test_what_a_jpeg_xl_is_refused_for() -> None:
    pixels = np.asarray(PHOTO)
    assert refused(jpegxl(pixels.astype(np.uint16))) == "JPEG XL with 16 bits a sample; only 8 can be read"
    assert "32 bits a sample, floats" in refused(jpegxl(pixels.astype(np.float32) / 255))
    data = jpegxl(pixels)
    refused(data[: len(data) // 2], reason="corrupt")
    refused(data[:3], reason="truncated")
    assert "alpha='mask'" in str(_raised(data, alpha_masks=True))


def _raised(data: bytes, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decoded(data, "RGB", **options)
    return caught.value
