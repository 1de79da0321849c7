"""What a command writes, and the exit code it ends with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn, get_args

import click

from gpustats.errors import DataError, DeviceLost, GpustatsError, ImagesFailedWarning
from gpustats.result import exports
from gpustats.result.stats import Stats
from gpustats.result.text import normalize_line
from gpustats.run import Interrupted, TooManyFailures

__all__ = ["EXIT_DIFFERS", "FORMATS", "Form", "Shown", "fail", "print_table", "report", "say"]

Form = Literal["text", "json", "csv", "markdown"]
FORMATS: tuple[Form, ...] = get_args(Form)

EXIT_ERROR, EXIT_FAILURES, EXIT_DIFFERS, EXIT_INTERRUPTED = 1, 3, 4, 130

_FAILURES_SHOWN = 20


def say(message: str, quiet: bool) -> None:
    """Write a line to standard error, unless `quiet`."""
    if not quiet:
        click.echo(f"gpustats: {message}", err=True)


def fail(error: Exception | str) -> NoReturn:
    """End the program with an error."""
    click.echo(f"gpustats: error: {error}", err=True)
    raise SystemExit(EXIT_ERROR)


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


def report(compute: Callable[[], Stats], shown: Shown, quiet: bool) -> NoReturn:
    """Compute, write the result and end the program with the exit code that says how the run ended."""
    code = 0
    try:
        shown.check()
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
    _write(stats, shown)
    raise SystemExit(code)


def print_table(stats: Stats, shown: Shown = Shown()) -> None:
    """Print a result and the text to paste into a training script."""
    if shown.form == "csv" or shown.form == "markdown":
        click.echo(stats.table(shown.form))
        return
    click.echo(repr(stats))
    if not stats.n_images:
        return
    if shown.export or shown.scale is not None or shown.bgr:
        try:
            pasted = stats.export(shown.export or "torchvision", scale=shown.scale, bgr=shown.bgr)
        except GpustatsError as error:
            fail(error)
    else:
        unit = stats.scaled(1)
        pasted = normalize_line(unit.mean, unit.std)
        if "covariance" in unit.numbers():
            pasted += f"\n{unit.lighting()}  # channels {', '.join(unit.channels)}, for images on [0, 1]"
    click.echo(f"\n{pasted}")


def _write(stats: Stats, shown: Shown) -> None:
    if shown.scale is not None:
        stats = stats.scaled(shown.scale)
    if shown.json is not None and shown.json != "-":
        try:
            stats.save(shown.json)
        except GpustatsError as error:
            fail(error)
    if shown.json == "-" or shown.form == "json":
        click.echo(stats.to_json())
    else:
        print_table(stats, shown)


def _list_failures(stats: Stats, quiet: bool) -> None:
    for failure in list(stats.failures)[:_FAILURES_SHOWN]:
        say(f"failed: {failure}", quiet)
    if len(stats.failures) > _FAILURES_SHOWN:
        say(f"... and {len(stats.failures) - _FAILURES_SHOWN:,} more; --failures FILE lists them", quiet)
