"""The options of `compute` that say how a source is to be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from gpustats.errors import DataError
from gpustats.failures import printable
from gpustats.install import pip_install

__all__ = ["LAYOUTS", "SourceOptions", "missing_extra"]

LAYOUTS = ("auto", "HW", "HWC", "CHW", "NHW", "NHWC", "NCHW")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read a source; what each means is documented in `gpustats.compute`.

    Attributes
    ----------
    column, feature, group, root : str, optional
        None: found by name or type.
    layout : str
        One of `LAYOUTS`.
    picked : int or callable, optional
        `column` of `gpustats.compute` where it is no name: the position of the image in an element, or a function.
    repeats : {"once", "count"}
        How often a file counts that is named more than once.
    storage_options : mapping, optional
        For the fsspec file system of a URL. Never shown.
    max_bytes : int
        The most that a source may read into memory for one image.
    """

    column: str | None = None
    feature: str | None = None
    group: str | None = None
    root: str | None = None
    layout: str = "auto"
    picked: int | Callable[[Any], Any] | None = None
    repeats: str = "once"
    storage_options: Mapping[str, Any] | None = None
    max_bytes: int = 1 << 32

    def __post_init__(self) -> None:
        for name in ("column", "feature", "group", "root"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"{name} should be a name or None, got {value!r}")
        if self.picked is not None and (
            isinstance(self.picked, bool) or not (isinstance(self.picked, int) or callable(self.picked))
        ):
            raise ValueError(f"column should be a name, a position, a function or None, got {self.picked!r}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout should be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        if self.repeats not in ("once", "count"):
            raise ValueError(f"repeats should be 'once' or 'count', got {self.repeats!r}")
        if self.storage_options is not None and not isinstance(self.storage_options, Mapping):
            raise ValueError(f"storage_options should be a dict, got {type(self.storage_options).__name__}")

    @property
    def given(self) -> frozenset[str]:
        """Names of the options that the user set."""
        given = {field.name for field in fields(self) if getattr(self, field.name) != field.default}
        return frozenset(given - {"max_bytes"})


def missing_extra(label: str, what: str, package: str, extra: str) -> DataError:
    """Return the error for a package that is not installed, with the line that mends it."""
    return DataError(
        f"{printable(label)}: reading {what} needs the package {package}; install it with: " + pip_install(extra)
    )
