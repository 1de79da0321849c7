"""``gpustats show``."""

from __future__ import annotations

from pathlib import Path

import click

from gpustats.cli.output import fail, print_kinds, print_table
from gpustats.errors import GpustatsError
from gpustats.result.kinds import Kinds, load_any

__all__ = ["show"]


@click.command(epilog="Example: gpustats show stats.json")
@click.argument("file", type=click.Path(path_type=Path))
def show(file: Path) -> None:
    """Show a saved result.

    FILE is a result that --json, --output or Stats.save wrote.

    Exit codes: 0 it was shown, 1 error, 2 wrong usage.
    """
    try:
        stats = load_any(file)
    except GpustatsError as error:
        fail(error)
    if isinstance(stats, Kinds):
        print_kinds(stats)
    else:
        print_table(repr(stats), stats)
