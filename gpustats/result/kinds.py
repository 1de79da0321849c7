"""The results of a run whose images are of several kinds: one `Stats` for each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Literal

from gpustats.errors import DataError
from gpustats.failures import FailureLog
from gpustats.install import __version__
from gpustats.result import stored, text
from gpustats.result.saving import write_text
from gpustats.result.stats import Stats
from gpustats.saved import natural
from gpustats.wording import amount

__all__ = ["Kinds", "load_any"]


class Kinds(Mapping[str, Stats]):
    """Results by the kind of the images, read-only: ``results["uint16 x 1"].mean``.

    A kind is the type that pixels are measured as, the number of channels, and the value that is 1.0 where that is not
    the usual one: ``"uint8 x 3"``, ``"uint16 x 1 to 4095"``. Each result is that of its images alone, as if they had
    been given alone, except that failures are listed here.

    Parameters
    ----------
    results : mapping of str to Stats
        By the name of the kind.
    failures : FailureLog
        See the attributes.
    skipped : mapping of str to int
        See the attributes.
    complete : bool
        See the attributes.

    Attributes
    ----------
    failures : FailureLog
        The images that could not be read. They are of no kind, so no result lists them.
    skipped : mapping of str to int
        What lay among the images and was passed over, by kind of file.
    complete : bool
        False where the run was interrupted.

    Examples
    --------
    >>> import gpustats, numpy
    >>> images = [numpy.full((2, 2, 3), 51, "uint8"), numpy.full((4, 4), 13107, "uint16")]
    >>> results = gpustats.compute(iter(images), kinds="separate", progress=False)
    >>> [(name, stats.n_images, stats.mean.tolist()) for name, stats in results.items()]
    [('uint16 x 1', 1, [0.2]), ('uint8 x 3', 1, [0.2, 0.2, 0.2])]
    """

    def __init__(
        self,
        results: Mapping[str, Stats],
        failures: FailureLog | None = None,
        skipped: Mapping[str, int] | None = None,
        complete: bool = True,
    ) -> None:
        self._results = dict(results)
        self.failures = failures or FailureLog()
        self.skipped = dict(skipped or {})
        self.complete = complete

    def __getitem__(self, name: str) -> Stats:
        if name not in self._results:
            raise KeyError(f"there is no kind {name!r}; there are {', '.join(map(repr, self)) or 'none'}")
        return self._results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __eq__(self, other: object) -> bool:
        """Return whether both say the same, see `Stats.__eq__`."""
        if not isinstance(other, Kinds):
            return NotImplemented
        return vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # what compares by its content may hold lists

    @property
    def n_images(self) -> int:
        """Images measured, of all kinds."""
        return sum(stats.n_images for stats in self.values())

    def scaled(self, scale: float) -> Kinds:
        """Return the same results with values on [0, `scale`], see `Stats.scaled`."""
        scaled = {name: stats.scaled(scale) for name, stats in self.items()}
        return Kinds(scaled, self.failures, self.skipped, self.complete)

    def __repr__(self) -> str:
        listed = text.listed(self.failures)
        results = (f"[{name}]\n{stats.to_text()}" for name, stats in self.items())
        return "\n\n".join([self.to_text(), *results, *([listed] if listed else [])])

    def to_text(self) -> str:
        """Return what is to be said of all kinds together; 80 columns wide."""
        return text.table(self._facts(), [], [], title="gpustats.Kinds")

    def table(self, form: Literal["csv", "markdown"]) -> str:
        """Return the tables that `Stats.table` gives, each below a line with the name of the kind."""
        mark = "# kind" if form == "csv" else "##"
        return "\n\n".join(f"{mark} {name}\n{stats.table(form)}" for name, stats in self.items())

    def _facts(self) -> list[str]:
        kinds = f"{amount(self.n_images, 'image')} of {amount(len(self), 'kind')}"
        return [kinds, *text.provenance((), self.complete, (), self.failures, self.skipped)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain containers: under ``kinds`` what `Stats.to_dict` returns of each."""
        return {**self._head(), "kinds": {name: stats.to_dict() for name, stats in self.items()}}

    def _head(self) -> dict[str, Any]:
        return {
            "format": stored.FORMAT_OF_KINDS,
            "version": stored.FORMAT_VERSION,
            "gpustats": __version__,
            "complete": self.complete,
            "images": self.n_images,
            "failures": self.failures.to_dict(),
            "skipped": dict(sorted(self.skipped.items())),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON text."""
        return "".join(self._chunks())

    def _chunks(self) -> Iterator[str]:
        yield json.dumps(self._head(), indent=1).removesuffix("\n}") + ',\n "kinds": {'
        comma = "\n"
        for name, stats in self.items():
            yield f"{comma}{json.dumps(name)}: "
            yield from stored.chunks(stats)
            comma = ",\n"
        yield "\n }\n}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the results as JSON to `path`, as `Stats.save` does; `load` reads them back exactly.

        Raises
        ------
        DataError
            Where it cannot be written.
        """
        write_text(path, lambda: chain(self._chunks(), ["\n"]))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Kinds:
        """Read results that `save` wrote.

        Raises
        ------
        DataError
            Where the file is missing, does not hold results by kind, is of a newer version, or damaged.
        """
        return stored.load(path, cls.from_dict)

    @classmethod
    def from_dict(cls, data: Any) -> Kinds:
        """Read what `to_dict` returned.

        Raises
        ------
        DataError
            Where it is something else, of a newer version, or damaged.
        """
        stored.check_format(data, stored.FORMAT_OF_KINDS)
        try:
            results = {str(name): Stats.from_dict(stats) for name, stats in data["kinds"].items()}
            skipped = {str(k): natural(v, k) for k, v in data["skipped"].items()}
            failures, complete = FailureLog.from_dict(data["failures"]), data["complete"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"the results are incomplete or damaged: {error!r}") from None
        wrong = [n for n, stats in results.items() if stats.totals.kind is None or stats.totals.kind.name != n]
        if wrong or not isinstance(complete, bool):
            raise DataError(f"the results are damaged: complete {complete!r}, other kinds than {', '.join(wrong)}")
        return cls(results, failures, skipped, complete)


def load_any(path: str | os.PathLike[str]) -> Stats | Kinds:
    """Read what either `Stats.save` or `Kinds.save` wrote.

    Raises
    ------
    DataError
        See `Stats.load`.
    """

    def read(data: Any) -> Stats | Kinds:
        kinds = isinstance(data, dict) and data.get("format") == stored.FORMAT_OF_KINDS
        return Kinds.from_dict(data) if kinds else Stats.from_dict(data)

    return stored.load(path, read)
