"""Which axis of an array is what.

With ``layout="auto"`` an axis of 1, 3 or 4 counts as channels:

====================  =========================================================================================
axes                  taken for
====================  =========================================================================================
2                     HW: one image of one channel
3, channels last      HWC: one image
3, channels first     CHW: one image
3, no channel axis    NHW: images of one channel, where the last two are equal and the first is not; else an error
4, channels last      NHWC
4, channels second    NCHW
====================  =========================================================================================

Where both positions could be channels, a PyTorch tensor is channels first, as torchvision has it, and any other array
is an error that asks for ``layout=``. Where neither could, it is an error too.
"""

from __future__ import annotations

from typing import Any

from gpustats.errors import DataError

__all__ = ["image_view", "may_hold_images", "resolve"]

_CHANNELS = (1, 3, 4)
_AXES = {2: ("HW",), 3: ("HWC", "CHW", "NHW"), 4: ("NHWC", "NCHW")}


def resolve(shape: tuple[int, ...], layout: str, label: str, channels_first: bool = False) -> str:
    """Return the layout of an array of a given shape.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    layout : str
        What the user says, or "auto".
    label : str
        What it is, for the error.
    channels_first : bool
        What to take it for where both ends could be channels.

    Raises
    ------
    DataError
        Where the shape has not the axes of the layout, or is ambiguous.

    Examples
    --------
    >>> resolve((60000, 28, 28), "auto", "x"), resolve((8, 3, 32, 32), "auto", "x")
    ('NHW', 'NCHW')
    """
    if layout != "auto":
        if len(layout) == len(shape) or (layout[:1] == "N" and len(layout) - 1 == len(shape)):
            return layout if len(layout) == len(shape) else layout[1:]
        if "N" + layout in _AXES.get(len(shape), ()):
            return "N" + layout
        raise DataError(f"{label}: an array of shape {shape} has not the axes of layout={layout!r}")
    if len(shape) not in _AXES:
        raise DataError(f"{label}: an array of shape {shape} is no image and no batch of images")
    if len(shape) == 2:
        return "HW"
    last, first = shape[-1] in _CHANNELS, shape[-3] in _CHANNELS
    candidates = ("HWC", "CHW") if len(shape) == 3 else ("NHWC", "NCHW")
    if first and (channels_first or not last):
        return candidates[1]
    if last and not first:
        return candidates[0]
    if not last and len(shape) == 3 and shape[1] == shape[2] != shape[0]:
        return "NHW"
    problem = "two axes could be" if last and first else "no axis looks like"
    raise DataError(
        f"{label}: {problem} the channels in shape {shape}; say which with layout=, one of "
        f"{', '.join(repr(name) for name in _AXES[len(shape)])}"
    )


def may_hold_images(shape: tuple[int, ...], layout: str) -> bool:
    """Say whether an array of a given shape may be images, by its axes; where it leaves a choice, it may."""
    if layout != "auto":
        return len(shape) in (len(layout), len(layout) - layout.startswith("N"), len(layout) + (layout[0] != "N"))
    if len(shape) not in (3, 4):
        return False
    return shape[-1] in _CHANNELS or shape[-3] in _CHANNELS or (len(shape) == 3 and shape[1] == shape[2])


def image_view(image: Any, layout: str) -> Any:
    """Return one image as (H, W) or (H, W, C): a view."""
    return image.transpose(1, 2, 0) if layout.removeprefix("N") == "CHW" else image
