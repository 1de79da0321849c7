"""``gpustats outliers``."""

from __future__ import annotations

import click

from gpustats.cli.output import fail, show
from gpustats.errors import GpustatsError
from gpustats.result.outliers import outliers as found_in

__all__ = ["outliers"]


@click.command(epilog="Example: gpustats outliers images.parquet -k 3")
@click.argument("file")
@click.option("-k", "count", metavar="N", type=click.IntRange(min=1), default=5, help="How many images of each end.")
def outliers(file: str, count: int) -> None:
    """Show the odd images of a table: the brightest, darkest, blurriest, largest and so on.

    FILE is a table that 'gpustats compute --per-image' wrote. What it is asked for decides what can be shown: the
    blurriest images need --statistics sharpness there, the most colourful covariance.

    Exit codes: 0 they were shown, 1 error, 2 wrong usage.
    """
    try:
        show(repr(found_in(file, count)))
    except GpustatsError as error:
        fail(error)
