"""What is fuzzed: a name, whole files to start from, and a function that must take anything made of them.

A new format or container is one more entry in `TARGETS`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageFile

from gpustats.decode import Decoder, whole_images_only
from gpustats.failures import REASONS, ImageError
from gpustats.memory import MemoryBudget
from tests.images import encoded, photo

__all__ = ["MAX_PIXELS", "TARGETS", "Target", "pillow_verdict", "verdict"]

MAX_PIXELS = 20_000_000

_decoder = Decoder(MAX_PIXELS, MemoryBudget(1 << 30, 1))


def verdict(data: bytes) -> str:
    """Decode as a run does: "good", or the reason. Anything else that is raised is a find."""
    try:
        with whole_images_only():
            pixels, _ = _decoder.decode(data)
    except ImageError as error:
        if error.reason not in REASONS or "\n" in str(error):
            raise AssertionError(f"an odd failure: {error.reason} {error}") from None
        return error.reason
    finally:
        _decoder.release()
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    return "good"


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
    """Files to mutate, and what to do with them."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], str] = verdict


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
}
