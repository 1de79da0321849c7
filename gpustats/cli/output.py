"""What a command writes, and the exit code it ends with."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NoReturn, get_args

import click

from gpustats.errors import DataError, DeviceLost, GpustatsError, ImagesFailedWarning, OptionError
from gpustats.result import exports
from gpustats.result.kinds import Kinds
from gpustats.result.saving import descriptor_of
from gpustats.result.stats import Stats
from gpustats.run import Interrupted, TooManyFailures

__all__ = [
    "EXIT_DIFFERS",
    "EXIT_FAILURES",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "FAILURES_SHOWN",
    "FORMATS",
    "Form",
    "Shown",
    "alone",
    "fail",
    "lose_output",
    "print_kinds",
    "print_table",
    "report",
    "say",
    "show",
    "write",
]

Form = Literal["text", "json", "csv", "markdown"]
FORMATS: tuple[Form, ...] = get_args(Form)

EXIT_ERROR, EXIT_USAGE, EXIT_FAILURES, EXIT_DIFFERS, EXIT_INTERRUPTED = 1, 2, 3, 4, 130

FAILURES_SHOWN = 20
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


@dataclass(frozen=True, slots=True)
class Shown:
    """How a result is written.

    Attributes
    ----------
    json : str or None
        The file that the whole result is written to; "-" for standard output, alone.
    form : {"text", "json", "csv", "markdown"}
        How standard output is written.
    export : str or None
        The library that the text to paste is for.
    scale : float or None
        The scale of the numbers.
    bgr : bool
        Whether the text to paste is in the order BGR.
    """

    json: str | None = None
    form: Form = "text"
    export: str | None = None
    scale: float | None = None
    bgr: bool = False

    def check(self) -> None:
        """Find what is wrong with the options before anything is computed.

        Raises
        ------
        GpustatsError, ValueError
            Where they make no sense.
        """
        pasted = [name for name, given in (("--for", self.export), ("--bgr", self.bgr)) if given]
        if pasted and (self.form != "text" or self.json == "-"):
            raise DataError(f"{pasted[0]} is about the text to paste, which is printed with --format text only")
        if self.json == "-" and self.form not in ("text", "json"):
            raise DataError(f"--json - and --format {self.form} both write to standard output; choose one")
        if self.export is not None:
            exports.named(self.export)
        if self.scale is not None:
            Stats().scaled(self.scale)


def report(compute: Callable[[], Stats | Kinds], shown: Shown, quiet: bool) -> NoReturn:
    """Compute, write the result and end the program with the exit code that says how the run ended."""
    code = 0
    stats: Stats | Kinds
    try:
        shown.check()
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
        write(stats, shown)
    raise SystemExit(code)


def print_table(text: str, stats: Stats, shown: Shown = Shown()) -> None:
    """Print a result, which is given as text as well, and the text to paste into a training script."""
    if shown.form == "csv" or shown.form == "markdown":
        show(stats.table(shown.form))
        return
    show(text)
    if stats.n_images:
        try:
            show(f"\n{_pasted(stats, shown)}")
        except GpustatsError as error:
            fail(error)


def print_kinds(kinds: Kinds, shown: Shown = Shown()) -> None:
    """Print the results of several kinds one after the other, as `print_table` does."""
    if shown.form == "csv" or shown.form == "markdown":
        show(kinds.table(shown.form))
        return
    show(kinds.to_text())
    problems = []
    for name, stats in kinds.items():
        show(f"\n[{name}]\n{stats.to_text()}")
        try:
            show(f"\n{_pasted(stats, shown)}")
        except GpustatsError as error:
            problems.append(f"{name}: {error}")
    if problems:
        fail("; ".join(problems))


def _pasted(stats: Stats, shown: Shown) -> str:
    if shown.export or shown.scale is not None or shown.bgr:
        return stats.export(shown.export or "torchvision", scale=shown.scale, bgr=shown.bgr)
    unit = stats.scaled(1)
    if "covariance" not in unit.numbers():
        return unit.normalize_line()
    return f"{unit.normalize_line()}\n{unit.lighting()}  # channels {', '.join(unit.channels)}, for images on [0, 1]"


def alone(path: str | None) -> bool:
    """Say whether a result goes to standard output in the place of the text."""
    return path is not None and (path == "-" or descriptor_of(path) == _STDOUT)


def write(stats: Stats | Kinds, shown: Shown) -> None:
    """Print the table and save the result to a file, or write the result alone to standard output.

    A result that cannot be saved is printed all the same.
    """
    if shown.scale is not None:
        stats = stats.scaled(shown.scale)
    problem: GpustatsError | None = None
    if shown.json is not None and not alone(shown.json):
        try:
            stats.save(shown.json)
        except GpustatsError as error:
            problem = error
    if alone(shown.json) or shown.form == "json":
        show(stats.to_json())
    elif isinstance(stats, Kinds):
        print_kinds(stats, shown)
    else:
        print_table(stats.to_text(), stats, shown)  # the failures are listed on standard error
    if problem is not None:
        fail(problem)


def _list_failures(stats: Stats | Kinds, quiet: bool) -> None:
    for failure in list(stats.failures)[:FAILURES_SHOWN]:
        say(f"failed: {failure}", quiet)
    if len(stats.failures) > FAILURES_SHOWN:
        say(f"... and {len(stats.failures) - FAILURES_SHOWN:,} more; --failures FILE lists them", quiet)
