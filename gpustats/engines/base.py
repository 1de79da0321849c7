"""The contract of an engine."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from gpustats.failures import Failure
from gpustats.sources import Batch
from gpustats.statistics.rows import Rows

__all__ = ["Engine", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some samples: rows of those that were measured, failures of the rest."""

    rows: Rows
    failures: list[Failure] = field(default_factory=list)


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
