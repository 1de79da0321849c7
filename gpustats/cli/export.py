"""``gpustats export``."""

from __future__ import annotations

from pathlib import Path

import click

from gpustats.cli import options
from gpustats.cli.output import fail
from gpustats.errors import GpustatsError
from gpustats.result.export_table import EXPORTS
from gpustats.result.exports import named
from gpustats.result.stats import Stats

__all__ = ["export"]


@click.command(
    epilog="\b\nNAME is one of:\n"
    + "\n".join(f"  {name:<16}{export.what}" for name, export in EXPORTS.items())
    + "\n\nExample: gpustats export stats.json --for torchvision"
)
@click.argument("file", type=click.Path(path_type=Path))
@options.export_for(required=True)
@options.scale
@options.bgr
def export(file: Path, export_for: str, scale: float | None, bgr: bool) -> None:
    """Print mean and std of a saved result in the syntax of a library.

    FILE is a result that --json or Stats.save wrote. What the numbers are is in the text: order of colours, scale,
    and whether images failed.
    """
    try:
        named(export_for)
        click.echo(Stats.load(file).export(export_for, scale=scale, bgr=bgr))
    except (GpustatsError, ValueError) as error:
        fail(error)
