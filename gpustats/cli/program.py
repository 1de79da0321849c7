"""The program `gpustats` and its commands."""

from __future__ import annotations

import sys

import click

from gpustats.cli.compare import compare
from gpustats.cli.compute import compute
from gpustats.cli.demo import demo
from gpustats.cli.doctor import doctor
from gpustats.cli.export import export
from gpustats.cli.show import show
from gpustats.cli.verify import verify
from gpustats.limits.interrupts import interrupt_on_terminate
from gpustats.version import __version__

__all__ = ["main", "program"]


@click.group(
    epilog="Example: gpustats compute photos/",
    commands=[compute, show, compare, export, verify, demo, doctor],
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, prog_name="gpustats", message="%(prog)s %(version)s")
def program() -> None:
    """Compute exact per-channel statistics of image datasets, as fast as the machine can decode them."""


def main() -> None:
    """Run the command line; the `gpustats` program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    interrupt_on_terminate()
    program(prog_name="gpustats")
