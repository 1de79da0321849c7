"""What a command writes, and the exit code it ends with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NoReturn

import click

from gpustats.errors import DeviceLost, GpustatsError, ImagesFailedWarning
from gpustats.result.stats import Stats
from gpustats.result.text import normalize_line
from gpustats.run import Interrupted, TooManyFailures

__all__ = ["fail", "print_table", "report", "say"]

EXIT_ERROR, EXIT_FAILURES, EXIT_INTERRUPTED = 1, 3, 130

_FAILURES_SHOWN = 20


def say(message: str, quiet: bool) -> None:
    """Write a line to standard error, unless `quiet`."""
    if not quiet:
        click.echo(f"gpustats: {message}", err=True)


def fail(error: Exception | str) -> NoReturn:
    """End the program with an error."""
    click.echo(f"gpustats: error: {error}", err=True)
    raise SystemExit(EXIT_ERROR)


def report(compute: Callable[[], Stats], json: str | None, quiet: bool) -> NoReturn:
    """Compute, write the result and end the program with the exit code that says how the run ended."""
    code = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImagesFailedWarning)  # the failures are listed below
            stats = compute()
        if len(stats.failures):
            code = EXIT_FAILURES
    except Interrupted as interrupt:
        stats, code = interrupt.partial, EXIT_INTERRUPTED
        say("interrupted: the numbers are those of the images read so far", quiet=False)
    except (TooManyFailures, DeviceLost) as error:
        stats, code = error.partial, EXIT_ERROR
        say(f"error: {error}", quiet=False)
    except (GpustatsError, ValueError) as error:
        fail(error)
    _list_failures(stats, quiet)
    _write(stats, json)
    raise SystemExit(code)


def print_table(stats: Stats) -> None:
    """Print a result and the lines to paste into a training script."""
    click.echo(repr(stats))
    if stats.n_images:
        unit = stats.scaled(1)
        click.echo(f"\n{normalize_line(unit.mean, unit.std)}")
        if "covariance" in unit.numbers():
            click.echo(f"{unit.lighting()}  # channels {', '.join(unit.channels)}, for images on [0, 1]")


def _write(stats: Stats, json: str | None) -> None:
    if json == "-":
        click.echo(stats.to_json())
        return
    if json is not None:
        try:
            stats.save(json)
        except GpustatsError as error:
            fail(error)
    print_table(stats)


def _list_failures(stats: Stats, quiet: bool) -> None:
    for failure in list(stats.failures)[:_FAILURES_SHOWN]:
        say(f"failed: {failure}", quiet)
    if len(stats.failures) > _FAILURES_SHOWN:
        say(f"... and {len(stats.failures) - _FAILURES_SHOWN:,} more; --failures FILE lists them", quiet)
