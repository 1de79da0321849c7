"""The result: every definition of mean and std, derived from exact integers only when read."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats import __version__, display
from gpustats.derive import derive
from gpustats.errors import DataError, MergeError
from gpustats.failures import FailureLog
from gpustats.float_moments import FloatAccumulator
from gpustats.moments import Accumulator
from gpustats.totals import natural

__all__ = ["Definition", "PerImage", "Stats", "merge"]

F64 = NDArray[np.float64]

FORMAT = "gpustats.stats"
FORMAT_VERSION = 1

UNNAMED = "unnamed"
"""The colour order of arrays whose channels have no letter."""


def color_order(channels: int) -> str:
    """Return the colour order of images of so many channels: what a decoder gives, or the custom for arrays."""
    return {0: "RGB", 1: "L", 3: "RGB"}.get(channels, UNNAMED)


@dataclass(frozen=True, slots=True)
class Definition:
    """What the numbers of a result are numbers of. Results with different definitions cannot be added.

    Attributes
    ----------
    color_order : str
        The order of the channels: ``"RGB"``, ``"L"`` for one channel, ``"unnamed"`` for arrays of another number.
    transform : str
        What was done to an image between decoding and measuring.
    exif_transpose : bool
        Whether images were turned as their EXIF orientation says.
    frame : int
        The frame of an animation that counts.
    """

    color_order: str = "RGB"
    transform: str = "none"
    exif_transpose: bool = False
    frame: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, data: Any) -> Definition:
        """Read what `to_dict` wrote; raise `DataError` for anything else."""
        expected = cls().to_dict()
        if (
            not isinstance(data, dict)
            or data.keys() != expected.keys()
            or any(type(data[name]) is not type(value) for name, value in expected.items())
        ):
            raise DataError(f"'definition' should hold {', '.join(expected)}, got {data!r:.200}")
        return cls(**data)


@dataclass(frozen=True, slots=True, eq=False)
class PerImage:
    """Numbers averaged over images, each image with the same weight whatever its size: the 'weak' method.

    Attributes
    ----------
    mean : ndarray of float64, shape (C,)
        Average over images of the image's mean.
    std : ndarray of float64, shape (C,)
        Average over images of the image's standard deviation with ddof=0.
    std_unbiased : ndarray of float64, shape (C,)
        The same with ddof=1, as ``torch.std`` has it. Images of a single pixel have none and are left out.
    rms_std : ndarray of float64, shape (C,)
        Square root of the average over images of the image's variance (ddof=0).
    """

    mean: F64
    std: F64
    std_unbiased: F64
    rms_std: F64


@dataclass(frozen=True, slots=True, eq=False)
class Stats:
    """Statistics of an image dataset. All numbers are on [0, 1] (x/255), as torchvision's ``ToTensor`` gives values.

    Attributes
    ----------
    totals : Accumulator or FloatAccumulator
        The integers that everything else is derived from; for float images float64 moments.
    definition : Definition
        Colour order, transform and the like.
    failures : FailureLog
        The images that could not be read: ``len(stats.failures)``, ``for failure in stats.failures``.
    skipped : Mapping of str to int
        What lay among the images and was passed over, by kind: ``{"non_image": 12, "hidden": 1}``.
    runs : tuple of dict
        How the numbers came about: one entry a run with source, engine, decoders, versions, device and time.
    complete : bool
        False where the run was interrupted.
    scale : Fraction
        The value that 1.0 of [0, 1] is shown as; see `scaled`.
    """

    totals: Accumulator | FloatAccumulator
    definition: Definition = field(default_factory=Definition)
    failures: FailureLog = field(default_factory=FailureLog)
    skipped: Mapping[str, int] = field(default_factory=dict)
    runs: tuple[dict[str, Any], ...] = ()
    complete: bool = True
    scale: Fraction = Fraction(1)

    @property
    def n_images(self) -> int:
        """Images measured."""
        return self.totals.images

    @property
    def n_pixels(self) -> int:
        """Pixels measured (height times width, summed over images)."""
        return self.totals.pixels

    @property
    def height_range(self) -> tuple[int, int]:
        """Smallest and largest height of an image, in pixels."""
        return self.totals.height_min, self.totals.height_max

    @property
    def width_range(self) -> tuple[int, int]:
        """Smallest and largest width of an image, in pixels."""
        return self.totals.width_min, self.totals.width_max

    @property
    def exact(self) -> bool:
        """Whether the numbers come from exact integers; False for float images, whose sums depend on order."""
        return isinstance(self.totals, Accumulator)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels: the letters of the colour order, "0", "1", ... where it is unnamed."""
        count, order = self.totals.channels, self.definition.color_order
        if count and order == UNNAMED:
            return tuple(str(i) for i in range(count))
        return tuple(order)

    @property
    def mean(self) -> F64:
        """Mean over all pixels of all images, per channel; float64, shape (C,)."""
        return self._derived("mean")

    @property
    def std(self) -> F64:
        """Standard deviation over all pixels of all images (ddof=0), per channel; float64, shape (C,).

        The 'strong' method, and what ``Normalize`` should get: ``sqrt(E[x^2] - E[x]^2)``, with
        ``n * sum(x^2) - sum(x)^2`` subtracted in integers, then one division and one square root.
        """
        return self._derived("std")

    @property
    def std_unbiased(self) -> F64:
        """As `std` with ddof=1; NaN where there are fewer than two pixels."""
        return self._derived("std_unbiased")

    @property
    def per_image(self) -> PerImage:
        """Averages over images, the 'weak' method; see `PerImage`."""
        names = ("image_mean", "image_std", "image_std_unbiased", "image_rms_std")
        return PerImage(*(self._derived(name) for name in names))

    @property
    def std_of_means(self) -> F64:
        """Standard deviation over images (ddof=0) of the image means: how much images differ from each other."""
        return self._derived("std_of_means")

    @property
    def min(self) -> F64:
        """Smallest value of each channel; float64, shape (C,)."""
        return self._derived("min")

    @property
    def max(self) -> F64:
        """Largest value of each channel; float64, shape (C,)."""
        return self._derived("max")

    def _derived(self, name: str) -> F64:
        values = derive(self.totals, name, self.scale)
        values.flags.writeable = False
        return values

    def scaled(self, scale: float | Fraction) -> Stats:
        """Return the same result with values on [0, `scale`]: ``stats.scaled(255)`` for pixel values.

        Raises
        ------
        ValueError
            Where `scale` is not positive and finite.
        """
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale should be a positive number such as 255, got {scale!r}")
        return replace(self, scale=Fraction(scale))

    def __add__(self, other: object) -> Stats:
        """Pool two results, as if their images had been read in one run."""
        return merge([self, other]) if isinstance(other, Stats) else NotImplemented

    def __repr__(self) -> str:
        return display.text(self)

    def _repr_html_(self) -> str:
        return display.html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return every number, the provenance and the integers in plain containers (floats, ints, lists, str).

        NaN (an empty result) is given as None, so that the JSON is valid for every reader.
        """
        per_image = self.per_image
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "gpustats": __version__,
            "complete": self.complete,
            "images": self.n_images,
            "pixels": self.n_pixels,
            "exact": self.exact,
            "channels": list(self.channels),
            "scale": str(self.scale),
            "mean": _plain(self.mean),
            "std": _plain(self.std),
            "std_unbiased": _plain(self.std_unbiased),
            "per_image": {name: _plain(getattr(per_image, name)) for name in PerImage.__slots__},
            "std_of_means": _plain(self.std_of_means),
            "min": _plain(self.min),
            "max": _plain(self.max),
            "height_range": list(self.height_range),
            "width_range": list(self.width_range),
            "definition": self.definition.to_dict(),
            "failures": self.failures.to_dict(),
            "skipped": dict(sorted(self.skipped.items())),
            "runs": list(self.runs),
            "integers" if self.exact else "moments": self.totals.to_dict(),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON text. Integers are written in full; a reader must not turn them into floats."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON to `path`, whole or not at all; `Stats.load` reads it back exactly."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(self.to_json() + "\n", encoding="utf-8")
            os.replace(temporary, target)
        except OSError as error:
            raise DataError(f"{target}: cannot be written: {error.strerror}") from None
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Stats:
        """Read a result that `save` wrote.

        Raises
        ------
        DataError
            Where the file is missing, no result of gpustats, of a newer version, or damaged.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DataError(f"{os.fspath(path)}: not a gpustats result (it is not text)") from None
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise DataError(f"{os.fspath(path)}: not a gpustats result (no JSON: {error})") from None
        except DataError as error:
            raise DataError(f"{os.fspath(path)}: {error}") from None

    @classmethod
    def from_dict(cls, data: Any) -> Stats:
        """Read what `to_dict` returned. Only the integers count; the derived numbers are derived anew."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise DataError(f'not a gpustats result (no "format": "{FORMAT}")')
        if data.get("version") != FORMAT_VERSION:
            raise DataError(
                f"written in version {data.get('version')!r} of the result format, this gpustats ({__version__}) reads "
                f"version {FORMAT_VERSION}; update gpustats"
            )
        try:
            skipped = {str(k): natural(v, k) for k, v in data["skipped"].items()}
            runs = tuple(dict(run) for run in data["runs"])
            scale = Fraction(data["scale"])
            definition, failures, complete = data["definition"], data["failures"], data["complete"]
            totals: Accumulator | FloatAccumulator
            if data.get("exact", True) is True:
                totals = Accumulator.from_dict(data["integers"])
            else:
                totals = FloatAccumulator.from_dict(data["moments"])
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise DataError(f"the result is incomplete or damaged: {error!r}") from None
        if scale <= 0 or not isinstance(complete, bool):
            raise DataError(f"the result is damaged: scale {scale}, complete {complete!r}")
        return cls(
            totals=totals,
            definition=Definition.from_dict(definition),
            failures=FailureLog.from_dict(failures),
            skipped=skipped,
            runs=runs,
            complete=complete,
            scale=scale,
        )


def merge(results: Iterable[Stats]) -> Stats:
    """Pool results, as if all their images had been read in one run: bit-identical to that, in any order.

    Parameters
    ----------
    results : iterable of Stats
        At least one; the scale shown is the first one's.

    Raises
    ------
    MergeError
        Where there is none, or two have different definitions or bit depths.

    Examples
    --------
    >>> import gpustats
    >>> first, second = gpustats.Stats(gpustats.Accumulator()), gpustats.Stats(gpustats.Accumulator())
    >>> gpustats.merge([first, second]).n_images
    0
    """
    parts = list(results)
    if not parts:
        raise MergeError("nothing to merge: give at least one result")
    first = next((part for part in parts if part.n_images), parts[0])
    totals: Accumulator | FloatAccumulator = Accumulator() if first.exact else FloatAccumulator()
    failures = FailureLog()
    skipped: Counter[str] = Counter()
    runs: list[dict[str, Any]] = []
    for part in parts:
        if part.n_images and part.definition != first.definition:
            raise MergeError(
                f"results of different definitions cannot be pooled: {first.definition} and {part.definition}"
            )
        totals.merge(part.totals)  # type: ignore[arg-type]  # integers with floats: the accumulator says no
        failures = failures.merged(part.failures)
        skipped.update(part.skipped)
        runs.extend(part.runs)
    return replace(
        first,
        totals=totals,
        failures=failures,
        skipped=dict(skipped),
        runs=tuple(runs),
        complete=all(part.complete for part in parts),
    )


def _plain(values: F64) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]
