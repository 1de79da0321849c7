"""The program `gpustats` and its commands."""

from __future__ import annotations

import gc
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from gpustats.cli.compare import compare
from gpustats.cli.compute import compute
from gpustats.cli.demo import demo
from gpustats.cli.doctor import doctor
from gpustats.cli.export import export
from gpustats.cli.inspect import inspect
from gpustats.cli.merge import merge
from gpustats.cli.outliers import outliers
from gpustats.cli.output import EXIT_INTERRUPTED, EXIT_USAGE, fail, lose_output, say
from gpustats.cli.show import show
from gpustats.cli.verify import verify
from gpustats.install import __version__
from gpustats.limits.interrupts import interrupt_on_terminate
from gpustats.wording import spoken

__all__ = ["main", "program"]


def _version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from gpustats.decode.decoder import versions

        decoders = ", ".join(f"{name} {version}" for name, version in versions().items())
        click.echo(f"gpustats {__version__} ({decoders})")
        context.exit()


@click.group(
    epilog="Example: gpustats compute photos/",
    commands=[compute, inspect, show, outliers, compare, merge, export, verify, demo, doctor],
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show versions and exit."
)
def program() -> None:
    """Compute exact per-channel statistics of image datasets, as fast as the machine can decode them."""


def main() -> None:
    """Run the command line; the `gpustats` program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    # To begin with, a program makes objects that stay; looking for garbage among them took a tenth of a second.
    gc.set_threshold(50_000, *gc.get_threshold()[1:])
    interrupt_on_terminate()
    names = {
        parameter.name: max(parameter.opts, key=len)
        for command in program.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name
    }
    with spoken(names), _quiet_libraries():
        raise SystemExit(_run())


def _run() -> int:
    """Run the command, and return the exit code; what is wrong with the command itself is one line, as every error."""
    try:
        code = program.main(prog_name="gpustats", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _NO_ARGUMENTS as error:
        error.show()
        return EXIT_USAGE
    except click.UsageError as error:
        fail(_in_one_line(error), EXIT_USAGE)
    except click.Abort:
        say("interrupted", quiet=False)
        return EXIT_INTERRUPTED
    except OSError as error:
        lose_output(error)


_nowhere = logging.NullHandler()


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Give warnings of libraries to the log, where ``--verbose`` shows them; the terminal is for what gpustats says."""
    logging.getLogger("py.warnings").addHandler(_nowhere)  # without a handler they would go to standard error
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)


def _in_one_line(error: click.UsageError) -> str:
    """Return what click says of a wrong command, as one line in the style of all errors."""
    known = getattr(error, "possibilities", None)  # of an option or a command that does not exist
    message = " ".join((error.message if known else error.format_message()).split()).rstrip(".")
    path = error.ctx.command_path if error.ctx is not None else "gpustats"
    unknown = getattr(error, "command_name", None)
    if known:
        see = f"did you mean '{known[0]}'?"
    elif unknown is not None and os.path.exists(unknown):
        see = f"to compute it: gpustats compute {shlex.quote(unknown)}"
    else:
        see = f"see '{path} --help'"
    return f"{message[:1].lower()}{message[1:]}; {see}"


_NO_ARGUMENTS: tuple[type[click.UsageError], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)])
)
