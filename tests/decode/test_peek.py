"""What a file stores: its format, and its channels as Pillow calls them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gpustats.decode.peek import stored_as


def written(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "form", "expected"),
    [
        ("RGB", "JPEG", ("JPEG", "RGB")),
        ("L", "JPEG", ("JPEG", "L")),
        ("CMYK", "JPEG", ("JPEG", "CMYK")),
        *[(mode, "PNG", ("PNG", mode)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")],
        ("I;16", "PNG", ("PNG", "L;16")),
        ("P", "GIF", ("GIF", "P")),
        ("RGB", "BMP", ("BMP", "RGB")),
        ("RGBA", "TIFF", ("TIFF", "RGBA")),
        ("RGB", "WEBP", ("WebP", "RGB")),
    ],
)
def test_stored_modes(mode: str, form: str, expected: tuple[str, str]) -> None:
    image = Image.fromarray(np.zeros((30, 40), np.uint16)) if mode == "I;16" else Image.new(mode, (40, 30))
    data = written(image, form)
    assert stored_as(data) == expected


def test_what_is_not_known() -> None:
    assert stored_as(b"nothing" * 9) == ("", "")
    torn = written(Image.new("RGB", (40, 30)), "TIFF")
    assert stored_as(torn[:9]) == ("TIFF", "")
    assert stored_as(b"\x89PNG\r\n\x1a\n" + bytes(16) + b"\x08\x05" + bytes(9)) == ("PNG", ""), "no such colour type"
