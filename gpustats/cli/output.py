"""What a command writes, and the exit code it ends with."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import click

from gpustats.errors import DeviceLost, GpustatsError, ImagesFailedWarning, OptionError
from gpustats.result.saving import descriptor_of
from gpustats.result.stats import Stats
from gpustats.run import Interrupted, TooManyFailures

__all__ = ["EXIT_INTERRUPTED", "EXIT_USAGE", "fail", "lose_output", "print_table", "report", "say", "show", "write"]

EXIT_ERROR, EXIT_USAGE, EXIT_FAILURES, EXIT_INTERRUPTED = 1, 2, 3, 130

_FAILURES_SHOWN = 20
_STDOUT = 1  # descriptor


def show(text: str) -> None:
    """Write text to standard output; end the program with an error where that cannot be written."""
    try:
        click.echo(text)
    except OSError as error:
        lose_output(error)


def say(message: str, quiet: bool) -> None:
    """Write a line to standard error, unless `quiet`."""
    if not quiet:
        with suppress(OSError):  # there is nowhere left to say that
            click.echo(f"gpustats: {message}", err=True)


def fail(error: Exception | str, code: int = EXIT_ERROR) -> NoReturn:
    """End the program with an error."""
    say(f"error: {error}", quiet=False)
    raise SystemExit(EXIT_USAGE if isinstance(error, OptionError) else code)


def lose_output(error: OSError) -> NoReturn:
    """End the program because standard output cannot be written; without a word where its reader has gone."""
    with suppress(
        OSError, ValueError, AttributeError
    ):  # what is left in the buffer goes nowhere, not to the same error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        raise SystemExit(EXIT_ERROR)
    fail(f"standard output cannot be written: {error.strerror}")


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
        what = "the numbers are those of the images read so far" if stats.n_images else "no image was read yet"
        say(f"interrupted: {what}", quiet=False)
    except (TooManyFailures, DeviceLost) as error:
        stats, code = error.partial, EXIT_ERROR
        say(f"error: {error}", quiet=False)
        if isinstance(error, TooManyFailures) and len(stats.failures) == 1:
            quiet = True  # the error names it
    except (GpustatsError, ValueError) as error:
        fail(error)
    if stats.n_images:
        _list_failures(stats, quiet)
        write(stats, json)
    raise SystemExit(code)


def print_table(text: str, stats: Stats) -> None:
    """Print a result and the line to paste into a training script."""
    show(text + f"\n\n{stats.normalize_line()}" if stats.n_images else text)


def write(stats: Stats, json: str | None) -> None:
    """Print the table and save the result to a file, or write the result alone to standard output.

    A result that cannot be saved is printed all the same.
    """
    if json is not None and (json == "-" or descriptor_of(json) == _STDOUT):
        show(stats.to_json())
        return
    try:
        if json is not None:
            stats.save(json)
    except GpustatsError as error:
        print_table(stats.to_text(), stats)
        fail(error)
    print_table(stats.to_text(), stats)  # the failures are listed on standard error


def _list_failures(stats: Stats, quiet: bool) -> None:
    for failure in list(stats.failures)[:_FAILURES_SHOWN]:
        say(f"failed: {failure}", quiet)
    if len(stats.failures) > _FAILURES_SHOWN:
        say(f"... and {len(stats.failures) - _FAILURES_SHOWN:,} more; --failures FILE lists them", quiet)
