"""What is done to an image between decoding and measuring: a turn by its EXIF orientation, a resize, a center crop.

The pixels are those of torchvision's ``Resize`` and ``CenterCrop`` on PIL images, bit for bit: Pillow resizes, the long
side is ``int(size * long / short)``, and the corner of a crop is rounded half to even.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import OptionError
from gpustats.failures import ImageError
from gpustats.wording import named, option

__all__ = ["INTERPOLATIONS", "RECIPES", "Transform", "is_sideways", "masked", "transform_of", "turned"]

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Pillow's filters."""

_FAST = "JPEG at reduced scale"
_TEXT = re.compile(rf"(?:({_FAST}), )?(?:resize (\d+)(?:x(\d+))? ([a-z]+))?(?:, )?(?:center crop (\d+)x(\d+))?")
_CHANNELS = (1, 3)
_SCALES = (8, 4, 2)
"""By what libjpeg divides the sides without taking longer than for the whole image. It also has 3, 5, 6 and 7 eighths:
the last three take longer (60 to 76% of the rate on photographs of 500 x 375), the first gains nothing over 1/2."""

_BLOCK = 8
"""Pixels on a side of a block of JPEG. Of smaller images, several scales have the same size."""


@dataclass(frozen=True, slots=True)
class Transform:
    """A resize and a center crop; either may be missing.

    Attributes
    ----------
    resize : tuple of int
        ``(size,)`` for the shorter side, ``(height, width)``, or empty.
    interpolation : str
        One of `INTERPOLATIONS`.
    crop : tuple of int
        ``(height, width)``, or empty.
    fast : bool
        Whether JPEGs are decoded at a reduced scale, the smallest of 1/2, 1/4 and 1/8 that the resize does not enlarge.

    Examples
    --------
    >>> str(Transform((256,), "bilinear", (224, 224)))
    'resize 256 bilinear, center crop 224x224'
    >>> Transform.parse("resize 256 bilinear, center crop 224x224").size(375, 500)
    (256, 341)
    """

    resize: tuple[int, ...] = ()
    interpolation: str = "bilinear"
    crop: tuple[int, ...] = ()
    fast: bool = False

    def __str__(self) -> str:
        resize = f"resize {'x'.join(map(str, self.resize))} {self.interpolation}" if self.resize else ""
        crop = f"center crop {'x'.join(map(str, self.crop))}" if self.crop else ""
        return ", ".join(filter(None, (_FAST if self.fast else "", resize, crop))) or "none"

    @classmethod
    def parse(cls, text: str) -> Transform:
        """Read what `str` wrote.

        Raises
        ------
        ValueError
            For anything else.
        """
        if text == "none":
            return cls()
        match = _TEXT.fullmatch(text)
        if match is not None:
            fast, first, second, interpolation, *crop = match.groups()
            resize = tuple(int(side) for side in (first, second) if side is not None)
            cut = tuple(int(side) for side in crop if side is not None)
            found = cls(resize, interpolation or "bilinear", cut, fast=fast is not None)
            if str(found) == text and found.interpolation in INTERPOLATIONS:
                return found
        raise ValueError(f"{text!r} is no transform")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of an image after the resize, before the crop.

        Parameters
        ----------
        height, width : int
            Pixels of the image.
        """
        if len(self.resize) != 1:
            return (self.resize[0], self.resize[1]) if self.resize else (height, width)
        short, long = sorted((height, width))
        size = self.resize[0]
        other = int(size * long / short)
        return (size, other) if height <= width else (other, size)

    def reduction(self, height: int, width: int) -> int:
        """Return what a JPEG decoder may divide the sides of an image by: 1, 2, 4 or 8; it rounds up.

        Parameters
        ----------
        height, width : int
            Pixels of the whole image, turned as it is measured.
        """
        if not self.fast or min(height, width) < _BLOCK:
            return 1
        high, wide = self.size(height, width)
        return next((scale for scale in _SCALES if high * scale <= height and wide * scale <= width), 1)

    def peak_bytes(self, height: int, width: int) -> int:
        """Return how many bytes an image takes at the peak of its transform, its own three a pixel included."""
        if not self.resize:
            return 3 * height * width
        high, wide = self.size(height, width)
        return 7 * height * width + 4 * height * wide + 7 * high * wide  # Pillow's copy, between its passes, the result

    def apply(self, pixels: NDArray[Any], max_pixels: int, whole: tuple[int, int] | None = None) -> NDArray[Any]:
        """Return the pixels that are measured.

        Parameters
        ----------
        pixels : ndarray, shape (H, W) or (H, W, C)
            A resize takes uint8 with 1 or 3 channels, a crop takes everything.
        max_pixels : int
            A result with more fails as ``too_large``.
        whole : tuple of int, optional
            Height and width of the whole image, where `pixels` are reduced by `reduction`. The result has the same size
            and shows the same part as that of the whole image.

        Raises
        ------
        ImageError
            Where the image cannot be resized, or is smaller than the crop.
        """
        height, width = self.size(*(whole or pixels.shape[:2]))
        if self.resize and (height, width) != pixels.shape[:2]:
            if height * width > max_pixels:
                raise ImageError(
                    "too_large",
                    f"the resize gives {width} x {height} = {height * width:,} pixels, more than "
                    f"{option('max_pixels', max_pixels)}",
                )
            pixels = self._resized(pixels, height, width, self.extent(pixels, whole))
        if not self.crop:
            return pixels
        high, wide = self.crop
        if high > height or wide > width:
            sizes = f"{width} x {height} pixels, less than the crop of {wide} x {high}"
            raise ImageError("unsupported", f"the image has {sizes}; resize it first, or take a smaller crop")
        top, left = round((height - high) / 2), round((width - wide) / 2)
        return pixels[top : top + high, left : left + wide]

    def extent(self, pixels: NDArray[Any], whole: tuple[int, int] | None) -> tuple[float, float]:
        """Return how many of its pixels an image is high and wide; with `whole`, the last ones may count in part."""
        height, width = whole or pixels.shape[:2]
        by = self.reduction(height, width) if whole else 1
        return height / by, width / by

    def _resized(self, pixels: NDArray[Any], height: int, width: int, extent: tuple[float, float]) -> NDArray[np.uint8]:
        from PIL import Image

        if isinstance(pixels, np.ma.MaskedArray) and np.ma.getmaskarray(pixels).any():
            raise ImageError("unsupported", "an image with masked values cannot be resized")
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        if pixels.dtype != np.uint8 or channels not in _CHANNELS:
            given = f"{channels} channels of type {pixels.dtype}"
            raise ImageError("unsupported", f"only uint8 images with 1 or 3 channels are resized, this one has {given}")
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 and pixels.ndim == 3 else pixels)
        box = (0.0, 0.0, extent[1], extent[0])
        resized = np.asarray(image.resize((width, height), Image.Resampling[self.interpolation.upper()], box))
        return resized.reshape(height, width, channels)


def masked(pixels: NDArray[Any], counts: NDArray[np.bool_]) -> NDArray[Any]:
    """Return pixels of which those are masked that do not count, in addition to those that are masked already.

    Parameters
    ----------
    pixels : ndarray or MaskedArray, shape (H, W) or (H, W, C)
        An image.
    counts : ndarray of bool, shape (H, W) or (H, W, C)
        For all channels, or for each.
    """
    if counts.ndim < pixels.ndim:
        counts = counts[:, :, None]
    return np.ma.MaskedArray(np.ma.getdata(pixels), np.ma.getmaskarray(pixels) | ~counts)


RECIPES = {
    "torchvision-imagenet": Transform((256,), "bilinear", (224, 224)),
    "timm-imagenet": Transform((256,), "bicubic", (224, 224)),
    "clip": Transform((224,), "bicubic", (224, 224)),
    "inception": Transform((341,), "bicubic", (299, 299)),
}
"""Transforms that published weights were evaluated with, by name.

- torchvision-imagenet: the reference script of torchvision's classification models (``presets.py``).
- timm-imagenet: timm's defaults, ``crop_pct=0.875`` and bicubic (``timm/data/constants.py``).
- clip: OpenAI's CLIP at 224 pixels (``clip/clip.py``).
- inception: timm's settings of ``inception_v3``, 299 pixels with ``crop_pct=0.875``.
"""


def transform_of(
    resize: int | tuple[int, int] | None = None,
    crop: int | tuple[int, int] | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    recipe: str | None = None,
    fast: bool = False,
) -> Transform:
    """Return the transform that the options of `compute` ask for.

    Raises
    ------
    ValueError
        For a value that is not supported, for options that contradict each other, and for a crop that no image that
        was resized so can have.
    """
    if recipe is not None:
        if recipe not in RECIPES:
            raise OptionError(f"{named('recipe')} should be one of {', '.join(RECIPES)}, got {recipe!r}")
        if any(value is not None for value in (resize, crop, crop_pct, interpolation)):
            raise OptionError(f"{named('recipe')} sets resize, crop and interpolation; give either the recipe or these")
        return replace(RECIPES[recipe], fast=fast)
    if interpolation is not None and interpolation not in INTERPOLATIONS:
        raise OptionError(
            f"{named('interpolation')} should be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}"
        )
    cut = _sides("crop", crop)
    to = _sides("resize", resize)
    if crop_pct is not None:
        if not isinstance(crop_pct, int | float) or not 0 < crop_pct <= 1:
            raise OptionError(f"{named('crop_pct')} should be above 0 and at most 1, got {crop_pct!r}")
        if len(cut) != 1 or to:
            raise OptionError(
                f"{named('crop_pct')} is what {named('crop')} takes of the resized image: give one length as "
                f"{named('crop')}, and no {named('resize')}"
            )
        to = (math.floor(cut[0] / crop_pct),)
    if len(cut) == 1:
        cut *= 2
    if interpolation is not None and not to:
        raise OptionError(f"{named('interpolation')} says how to resize; give {named('resize')}, too")
    if cut and to and (min(cut) > to[0] if len(to) == 1 else cut[0] > to[0] or cut[1] > to[1]):
        large, small = ("x".join(map(str, pair)) for pair in (cut, to))
        raise OptionError(f"{named('crop')} of {large} is larger than the image after {named('resize')} to {small}")
    if fast and not to:
        raise OptionError(
            f"{option('fast', True)} decodes JPEGs at a scale near that of a resize; give {named('resize')}, too, or "
            f"{named('recipe')}"
        )
    return Transform(to, interpolation or "bilinear", cut, fast)


def _sides(name: str, value: object) -> tuple[int, ...]:
    """Return one length or two as a tuple; nothing for None."""
    if value is None:
        return ()
    sides = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(sides) not in (1, 2) or not all(type(side) is int and 0 < side < 1 << 24 for side in sides):
        raise OptionError(f"{named(name)} should be a length in pixels or (height, width), got {value!r}")
    return sides


def is_sideways(orientation: int) -> bool:
    """Return whether an EXIF orientation exchanges height and width.

    >>> is_sideways(6), is_sideways(3)
    (True, False)
    """
    return orientation in _TURNS and orientation > 4


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of pixels turned as an EXIF orientation says, as Pillow's ``ImageOps.exif_transpose`` does.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, C)
        As stored.
    orientation : int
        1 to 8; others change nothing.
    """
    turn = _TURNS.get(orientation)
    return pixels if turn is None else turn(pixels)


_TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
"""EXIF 2.32, 4.6.4, Orientation: how stored pixels become those that are shown."""
