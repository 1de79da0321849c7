"""Results that version 0.1.0 saved, in version 1 of the format: read as the same numbers in today's form."""

from __future__ import annotations

from typing import Any

from gpustats.errors import DataError

__all__ = ["from_version_1"]

_DTYPES = {255: "uint8", 65535: "uint16"}
_SCALARS = ("images", "pixels", "height_min", "height_max", "width_min", "width_max", "key_hash")
_BOTH = ("min", "max", "image_mean", "image_std", "image_std_unbiased", "image_var")
_INTEGERS = (*_BOTH, "sum", "sumsq", "image_mean_sq")
_FLOATS = (*_BOTH, "mean", "deviation", "image_mean_deviation")


def from_version_1(data: dict[str, Any]) -> dict[str, Any]:
    """Return the same result in the present format.

    Version 1 counted pixels and images once for all channels, and had integers or float moments under names of their
    own.

    Raises
    ------
    DataError
        Where something is missing.
    """
    try:
        exact = data.get("exact", True) is True
        old = data["integers" if exact else "moments"]
        channels = old["channels"]
        totals = {name: old[name] for name in _SCALARS}
        totals |= {"kind": None, "statistics": ["moments"], "left_out": []}
        if channels and totals["images"]:
            totals["kind"] = {
                "channels": channels,
                "dtype": _DTYPES.get(old["max_value"], "unknown") if exact else "float64",
            }
            totals["moments"] = {
                "n": [old["pixels"]] * channels,
                "images": [old["images"]] * channels,
                "images_unbiased": [old["images_unbiased"]] * channels,
                **{name: old[name] for name in (_INTEGERS if exact else _FLOATS)},
            }
        return {**data, "definition": {**data["definition"], "statistics": ["moments"]}, "totals": totals}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the result is incomplete or damaged: {error!r}") from None
