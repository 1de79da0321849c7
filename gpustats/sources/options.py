"""The options of `compute` that say how a source is to be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from gpustats.errors import DataError, OptionError
from gpustats.failures import printable
from gpustats.install import pip_install
from gpustats.wording import named

__all__ = ["LAYOUTS", "Layout", "SourceOptions", "missing_extra"]

Layout = Literal["auto", "HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"]
LAYOUTS: tuple[str, ...] = get_args(Layout)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read a source; what each means is documented in `gpustats.compute`.

    Attributes
    ----------
    column, feature, group, root : str, optional
        None: found by name or type.
    suffixes : tuple of str, optional
        Endings of images that are named without them; by default those of all formats.
    layout : str
        One of `LAYOUTS`.
    picked : int or callable, optional
        `column` of `gpustats.compute` where it is no name: the position of the image in an element, or a function.
    repeats : {"once", "count"}
        How often a file counts that is named more than once.
    color_order : str, optional
        A letter for each channel of arrays.
    storage_options : mapping, optional
        For the fsspec file system of a URL. Never shown.
    max_bytes : int
        The most that a source may read into memory for one image.
    """

    column: str | None = None
    feature: str | None = None
    group: str | None = None
    root: str | None = None
    suffixes: tuple[str, ...] | None = None
    layout: str = "auto"
    picked: int | Callable[[Any], Any] | None = None
    repeats: str = "once"
    color_order: str | None = None
    storage_options: Mapping[str, Any] | None = None
    max_bytes: int = 1 << 32

    def __post_init__(self) -> None:
        for name in ("column", "feature", "group", "root"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise OptionError(f"{named(name)} should be a name or None, got {value!r}")
        if self.picked is not None and (
            isinstance(self.picked, bool) or not (isinstance(self.picked, int) or callable(self.picked))
        ):
            raise OptionError(
                f"{named('column')} should be a name, a position, a function or None, got {self.picked!r}"
            )
        if self.suffixes is not None and not (self.suffixes and all(isinstance(s, str) and s for s in self.suffixes)):
            raise OptionError(f"{named('suffixes')} should be endings such as '.jpg', got {self.suffixes!r}")
        if self.layout not in LAYOUTS:
            raise OptionError(f"{named('layout')} should be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        order = self.color_order
        if order is not None and not (isinstance(order, str) and order.isalpha() and len(set(order)) == len(order)):
            raise OptionError(f"{named('color_order')} should be a letter for each channel, such as BGR, got {order!r}")
        if self.repeats not in ("once", "count"):
            raise OptionError(f"{named('repeats')} should be 'once' or 'count', got {self.repeats!r}")
        if self.storage_options is not None and not isinstance(self.storage_options, Mapping):
            raise OptionError(f"{named('storage_options')} should be a dict, got {type(self.storage_options).__name__}")

    @classmethod
    def of(
        cls,
        *,
        column: str | int | Callable[[Any], Any] | None,
        root: str | os.PathLike[str] | None,
        suffixes: str | Sequence[str] | None,
        **others: Any,
    ) -> SourceOptions:
        """Return the options for arguments as the user gave them."""
        return cls(
            suffixes=(suffixes,) if isinstance(suffixes, str) else None if suffixes is None else tuple(suffixes),
            column=column if isinstance(column, str) else None,
            picked=None if isinstance(column, str) else column,
            root=None if root is None else os.fspath(root),
            **others,
        )

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
