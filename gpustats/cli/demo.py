"""``gpustats demo``."""

from __future__ import annotations

from pathlib import Path

import click

import gpustats
from gpustats.cli import options
from gpustats.cli.output import Shown, fail, report, say

__all__ = ["demo"]


@click.command(epilog="Example: gpustats demo --count 50", short_help="Make synthetic JPEGs and compute them.")
@click.argument("folder", type=click.Path(path_type=Path), default="gpustats-demo")
@click.option("--count", metavar="N", type=click.IntRange(min=1), default=300, help="How many images to make.")
@options.workers
@options.quiet
def demo(folder: Path, count: int, workers: int | None, quiet: bool) -> None:
    """Make a folder of synthetic JPEGs with natural-image statistics and compute them.

    FOLDER is where the images are written, by default gpustats-demo. A folder that exists is computed as it is;
    nothing in it is changed.

    Exit codes: those of 'gpustats compute'.
    """
    if folder.exists():
        say(f"{folder} exists: computing what is in it", quiet)
    else:
        from gpustats.datasets.demo import write_images

        say(f"writing {count} synthetic JPEGs into {folder}", quiet)
        try:
            write_images(folder, count)
        except OSError as error:
            fail(f"{folder}: cannot be written: {error.strerror}")
    report(lambda: gpustats.compute(folder, workers=workers, progress=False if quiet else None), Shown(), quiet)
