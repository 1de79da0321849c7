"""What went wrong with single images: a reason class, a sentence, and a bounded log of them."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gpustats.errors import DataError
from gpustats.totals import natural

__all__ = ["LISTED_AT_MOST", "REASONS", "Failure", "FailureLog", "ImageError", "Reason", "printable"]

Reason = Literal["missing", "unreadable", "not_an_image", "truncated", "corrupt", "too_large", "unsupported"]
REASONS: tuple[str, ...] = get_args(Reason)

LISTED_AT_MOST = 10_000
"""Failures that a result names one by one; the rest are counted by reason only."""


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

    def add(self, failure: Failure) -> None:
        """Count `failure`, and list it unless enough with smaller keys are listed."""
        self.counts[failure.reason] += 1
        if len(self.listed) < LISTED_AT_MOST or failure < self.listed[-1]:
            insort(self.listed, failure)
            del self.listed[LISTED_AT_MOST:]

    def extend(self, failures: Iterable[Failure]) -> None:
        """Add each of `failures`."""
        for failure in failures:
            self.add(failure)

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
