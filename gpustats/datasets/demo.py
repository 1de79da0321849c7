"""Synthetic JPEGs with the statistics of natural images, for `gpustats demo`, the tests and the benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["natural_image", "write_images"]

_SIZES = ((375, 500), (333, 500), (500, 375), (240, 320), (256, 256), (427, 640))
_GREY_SHARE = 0.05


def natural_image(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Return a random image whose amplitude spectrum falls as 1/f, with correlated colours; uint8, shape (H, W, 3).

    The spectrum is that of natural scenes (Field 1987, J. Opt. Soc. Am. A 4:2379). Brightness, contrast and colour
    cast differ
    from image to image, so that the pooled and the per-image standard deviations differ as they do for photographs.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    noise = rng.standard_normal((3, height, width))
    planes = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height, width))
    planes /= np.maximum(planes.std(axis=(1, 2), keepdims=True), 1e-12)  # a single pixel has no spread
    light, red_green, blue_yellow = planes
    colour = np.stack([light + 0.3 * red_green, light - 0.3 * red_green, light + 0.4 * blue_yellow], axis=-1)
    brightness = rng.normal(115, 30) + rng.normal(0, 12, 3)
    contrast = rng.uniform(30, 75)
    return np.clip(np.rint(colour * contrast + brightness), 0, 255).astype(np.uint8)


def write_images(folder: Path, count: int, seed: int = 0) -> None:
    """Write `count` JPEGs of several sizes, one in twenty grey, into ten subfolders of `folder`; the same for a seed.

    Parameters
    ----------
    folder : Path
        Created where it does not exist.
    count : int
        How many.
    seed : int
        Of the random generator.
    """
    rng = np.random.default_rng(seed)
    for i in range(count):
        image = Image.fromarray(natural_image(rng, *_SIZES[int(rng.integers(len(_SIZES)))]))
        if rng.random() < _GREY_SHARE:
            image = image.convert("L")
        target = folder / f"class_{i % 10}" / f"image_{i:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target, quality=int(rng.integers(75, 96)))
