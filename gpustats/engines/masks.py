"""Masks beside the images: a folder with files of the same names, or a function of the key."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.transform import masked
from gpustats.errors import DataError, OptionError
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from gpustats.sources.items import load
from gpustats.wording import named, option

__all__ = ["Masks"]

_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".pgm", ".pbm")
"""Endings of masks: formats that keep every value, in the order in which they are looked for."""

_WITHOUT_ALPHA = (1, 3)
_FOR_A_MASK = 1 << 62  # bytes: an image is admitted with those that its mask takes
_BYTES_A_PIXEL, _LONGEST_HEADER = 8, 1 << 20  # of a mask file


class Masks:
    """Gives the mask of an image by its key.

    Parameters
    ----------
    given : str, PathLike or callable
        The folder of the masks, or a function of the key that returns an array, None where all pixels count.
    data : object
        The dataset; a folder of masks goes with a folder of images.

    Raises
    ------
    DataError, OptionError
        Where there is no such folder, or where the dataset is none.
    """

    def __init__(self, given: Any, data: object) -> None:
        self._of_thread = threading.local()
        self._function: Callable[[str], Any] | None = None
        self._folder = ""
        if callable(given):
            self._function = given
        elif not isinstance(given, str | os.PathLike):
            raise OptionError(f"{named('mask')} should be a folder or a function of the key, got {given!r:.80}")
        else:
            self._folder = os.fspath(given)
            if not os.path.isdir(self._folder):
                raise DataError(f"{option('mask', self._folder)}: there is no such folder")
            if not isinstance(data, str | os.PathLike) or not os.path.isdir(data):
                raise OptionError(
                    f"{option('mask', self._folder)} is a folder of masks, which goes with one folder of images; for "
                    "other data give a function of the key"
                )

    bytes_a_pixel = 20
    """Of a mask in memory, decoded, and for every channel of an image."""

    @property
    def kind(self) -> str:
        """What a definition calls them."""
        return "folder" if self._function is None else "function"

    def apply(self, key: str, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels of an image, those masked that do not count.

        Raises
        ------
        ImageError
            Where there is no mask, or one that does not fit.
        """
        try:
            mask = self._read(key, pixels) if self._function is None else self._ask(key)
            if mask is None:
                return pixels
            if mask.shape not in (pixels.shape, pixels.shape[:2], (*pixels.shape[:2], 1)):
                shapes = " x ".join(map(str, mask.shape)), " x ".join(map(str, pixels.shape))
                raise ImageError("unsupported", "it has the shape {}, and the image {}".format(*shapes))
        except ImageError as error:
            raise ImageError(error.reason, f"mask: {error}") from None
        return masked(pixels, (mask if mask.dtype == np.bool_ else mask != 0).reshape(*mask.shape[: pixels.ndim]))

    def _ask(self, key: str) -> NDArray[Any] | None:
        assert self._function is not None
        try:
            mask = self._function(key)
            return None if mask is None else np.asarray(mask)
        except Exception as error:  # noqa: BLE001 - the function is the user's; one image, named
            raise ImageError("unreadable", f"{type(error).__name__}: {error}") from None

    def _read(self, key: str, pixels: NDArray[Any]) -> NDArray[Any]:
        stem = Path(self._folder, *PurePosixPath(key).with_suffix("").parts)
        paths = [path for ending in _ENDINGS if (path := stem.with_name(stem.name + ending)).is_file()]
        if not paths:
            names = f"{stem.name}{_ENDINGS[0]}, {_ENDINGS[1]} or the like"
            raise ImageError("missing", f"there is no {names} in {stem.parent}")
        if len(paths) > 1:
            raise ImageError("unsupported", f"{paths[0].name} and {paths[1].name} are both there in {stem.parent}")
        from gpustats.decode.decoder import Decoder

        decoder: Decoder | None = getattr(self._of_thread, "decoder", None)
        if decoder is None:
            decoder = self._of_thread.decoder = Decoder(0, MemoryBudget(_FOR_A_MASK, 1), mode="native")
        height, width = pixels.shape[:2]
        decoder.max_pixels = height * width
        data = load(str(paths[0]), _BYTES_A_PIXEL * height * width + _LONGEST_HEADER)
        assert isinstance(data, bytes)
        try:
            mask = decoder.decode(data)[0]
        except ImageError as error:
            if error.reason == "too_large":
                raise ImageError("unsupported", f"{paths[0].name} is larger than the image") from None
            raise
        finally:
            decoder.release()
        if mask.shape[2] not in _WITHOUT_ALPHA:
            raise ImageError("unsupported", f"{paths[0].name} has {mask.shape[2]} channels; a mask is grey or RGB")
        return np.asarray(mask.any(axis=2))
