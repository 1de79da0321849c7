"""``gpustats merge``."""

from __future__ import annotations

from pathlib import Path

import click

from gpustats.cli import options
from gpustats.cli.output import Shown, fail, write
from gpustats.errors import GpustatsError
from gpustats.result.stats import Stats
from gpustats.result.stats import merge as merge_results

__all__ = ["merge"]


@click.command(epilog="Example: gpustats merge train.json val.json --output all.json", short_help="Pool saved results.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.result_file("--output", "-o", help="Write the pooled result as JSON to FILE, '-' for standard output.")
def merge(files: tuple[Path, ...], output: str | None) -> None:
    """Pool saved results, as if all their images had been read in one run.

    FILE is a result that --json, --output or Stats.save wrote.

    Exit codes: 0 the results were pooled, 1 error, 2 wrong usage.
    """
    try:
        pooled = merge_results(map(Stats.load, files))
    except GpustatsError as error:
        fail(error)
    write(pooled, Shown(output))
