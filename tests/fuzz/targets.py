"""What is fuzzed: a name, whole files to start from, and a function that must take anything made of them.

A new format or container is one more entry in `TARGETS` or `CONTAINERS`.
"""

from __future__ import annotations

import io
import struct
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image, ImageFile

import gpustats
from gpustats.decode.decoder import Decoder, whole_images_only
from gpustats.failures import REASONS, ImageError
from gpustats.limits.memory import MemoryBudget
from tests.images import encoded, photo

__all__ = ["CONTAINERS", "DEEP", "MAX_PIXELS", "TARGETS", "Target", "pillow_verdict", "verdict"]

MAX_PIXELS = 20_000_000

_decoder = Decoder(MAX_PIXELS, MemoryBudget(1 << 30, 1))
_native = Decoder(MAX_PIXELS, MemoryBudget(1 << 30, 1), mode="native")


def verdict(data: bytes, decoder: Decoder = _decoder) -> str:
    """Decode as a run does: "good", or the reason. Anything else that is raised is a find."""
    try:
        with whole_images_only():
            pixels, _ = decoder.decode(data)
    except ImageError as error:
        if error.reason not in REASONS or "\n" in str(error):
            raise AssertionError(f"an odd failure: {error.reason} {error}") from None
        return error.reason
    finally:
        decoder.release()
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3 or decoder is _native
    assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    return "good"


def native_verdict(data: bytes) -> str:
    """Decode with mode="native"."""
    return verdict(data, _native)


def pillow_verdict(data: bytes) -> bool:
    """Whether a script that uses Pillow, strictly, would count the file."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    return False
                image.convert("RGB")
    except Exception:  # noqa: BLE001 - any error is a no
        return False
    return True


@dataclass(frozen=True)
class Target:
    """Files to mutate, what to do with them, and the package that this needs."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], str] = verdict
    needs: str = "gpustats"


def _jpegs() -> list[bytes]:
    image = photo(90, 120)
    return [
        encoded(image),
        encoded(image, progressive=True),
        encoded(image.convert("L"), restart_marker_rows=1),
        encoded(image.convert("CMYK")),
        encoded(image, exif=Image.Exif(), comment=b"x" * 300),
    ]


def _of(kind: str, *modes: str, **options: object) -> Callable[[], list[bytes]]:
    return lambda: [encoded(photo(50, 70).convert(mode), kind, **options) for mode in modes]


def _deep_tiffs() -> list[bytes]:
    import tifffile

    files = []
    array = np.arange(50 * 70 * 3).reshape(50, 70, 3)
    for dtype in ("uint16", "float32", "float64", "int8", "uint32"):
        for options in ({}, {"compression": "lzw"}, {"compression": "zlib", "predictor": True}, {"tile": (32, 32)}):
            file = io.BytesIO()
            tifffile.imwrite(file, array.astype(dtype), photometric="rgb", **options)
            files.append(file.getvalue())
    return files


def _deep_pngs() -> list[bytes]:
    return [
        imagecodecs.png_encode(np.arange(50 * 70 * n, dtype=np.uint16).reshape(50, 70, n).squeeze())
        for n in (1, 2, 3, 4)
    ]


def _deep_pnms() -> list[bytes]:
    return [kind + b"\n70 50\n4095\n" + bytes(50 * 70 * 2 * n) for kind, n in ((b"P5", 1), (b"P6", 3))]


def _deep_jpeg2000() -> list[bytes]:
    array = np.arange(50 * 70 * 3, dtype=np.uint16).reshape(50, 70, 3)
    return [imagecodecs.jpeg2k_encode(array, level=0, codecformat=codec) for codec in ("jp2", "j2k")]


def _jpegxls() -> list[bytes]:
    array = np.asarray(photo(50, 70))
    return [
        imagecodecs.jpegxl_encode(array, lossless=True),
        imagecodecs.jpegxl_encode(array[..., 0].copy(), distance=1.0),
        imagecodecs.jpegxl_encode(np.dstack([array, array[..., :1]]), usecontainer=True),
    ]


def _heics() -> list[bytes]:
    import pillow_heif

    files = []
    for mode, dtype in (("RGB", np.uint8), ("RGB;16", np.uint16)):
        file = io.BytesIO()
        pixels = np.arange(50 * 70 * 3, dtype=dtype).tobytes()
        pillow_heif.from_bytes(mode=mode, size=(70, 50), data=pixels).save(file)
        files.append(file.getvalue())
    return files


def _dicoms() -> list[bytes]:
    from tests.decode.test_extras import dicom

    deep = np.arange(50 * 70, dtype=np.uint16).reshape(50, 70) % 4096
    return [
        dicom(deep, bits=12),
        dicom(deep.astype(np.int16), RescaleSlope="2", RescaleIntercept="-1024"),
        dicom(np.dstack([deep.astype(np.uint8)] * 3)),
        dicom(deep.astype(np.uint8), encapsulated=encoded(photo(50, 70).convert("L"))),
    ]


def container_verdict(ending: str, pages: str = "first") -> Callable[[bytes], str]:
    """Compute a container of that ending: a result, or one of the errors that gpustats raises on purpose."""

    def check(data: bytes) -> str:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / f"data{ending}"
            path.write_bytes(data)
            try:
                stats = gpustats.compute(
                    path, device="cpu", workers=1, max_pixels=MAX_PIXELS, progress=False, pages=pages
                )
            except gpustats.DataError:
                return "refused"
            assert {failure.reason for failure in stats.failures} <= set(REASONS)
            assert stats.n_images or stats.failures, "neither images nor failures, and no error"
            odd = [failure for failure in stats.failures if "the file cannot be read: " in failure.message]
            assert not odd, f"no reader expects this: {odd[0]}"
            return "some failed" if stats.failures else "good"

    return check


def _tar() -> list[bytes]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for i in range(3):
            data = encoded(photo(20, 30, seed=i))
            member = tarfile.TarInfo(f"cats/{i}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return [file.getvalue()]


def _zip() -> list[bytes]:
    files = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            for i in range(3):
                archive.writestr(f"cats/{i}.jpg", encoded(photo(20, 30, seed=i)))
        files.append(file.getvalue())
    return files


def _field(number: int, data: bytes) -> bytes:
    """One field of a protocol buffer that holds bytes of up to 16 KiB."""
    return bytes((number << 3 | 2, len(data) & 127 | 128, len(data) >> 7)) + data


def _examples() -> list[bytes]:
    """tf.train.Example messages with an encoded image and a label."""
    examples = []
    for i in range(3):
        features = {"image/encoded": encoded(photo(20, 30, seed=i)), "image/class/text": b"cat"}
        entries = [_field(1, k.encode()) + _field(2, _field(1, _field(1, v))) for k, v in features.items()]
        examples.append(_field(1, b"".join(_field(1, entry) for entry in entries)))
    return examples


def _framed(record: bytes) -> bytes:
    """A record of a TFRecord file, with its checksums right."""
    import google_crc32c

    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


def _tfrecord() -> list[bytes]:
    return [b"".join(map(_framed, _examples()))]


def _parquet(footer: bool = False, **options: object) -> Target:
    """The pages of a Parquet file, with its footer whole; or the footer, with whole pages."""

    def parts() -> tuple[bytes, bytes]:
        import pyarrow
        import pyarrow.parquet

        images = [encoded(photo(20, 30, seed=i)) for i in range(3)]
        file = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"image": [*images, images[1]]}), file, **options)
        data = file.getvalue()
        end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        return data[:end], data[end:]

    def seeds() -> list[bytes]:
        return [parts()[1][:-8] if footer else parts()[0]]

    def check(part: bytes) -> str:
        pages, tail = parts()
        if footer:
            return container_verdict(".parquet")(pages + part + len(part).to_bytes(4, "little") + b"PAR1")
        return container_verdict(".parquet")(part[: len(pages)].ljust(len(pages), b"\0") + tail)

    return Target(seeds, check, "pyarrow")


def _lmdb() -> list[bytes]:
    import lmdb

    with tempfile.TemporaryDirectory() as folder:
        with lmdb.open(folder, map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
            for i in range(4):
                transaction.put(b"%d.jpg" % i, encoded(photo(20 + 50 * i, 30, seed=i)))
        return [(Path(folder) / "data.mdb").read_bytes()]


def _npy() -> list[bytes]:
    file = io.BytesIO()
    np.save(file, np.zeros((4, 9, 8, 3), np.uint8))
    return [file.getvalue()]


def _pages(kind: str) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        frames = [photo(20, 30, seed=i) for i in range(4)]
        return [encoded(frames[0], kind, save_all=True, append_images=frames[1:])]

    return seeds


CONTAINERS: dict[str, Target] = {
    **{f"pages of {kind}": Target(_pages(kind), container_verdict(".png", "all")) for kind in ("TIFF", "GIF", "PNG")},
    "pages of WebP": Target(_pages("WEBP"), container_verdict(".png", "all")),
    "tar": Target(_tar, container_verdict(".tar")),
    "zip": Target(_zip, container_verdict(".zip")),
    "TFRecord": Target(_tfrecord, container_verdict(".tfrecord"), "google_crc32c"),
    # The checksums are made after the mutation, so that it reaches the message.
    "Example": Target(_examples, lambda data: container_verdict(".tfrecord")(_framed(data)), "google_crc32c"),
    "idx": Target(lambda: [struct.pack(">IIII", 0x803, 4, 9, 8) + bytes(288)], container_verdict("-images-idx3-ubyte")),
    "Parquet": _parquet(),
    "Parquet, plain": _parquet(use_dictionary=False, data_page_version="2.0"),
    "Parquet, zstd": _parquet(compression="zstd"),
    "Parquet, footer": _parquet(footer=True, store_schema=False),
    "LMDB": Target(_lmdb, container_verdict(".mdb"), "lmdb"),
    "npy": Target(_npy, container_verdict(".npy")),
}

DEEP: dict[str, Target] = {
    "PNG": Target(_deep_pngs, native_verdict),
    "TIFF": Target(_deep_tiffs, native_verdict, "tifffile"),
    "PNM": Target(_deep_pnms, native_verdict),
    "JPEG 2000": Target(_deep_jpeg2000, native_verdict),
    "JPEG XL": Target(_jpegxls, native_verdict),
    "HEIC": Target(_heics, native_verdict, "pillow_heif"),
    "DICOM": Target(_dicoms, native_verdict, "pydicom"),
}
"""Files of more than 8 bits a sample, under mode "native", which Pillow has no word about."""

TARGETS: dict[str, Target] = {
    "JPEG": Target(_jpegs),
    "PNG": Target(_of("PNG", "RGB", "RGBA", "P", "L", "1")),
    "WebP": Target(lambda: _of("WEBP", "RGB", "RGBA")() + _of("WEBP", "RGBA", lossless=True)()),
    "GIF": Target(_of("GIF", "P", "L")),
    "TIFF": Target(
        lambda: [
            data
            for compression in ("raw", "tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")
            for data in _of("TIFF", "RGB", compression=compression)()
        ]
    ),
    "BMP": Target(_of("BMP", "RGB", "P", "1")),
    "PNM": Target(_of("PPM", "RGB", "L", "1")),
    "JPEG 2000": Target(lambda: _of("JPEG2000", "RGB", "L")() + _of("JPEG2000", "RGB", no_jp2=True)()),
    "QOI": Target(_of("QOI", "RGB", "RGBA")),
    "TGA": Target(lambda: _of("TGA", "RGB", "RGBA", "L", "P")() + _of("TGA", "RGB", compression="tga_rle")()),
}
