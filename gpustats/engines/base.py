"""The contract of an engine."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gpustats.failures import Failure
from gpustats.sources import Batch
from gpustats.statistics.rows import NO_ROWS, Rows

__all__ = ["Engine", "Outcome", "outcomes_of"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some samples: rows of those that were measured, of one kind, and failures of the rest."""

    rows: Rows
    failures: list[Failure] = field(default_factory=list)


def outcomes_of(parts: Sequence[Rows], failures: list[Failure]) -> Iterator[Outcome]:
    """Yield an outcome for each part, the first with the failures; one without rows where there is no part."""
    for rows in parts or [NO_ROWS]:
        yield Outcome(rows, failures)
        failures = []


class Engine(Protocol):
    """Decodes and reduces. Keeps a bounded number of bytes in flight; no sample ends it.

    Attributes
    ----------
    max_bytes : int
        The most bytes that one encoded image may have.
    """

    max_bytes: int

    def outcomes(self, batches: Iterator[Batch]) -> Generator[Outcome, None, None]:
        """Yield an outcome for every sample, in any order. Closing the iterator stops the engine.

        A batch may be empty (all of its samples are known from a checkpoint) or hold failures of the source alone.
        """
        ...

    def report(self) -> dict[str, Any]:
        """Return what belongs into the provenance: engine, device, decoders and versions, images by decoder."""
        ...
