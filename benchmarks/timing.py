"""Interleaved rounds, medians and ratios pair by pair: what is fair on a machine that is never quite idle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["interleaved", "ratio", "seconds", "summary"]


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(
    works: Mapping[str, Callable[[], Any]], rounds: int, *, measure: Callable[[Callable[[], Any]], float] = seconds
) -> dict[str, list[float]]:
    """Measure every work once a round, each round starting with another one.

    A disturbance of some seconds then hits all of them alike, and ratios are taken within a round.

    Parameters
    ----------
    works : mapping of str to callable
        What to measure.
    rounds : int
        How often.
    measure : callable
        Calls the work and returns the number to keep.

    Returns
    -------
    dict of str to list of float
        One number a round, in the order of the rounds.
    """
    names = list(works)
    measured: dict[str, list[float]] = {name: [0.0] * rounds for name in names}
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            measured[name][index] = measure(works[name])
    return measured


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, float]:
    """Summary of the ratios within each round."""
    return summary([a / b for a, b in zip(numerators, denominators, strict=True)])
