"""The formats of the suite `benchmarks.formats`: how their files are written, and who else reads them."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers.limits import read, spread

__all__ = ["ALONE", "CASES", "IMAGECODECS", "OPENCV", "PILLOW", "TIFFFILE", "TORCHVISION", "Case", "others"]

ALONE, IMAGECODECS, TIFFFILE = "decoder alone", "imagecodecs alone", "tifffile alone"
OPENCV, PILLOW, TORCHVISION = "OpenCV", "Pillow", "torchvision.io"


@dataclass(frozen=True)
class Case:
    """A format with a number of bits.

    Attributes
    ----------
    name : str
        What tables call it.
    ending : str
        Of its files.
    write : callable
        Makes a file of an array of shape (H, W, 3).
    decode : callable
        The fastest decoder that releases the interpreter lock.
    bits : int
        Of a sample, 8 or 16.
    needs : str
        The package that writes it, beside those of gpustats.
    """

    name: str
    ending: str
    write: Callable[[NDArray[Any]], bytes]
    decode: Callable[[bytes], Any]
    bits: int = 8
    needs: str = ""

    def pixels(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[Any]:
        """Return an image of 8 bits at the depth of the case, with noise in some of the bits that it has not."""
        if self.bits == 8:
            return image
        return image.astype(np.uint16) * 257 ^ rng.integers(0, 64, image.shape, np.uint16)


def _with_pillow(name: str, **settings: Any) -> Callable[[NDArray[Any]], bytes]:
    def write(pixels: NDArray[Any]) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, name, **settings)
        return file.getvalue()

    return write


def _tiff(pixels: NDArray[Any]) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", compression="lzw")
    return file.getvalue()


def _ppm(pixels: NDArray[Any]) -> bytes:
    return b"P6 %d %d 65535\n" % pixels.shape[1::-1] + pixels.astype(">u2").tobytes()


def _of_ppm(data: bytes) -> NDArray[Any]:
    return np.frombuffer(data[data.index(b"\n") + 1 :], ">u2").astype(np.uint16)


_JPEG_2000 = partial(imagecodecs.jpeg2k_decode, numthreads=1)

CASES = {
    case.name: case
    for case in (
        Case("JPEG", "jpg", _with_pillow("JPEG", quality=90), lambda data: simplejpeg.decode_jpeg(data, "RGB")),
        Case("PNG", "png", _with_pillow("PNG"), imagecodecs.spng_decode),
        Case("WebP", "webp", _with_pillow("WebP", quality=80), imagecodecs.webp_decode),
        Case("TIFF", "tiff", _with_pillow("TIFF", compression="tiff_lzw"), imagecodecs.tiff_decode),
        Case("JPEG 2000", "jp2", _with_pillow("JPEG2000"), _JPEG_2000),
        Case("PNG 16 bits", "png", imagecodecs.png_encode, imagecodecs.png_decode, 16),
        Case("TIFF 16 bits", "tiff", _tiff, imagecodecs.tiff_decode, 16, "tifffile"),
        Case("PNM 16 bits", "ppm", _ppm, _of_ppm, 16),
        Case("JPEG 2000 16 bits", "jp2", partial(imagecodecs.jpeg2k_encode, level=0), _JPEG_2000, 16),
    )
}
"""By their names."""


def others(case: Case, paths: list[str], workers: int) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Return what else reads these files, by name: what to measure, and how to get the mean of each channel from its
    answer, on [0, 1]; None of a decoder alone, which throws the pixels away."""
    found: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        ALONE: (partial(spread, paths, workers, lambda: lambda path: case.decode(read(path))), _nothing)
    }
    if case.name == "JPEG":  # in all other formats it is the fastest
        found[IMAGECODECS] = (
            partial(spread, paths, workers, lambda: lambda path: imagecodecs.jpeg_decode(read(path))),
            _nothing,
        )
    if case.bits == 8:
        found[PILLOW] = (partial(_mean, paths, workers, _pillow, 255), np.asarray)
    if importlib.util.find_spec("cv2"):
        from benchmarks.peers import opencv

        found[OPENCV] = (partial(opencv.run, paths, workers, case.bits), lambda answer: np.array(list(answer.mean)))
    if importlib.util.find_spec("torchvision"):
        found[TORCHVISION] = (partial(_mean, paths, workers, _torchvision, (1 << case.bits) - 1), np.asarray)
    if case.ending == "tiff" and importlib.util.find_spec("tifffile"):
        import tifffile

        found[TIFFFILE] = (partial(spread, paths, workers, lambda: tifffile.imread), _nothing)
    return found


def _nothing(answer: Any) -> None:
    return None


def _mean(paths: list[str], workers: int, pixels_of: Callable[[str], Any], unit: int) -> Any:
    """Return the mean of each channel, with NumPy's sums."""

    def one(path: str) -> Any:
        pixels = pixels_of(path)
        return len(pixels), pixels.sum(axis=0, dtype=np.uint64)

    with ThreadPoolExecutor(workers) as threads:
        found = list(threads.map(one, paths))
    return sum(total for _, total in found) / (unit * sum(count for count, _ in found))


def _pillow(path: str) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, 3)


def _torchvision(path: str) -> NDArray[Any]:
    from torchvision.io import ImageReadMode, decode_image, read_file

    return decode_image(read_file(path), ImageReadMode.RGB).numpy().reshape(3, -1).T
