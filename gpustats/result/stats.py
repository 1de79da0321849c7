"""The result: every definition of mean and std, derived from exact integers only when read."""

from __future__ import annotations

import functools
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpustats.definition import Definition, channel_names
from gpustats.errors import DataError, MergeError
from gpustats.failures import FailureLog
from gpustats.result import html, stored, text
from gpustats.result.derived import Derived
from gpustats.result.groups import Groups, rows_of
from gpustats.result.normalization import scale_words
from gpustats.result.saving import write_text
from gpustats.result.value_range import range_hint, seen_range
from gpustats.statistics import catalogue, for_kind
from gpustats.statistics.base import Kind, Number
from gpustats.statistics.duplicates import Contents, Duplicates
from gpustats.statistics.grouped import Grouped
from gpustats.statistics.totals import Totals

if TYPE_CHECKING:
    from gpustats.result.comparison import Comparison
    from gpustats.result.estimate import Estimate
    from gpustats.result.outliers import Outliers
    from gpustats.result.presets import Preset

__all__ = ["Namespace", "Stats", "merge"]


class Namespace:
    """Some numbers of a result under a common name, such as ``stats.per_image``.

    ``stats.per_image`` holds averages over images, each image with the same weight whatever its size.
    """

    def __init__(self, stats: Stats, name: str) -> None:
        self._stats = stats
        self._name = name

    def __getattr__(self, name: str) -> NDArray[Any]:
        return self._stats.number(f"{self._name}.{name}")

    def __dir__(self) -> list[str]:
        prefix = self._name + "."
        return [name[len(prefix) :] for name in self._stats.numbers() if name.startswith(prefix)]


@dataclass(frozen=True, slots=True, eq=False)
class Stats(Derived):
    """Statistics of an image dataset. All numbers are on [0, 1] (x/255), as torchvision's ``ToTensor`` gives values.

    The derived numbers are attributes: ``stats.mean``, ``stats.std``, ``stats.per_image.std`` and the others in
    `numbers`, each a new array. They are derived when they are read.

    Attributes
    ----------
    totals : Totals
        The integers that everything else is derived from; for float images float64 moments.
    definition : Definition
        Colour order, transform and the like.
    failures : FailureLog
        The images that could not be read: ``len(stats.failures)``, ``stats.failures[0]``.
    skipped : Mapping of str to int
        What lay among the images and was passed over, by kind: ``{"non_image": 12, "hidden": 1}``.
    runs : tuple of dict
        How the numbers came about: one entry a run with source, engine, decoders, versions, device and time.
    complete : bool
        False where the run was interrupted.
    scale : Fraction
        The value that 1.0 of [0, 1] is shown as; see `scaled`.
    grouped : Grouped or None
        The totals by group, where they were asked for; read them as `groups`.
    image_table : pyarrow.Table, optional
        A row for every image, where ``per_image=True`` was given. It is neither saved nor pooled.
    left_out : tuple of str
        What some of the pooled results had, and some had not: ``"groups"``.
    estimate : Estimate or None
        How many images were drawn, and of how many, where only a sample was read; None where every image was. Print it.
    duplicates : Duplicates or None
        Images with the same content, where ``duplicates=True`` was given. A result that was loaded from a file has no
        hashes, so results can be pooled with their duplicates before they are saved.
    """

    totals: Totals = field(default_factory=Totals)
    definition: Definition = field(default_factory=Definition)
    failures: FailureLog = field(default_factory=FailureLog)
    skipped: Mapping[str, int] = field(default_factory=dict)
    runs: tuple[dict[str, Any], ...] = ()
    complete: bool = True
    scale: Fraction = Fraction(1)
    grouped: Grouped | None = None
    left_out: tuple[str, ...] = ()
    image_table: Any = None
    estimate: Estimate | None = None
    duplicates: Duplicates | None = None

    @property
    def groups(self) -> Groups:
        """The results by group: ``stats.groups["cat"].mean``; ``""`` is the group of images that have none.

        Each is a `Stats` of the images of the group. Failures have no group, so they are listed in the whole alone.
        """
        alone = replace(
            self, grouped=None, left_out=(), image_table=None, failures=FailureLog(), skipped={}, duplicates=None
        )
        return Groups(self.grouped, lambda totals: replace(alone, totals=totals))

    @property
    def n_images(self) -> int:
        """Images measured."""
        return self.totals.images

    @property
    def n_pixels(self) -> int:
        """Pixels measured (height times width, summed over images)."""
        return self.totals.pixels

    @property
    def valid_share(self) -> NDArray[np.float64]:
        """Share of the pixels of each channel that count, of shape (C,): less than 1 where values are missing."""
        counts = self.totals["moments"]["n"] if self.n_pixels else []
        return np.array([count / self.n_pixels for count in counts])

    @property
    def is_estimate(self) -> bool:
        """Whether the numbers are estimates, from a sample of the images."""
        return self.estimate is not None and not self.estimate.whole

    @property
    def height_range(self) -> tuple[int, int]:
        """Smallest and largest height of an image, in pixels."""
        return self.totals.height_min, self.totals.height_max

    @property
    def width_range(self) -> tuple[int, int]:
        """Smallest and largest width of an image, in pixels."""
        return self.totals.width_min, self.totals.width_max

    @property
    def value_range(self) -> float | None:
        """The pixel value that is shown as 1.0: 255 or 65535, or what the user or the files said.

        None where values are taken as they are: floats, signed and 32-bit integers of which nobody said it.
        """
        return None if self.totals.kind is None else self.totals.kind.max_value or None

    @property
    def exact(self) -> bool:
        """Whether the numbers come from exact integers; False for float images, whose sums depend on order."""
        return self.totals.exact

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels: the letters of the colour order, "0", "1", ... where it is unnamed."""
        kind, order = self.totals.kind, self.definition.color_order
        return tuple(order) if kind is None else channel_names(kind.channels, order)

    def numbers(self) -> dict[str, Number]:
        """Return the derived numbers that this result has, by name: ``mean``, ``per_image.std`` and so on."""
        found = catalogue(self.totals.statistics, self.totals.kind)
        return {name: number for name, (_, number) in found.items()}

    def number(self, name: str) -> NDArray[Any]:
        """Return a derived number.

        Parameters
        ----------
        name : str
            One of `numbers`; ``stats.mean`` is ``stats.number("mean")``.

        Returns
        -------
        ndarray
            Of shape (C,) for most; NaN where there is too little data, and empty where there are no images.

        Raises
        ------
        AttributeError
            Where there is no such number, or its statistic was not computed.
        """
        statistic, number = catalogue(None).get(name, (None, None))
        if number is None or statistic is None:
            raise AttributeError(f"a result has no number {name!r}; it has {', '.join(self.numbers())}")
        kind = self.totals.kind
        if kind is not None and statistic in self.totals.statistics:
            number = self.numbers().get(name)
            if number is None:
                raise AttributeError(
                    f"{name!r} is not known of images with {kind}; the {statistic} of these has "
                    f"{', '.join(catalogue((statistic,), kind))}"
                )
        return self.evaluate(statistic, number)

    def evaluate(self, statistic: str, number: Number) -> NDArray[Any]:
        """Return a number that is derived from a statistic, in the scale of the result.

        Raises
        ------
        AttributeError
            Where the statistic was not computed.
        """
        if statistic not in self.totals.statistics:
            raise AttributeError(
                f"{number.name!r} was not computed: it needs statistics=[{statistic!r}]"
                + (" in every result that was pooled" if statistic in self.totals.left_out else "")
            )
        kind = self.totals.kind
        if kind is None:
            # A length that is a name differs between results.
            lengths = [int(size) if size.isdecimal() else 0 for size in number.shape]
            return np.full(lengths, np.nan if number.dtype == "float64" else 0, number.dtype)
        (measured,) = for_kind((statistic,), kind)
        return number.evaluate(measured.view(self.totals[statistic]), self._unit(kind))

    def _unit(self, kind: Kind) -> Fraction:
        """Return what a pixel value of 1 is shown as."""
        return self.scale if kind.as_is else self.scale / Fraction(kind.max_value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in _FIELDS:
            raise AttributeError(name)
        if any(known.startswith(name + ".") for known in catalogue()):
            return Namespace(self, name)
        return self.number(name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *(name.partition(".")[0] for name in self.numbers())})

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

    def export(self, name: str, *, scale: float | None = None, bgr: bool = False) -> str:
        """Return mean and std as text to paste, in the syntax of a library.

        Parameters
        ----------
        name : str
            One of `gpustats.EXPORTS`: ``"torchvision"``, ``"keras"``, ``"mmdetection"`` and so on.
        scale : float, optional
            The scale of the values that the text is for, where that is not what the library is used with: 255 for
            pixel values of 8 bits.
        bgr : bool
            Whether the text is for images in the order BGR.

        Returns
        -------
        str
            Python, except for ``"lerobot"``, which is JSON. Numbers have nine significant digits.

        Raises
        ------
        DataError
            For an unknown name, and where the library cannot take this result: too many or few channels, 16 bits, a
            channel that is constant, no images.

        Examples
        --------
        >>> import gpustats, numpy
        >>> stats = gpustats.compute(numpy.arange(12, dtype="uint8").reshape(1, 2, 2, 3), progress=False)
        >>> print(stats.export("plain", scale=255))
        # RGB, values on [0, 255]; mean and std of all pixels of 1 image
        mean = [4.5, 5.5, 6.5]
        std = [3.35410197, 3.35410197, 3.35410197]
        """
        from gpustats.result import exports

        return exports.text(name, self, scale=scale, bgr=bgr)

    def to(self, name: str, *, scale: float | None = None, bgr: bool = False) -> Any:
        """Return the object of a library that normalizes with these numbers: ``stats.to("torchvision")``.

        Where a library takes plain values, these are returned: a dict, or arrays of mean and std. The parameters are
        those of `export`.

        Raises
        ------
        DataError
            As `export` does, and where the library is not installed.

        Examples
        --------
        >>> import gpustats, numpy
        >>> stats = gpustats.compute(numpy.arange(12, dtype="uint8").reshape(1, 2, 2, 3), progress=False)
        >>> stats.to("plain", scale=255)[0]
        [4.5, 5.5, 6.5]
        """
        from gpustats.result import exports

        return exports.build(name, self, scale=scale, bgr=bgr)

    def outliers(self, k: int = 10, table: str | os.PathLike[str] | None = None) -> Outliers:
        """Return the images at each end of the table of images: the brightest, darkest, flattest, largest and so on.

        Parameters
        ----------
        k : int
            How many of each.
        table : path-like, optional
            The file that ``per_image=`` wrote; by default `image_table`, which ``per_image=True`` gives.

        Returns
        -------
        Outliers
            Lists of (key, value) by name, and in ``alike`` images with the same size and numbers. Print it.

        Raises
        ------
        DataError
            Where there is no table, or it cannot be read.
        OptionError
            Where `k` is no integer from 1.

        Examples
        --------
        >>> import gpustats, numpy
        >>> images = numpy.arange(5, dtype="uint8")[:, None, None, None] * numpy.ones((1, 8, 8, 3), "uint8")
        >>> gpustats.compute(images, per_image=True, progress=False).outliers(1)["brightest"][0].key
        '4'
        """
        from gpustats.result.outliers import outliers

        if table is None and self.image_table is None:
            raise DataError("outliers are found in the table of images: compute with per_image=True, or name its file")
        return outliers(self.image_table if table is None else table, k)

    def compare(self, other: Stats | Preset | str | os.PathLike[str]) -> Comparison:
        """Compare with another result, a file of one, or a preset: ``stats.compare("imagenet")``.

        See `gpustats.compare`.
        """
        from gpustats.result.comparison import comparison
        from gpustats.result.sides import side_of

        return comparison(side_of(self, Stats.load, "this result"), side_of(other, Stats.load, "the other"))

    def __add__(self, other: object) -> Stats:
        """Pool two results, as if their images had been read in one run."""
        return merge([self, other]) if isinstance(other, Stats) else NotImplemented

    def __radd__(self, other: object) -> Stats:
        """Return the result itself for ``0 + stats``, with which ``sum(results)`` begins."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        """Return whether two results say the same: the same integers, failures and scale, from whatever runs."""
        if not isinstance(other, Stats):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS - {"runs"})

    __hash__ = None  # type: ignore[assignment]  # what compares by its content may hold lists

    def __repr__(self) -> str:
        listed = text.listed(self.failures)
        return self.to_text() + (f"\n\n{listed}" if listed else "")

    def _repr_html_(self) -> str:
        return html.table(
            self._facts(), self._table(), self.failures, self.channels, self._group_table(), self.normalize_line()
        )

    def to_text(self) -> str:
        """Return the table that `repr` shows, without the list of failures; 80 columns wide."""
        return text.table(self._facts(), self._table(), self.channels, self._group_table())

    def _group_table(self) -> text.GroupTable | None:
        return None if self.grouped is None else text.GroupTable(*rows_of(self.groups), len(self.grouped))

    def table(self, form: Literal["csv", "markdown"]) -> str:
        """Return the numbers that have a value a channel as a table: CSV with all digits, or Markdown.

        Raises
        ------
        ValueError
            For another form.
        """
        write = {"csv": text.csv, "markdown": text.markdown}.get(form)
        if write is None:
            raise ValueError(f"form should be 'csv' or 'markdown', got {form!r}")
        return write(self._facts(), self._table(), self.channels)

    def normalize_line(self) -> str:
        """Return the line of torchvision for this mean and std, for values on [0, 1]; "" where there are no images.

        >>> import gpustats, numpy
        >>> images = numpy.full((2, 8, 8, 3), 51, numpy.uint8)
        >>> gpustats.compute(images).normalize_line()
        'transforms.Normalize(mean=[0.200000, 0.200000, 0.200000], std=[0.000000, 0.000000, 0.000000])'
        """
        unit = self.scaled(1)
        line = text.normalize_line(unit.mean, unit.std) if self.n_images else ""
        return f"{line}  # {self.estimate}" if line and self.is_estimate else line

    def _facts(self) -> list[str]:
        """Return what a table says above the numbers."""
        t = self.totals
        facts = [text.counted(t.images, t.pixels, self.width_range, self.height_range)]
        facts += [] if self.estimate is None else self.estimate.facts()
        scale = scale_words(t.kind, str(self.scale))
        if not self.exact:
            scale += f", {seen_range(self.number)} (not bit-exact)"
        facts.append(f"{self.definition.color_order}, {scale}, transform: {self.definition.transform}")
        hint = range_hint(t.kind, self.scaled(1).number)
        facts += [hint] if hint else []
        if (self.valid_share < 1).any():
            facts.append(text.valid(self.valid_share.tolist(), self.channels))
        if t.kind is not None:
            for statistic in for_kind(t.statistics, t.kind):
                facts += statistic.facts(t[statistic.name], self._unit(t.kind))
        if "sizes" in t.parts:
            facts += self.sizes.facts()
        if self.duplicates is not None:
            facts += text.duplicates(self.duplicates.images, self.duplicates.copies, self.duplicates.listed)
        left_out = [*dict.fromkeys((*t.left_out, *self.left_out))]
        return facts + text.provenance(self.runs, self.complete, left_out, self.failures, self.skipped)

    def _table(self) -> list[tuple[str, NDArray[Any], str]]:
        """Return name, values and meaning of every number that has a value a channel."""
        if not self.n_images:
            return []
        shown = [number for number in self.numbers().values() if number.in_table]
        rows = [(number.name, self.number(number.name), number.says) for number in shown]
        if self.is_estimate and self.complete and self.estimate is not None and self.estimate.even:
            rows[2:2] = [
                (f"{name}.half_width", self.half_width(name), f"95%, of this {name}") for name in ("mean", "std")
            ]
        return rows

    def to_pandas(self) -> Any:
        """Return the numbers that have a value a channel as a pandas DataFrame: a row a number, a column a channel.

        Raises
        ------
        ImportError
            Where pandas is not installed.

        Examples
        --------
        >>> import gpustats, numpy
        >>> stats = gpustats.compute(numpy.full((2, 8, 8, 3), 51, numpy.uint8))
        >>> stats.to_pandas().loc["mean", "G"]  # doctest: +SKIP
        0.2
        """
        import pandas

        names = [name for name, number in self.numbers().items() if number.shape == ("C",)] if self.n_images else []
        rows = [self.number(name) for name in names]
        return pandas.DataFrame(rows, index=names, columns=list(self.channels), dtype="float64")

    def to_dict(self) -> dict[str, Any]:
        """Return every number, the provenance and the integers in plain containers (floats, ints, lists, str).

        NaN (an empty result) is given as None, so that the JSON is valid for every reader.
        """
        return stored.to_dict(self)

    def to_json(self) -> str:
        """Return `to_dict` as JSON text. Integers are written in full; a reader must not turn them into floats."""
        return "".join(stored.chunks(self))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON to `path`; `Stats.load` reads it back exactly.

        A file is replaced when the result is written whole, and keeps its mode; a symbolic link is followed. A named
        pipe, a device or ``/dev/stdout`` is written as a stream.

        Raises
        ------
        DataError
            Where it cannot be written.
        """
        write_text(path, lambda: chain(stored.chunks(self), ["\n"]))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Stats:
        """Read a result that `save` wrote.

        Raises
        ------
        DataError
            Where the file is missing, no result of gpustats, of a newer version, or damaged.
        """
        return stored.load(path, cls.from_dict)

    @classmethod
    def from_dict(cls, data: Any) -> Stats:
        """Read what `to_dict` returned. Only the totals count; the derived numbers are computed again.

        Raises
        ------
        DataError
            Where it is no result, of a newer version, or damaged; also where the totals were rounded or edited.
        """
        return cls(**stored.read(data))


def merge(results: Iterable[Stats]) -> Stats:
    """Pool results, as if all their images had been read in one run: bit-identical to that, in any order.

    Parameters
    ----------
    results : iterable of Stats
        At least one; the scale shown is the first one's.

    Raises
    ------
    MergeError
        Where there is none, or two have different definitions, bit depths, or bins of a histogram.

    Examples
    --------
    >>> import gpustats
    >>> first, second = gpustats.Stats(), gpustats.Stats()
    >>> gpustats.merge([first, second]).n_images
    0
    """
    parts = list(results)
    if not parts:
        raise MergeError("nothing to merge: give at least one result")
    first = next((part for part in parts if part.n_images), parts[0])
    totals = Totals(first.totals.statistics)
    failures = FailureLog()
    skipped: Counter[str] = Counter()
    runs: list[dict[str, Any]] = []
    for part in parts:
        if part.n_images and part.definition != first.definition:
            raise MergeError(
                f"results of different definitions cannot be pooled: {first.definition} and {part.definition}"
            )
        totals.merge(part.totals)
        failures = failures.merged(part.failures)
        skipped.update(part.skipped)
        runs.extend(part.runs)
    estimate = None
    if any(part.estimate is not None for part in parts):
        from gpustats.result.estimate import Estimate

        estimate = Estimate.pooled([(part.estimate, part.n_images) for part in parts])
    grouped = _merged_groups([part for part in parts if part.n_images], totals.statistics)
    left_out = ["groups"] if grouped is None and any(_had(part, "groups", part.grouped) for part in parts) else []
    contents = _merged_contents([part for part in parts if part.n_images])
    if contents is None and any(_had(part, _NO_HASHES, part.duplicates) for part in parts):
        left_out.append(_NO_HASHES)
    return replace(
        first,
        totals=totals,
        failures=failures,
        skipped=dict(skipped),
        runs=tuple(runs),
        complete=all(part.complete for part in parts),
        grouped=grouped,
        left_out=tuple(left_out),
        image_table=None,
        estimate=estimate,
        duplicates=None if contents is None else contents.duplicates(),
    )


def _had(part: Stats, name: str, value: object) -> bool:
    return value is not None or name in part.left_out


def _merged_contents(parts: Sequence[Stats]) -> Contents | None:
    """Return the hashes of all results; None where some have none."""
    found = [None if part.duplicates is None else part.duplicates.contents for part in parts]
    known = [contents for contents in found if contents is not None]
    return functools.reduce(Contents.merged, known) if known and len(known) == len(found) else None


def _merged_groups(parts: Sequence[Stats], statistics: tuple[str, ...]) -> Grouped | None:
    """Return the groups of all results; None where some have none, or other ones."""
    by = {None if part.grouped is None else part.grouped.by for part in parts}
    if len(by) != 1 or None in by:
        return None
    merged = Grouped(statistics, str(*by))
    for part in parts:
        if part.grouped is not None:
            merged.merge(part.grouped)
    return merged


_NO_HASHES = "duplicates (a saved result has no hashes)"

_FIELDS = frozenset(item.name for item in fields(Stats))
