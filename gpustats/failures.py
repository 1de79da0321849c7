"""What went wrong with single images: a reason and a sentence, a log and a file of them, and how many are too many."""

from __future__ import annotations

import json
import os
from bisect import insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TextIO, get_args, overload

from gpustats.errors import DataError, OptionError
from gpustats.saved import natural
from gpustats.wording import named, option

__all__ = [
    "JUDGED_FROM",
    "LISTED_AT_MOST",
    "REASONS",
    "Failure",
    "FailureFile",
    "FailureLimit",
    "FailureLog",
    "ImageError",
    "Reason",
    "printable",
]

Reason = Literal["missing", "unreadable", "not_an_image", "truncated", "corrupt", "too_large", "unsupported"]
REASONS: tuple[str, ...] = get_args(Reason)

LISTED_AT_MOST = 10_000
"""Failures that a result names one by one; the rest are counted by reason only."""

JUDGED_FROM = 1000
"""Images seen before a share of failures is checked during a run; at the end it is always checked."""


def printable(text: str) -> str:
    """Return `text` with control characters and bytes that are not UTF-8 written as escapes.

    File names come from strangers: a name may hold terminal control sequences or undecodable bytes.

    >>> printable("a\\x1b[2Jb.jpg")
    'a\\\\x1b[2Jb.jpg'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class ImageError(Exception):
    """One image cannot be used. Raised by decoders and readers, turned into a `Failure` by engines."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True, order=True)
class Failure:
    """One image (or folder) that could not be read.

    Attributes
    ----------
    key : str
        The image's key, for a folder its path relative to the root.
    reason : str
        One of `REASONS`.
    message : str
        One sentence for the person who reads it.
    """

    key: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{printable(self.key)}: {self.reason}: {printable(self.message)}"


@dataclass(slots=True)
class FailureLog:
    """Failures of a run: every one counted by reason, `LISTED_AT_MOST` kept whole.

    Kept are those whose keys come first, sorted, so that the log does not depend on the order in which they came.
    """

    counts: Counter[str] = field(default_factory=Counter)
    listed: list[Failure] = field(default_factory=list)

    def __len__(self) -> int:
        return self.counts.total()

    def __iter__(self) -> Iterator[Failure]:
        return iter(self.listed)

    @overload
    def __getitem__(self, place: int) -> Failure: ...
    @overload
    def __getitem__(self, place: slice) -> list[Failure]: ...
    def __getitem__(self, place: int | slice) -> Failure | list[Failure]:
        """Return failures that are listed, in the order of their keys."""
        return self.listed[place]

    def add(self, failure: Failure) -> None:
        """Count `failure`, and list it unless enough with smaller keys are listed."""
        self.counts[failure.reason] += 1
        if len(self.listed) < LISTED_AT_MOST or failure < self.listed[-1]:
            insort(self.listed, failure)
            del self.listed[LISTED_AT_MOST:]

    def commonest(self, most: int = 3) -> str:
        """Return the reasons that most failures have, each with its count and one of the failures.

        >>> log = FailureLog()
        >>> log.add(Failure("a.jpg", "truncated", "the file ends early"))
        >>> log.commonest()
        '1 truncated (a.jpg: the file ends early)'
        """
        reasons = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        parts = []
        for reason, count in reasons[:most]:
            example = next((failure for failure in self.listed if failure.reason == reason), None)
            shown = f" ({printable(example.key)}: {printable(example.message)})" if example is not None else ""
            parts.append(f"{count:,} {reason}{shown}")
        return ", ".join(parts)

    def merged(self, other: FailureLog) -> FailureLog:
        """Return a new log of the failures of both."""
        return FailureLog(self.counts + other.counts, sorted(self.listed + other.listed)[:LISTED_AT_MOST])

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for JSON."""
        return {
            "count": len(self),
            "by_reason": dict(sorted(self.counts.items())),
            "listed": [{"key": f.key, "reason": f.reason, "message": f.message} for f in self],
        }

    @classmethod
    def from_dict(cls, data: Any) -> FailureLog:
        """Read what `to_dict` wrote; raise `DataError` for anything else."""
        try:
            counts = Counter({str(k): natural(v, k) for k, v in data["by_reason"].items()})
            listed = [Failure(str(f["key"]), str(f["reason"]), str(f["message"])) for f in data["listed"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the list of failures in the file is damaged: {error!r}") from None
        if len(listed) > counts.total():
            raise DataError("the list of failures in the file is damaged: it is longer than their count")
        return cls(counts, sorted(listed))


class FailureFile:
    """Writes failures to `path` line by line: ``{"key": ..., "reason": ..., "message": ...}``.

    Pure ASCII: a key that is not UTF-8 is written with JSON escapes, which ``json.loads`` turns back into the string
    that Python uses for the file name. A run writes the file anew; a resumed run writes the earlier failures too.

    Parameters
    ----------
    path : path-like
        Replaced where it exists.

    Raises
    ------
    DataError
        Where it cannot be written, at the start or later (a full disk).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = printable(os.fsdecode(path))
        try:
            # Line buffered, so that a run that is killed leaves whole lines and `tail -f` shows them.
            self._file: TextIO = open(path, "w", encoding="ascii", buffering=1)  # noqa: SIM115 - closed by __exit__
        except (OSError, ValueError) as error:
            raise self._error(error) from None

    def add(self, failure: Failure) -> None:
        """Write one failure."""
        line = json.dumps({"key": failure.key, "reason": failure.reason, "message": failure.message})
        try:
            self._file.write(line + "\n")
        except OSError as error:
            raise self._error(error) from None

    def __enter__(self) -> FailureFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as error:
            if kind is None:
                raise self._error(error) from None

    def _error(self, error: OSError | ValueError) -> DataError:
        reason = getattr(error, "strerror", None) or str(error)
        return DataError(f"{self._path}: the list of failures cannot be written: {reason}")


class FailureLimit:
    """A limit on failed images, as a count or as a share of all images.

    Parameters
    ----------
    limit : int, float or None
        An integer counts images; a float from 0 to 1 is a share of the images seen; None is no limit.

    Raises
    ------
    OptionError
        For anything else.

    Examples
    --------
    >>> FailureLimit(0.01).exceeded(failed=20, seen=1500)
    True
    >>> FailureLimit(20).exceeded(failed=20, seen=25)
    False
    """

    def __init__(self, limit: float | None) -> None:
        share = isinstance(limit, float)
        if limit is not None and (
            isinstance(limit, bool)
            or not isinstance(limit, int | float)
            or not (0 <= limit <= 1 if share else limit >= 0)
        ):
            raise OptionError(
                f"{named('max_failures')} should be a count (an integer from 0) or a share (a float from 0.0 to 1.0), "
                f"got {limit!r}"
            )
        self._limit = limit
        self._share = share

    def exceeded(self, failed: int, seen: int, final: bool = False) -> bool:
        """Say whether `failed` of `seen` images are too many; `final` where no more will come."""
        if self._limit is None:
            return False
        if not self._share:
            return failed > self._limit
        return failed > self._limit * seen and (final or seen >= JUDGED_FROM)

    def __str__(self) -> str:
        return option("max_failures", self._limit)
