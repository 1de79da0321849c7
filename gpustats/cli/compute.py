"""``gpustats compute``. An option is declared once, by the name that `gpustats.compute` knows it by."""

from __future__ import annotations

from typing import Any

import click

import gpustats
from gpustats.cli import options
from gpustats.cli.output import report
from gpustats.definition import MODES
from gpustats.statistics import ALWAYS, STATISTICS

__all__ = ["compute"]


@click.command(epilog="Example: gpustats compute photos/ --json stats.json")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--statistics",
    metavar="NAME",
    multiple=True,
    callback=options.names,
    help=f"Compute these too: {', '.join(name for name in STATISTICS if name != ALWAYS)}. "
    "Several are separated by commas.",
)
@click.option("--json", metavar="FILE", help="Write the whole result as JSON to FILE, '-' for standard output.")
@click.option("--device", metavar="auto|cpu|gpu|cuda:N", default="auto", help="The device that decodes and computes.")
@options.workers
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="RGB",
    help="Measure encoded images as 8-bit RGB, as 8-bit grey (L), or with the channels and depth that are stored.",
)
@click.option(
    "--on-error", type=click.Choice(["skip", "raise"]), default="skip", help="Leave a bad image out, or stop there."
)
@click.option(
    "--max-failures",
    metavar="N|SHARE",
    callback=options.count_or_share,
    help="Stop when more images have failed: a count, or a share (0.01, 1%).",
)
@click.option("--failures", metavar="FILE", help="Write every failure to FILE as it happens, one JSON object a line.")
@click.option("--column", metavar="NAME", help="Column, WebDataset extension or .npz array of images or their paths.")
@click.option("--feature", metavar="NAME", help="TFRecord feature that holds the encoded image.")
@click.option(
    "--group", metavar="NAME", help="Column, feature or WebDataset extension that names the group of an image."
)
@click.option("--root", metavar="FOLDER|URL", help="Folder that relative paths in a list or manifest start from.")
@click.option("--layout", metavar="AXES", default="auto", help="Axes of arrays: auto, HW, HWC, CHW, NHW, NHWC or NCHW.")
@click.option(
    "--storage-option",
    "storage_options",
    metavar="NAME=VALUE",
    multiple=True,
    callback=options.storage_options,
    help="For the file system of a URL, as often as needed: anon=true, endpoint_url=... Keep secrets in the "
    "environment or in the file system's own files: other users may see this command line.",
)
@click.option(
    "--max-pixels",
    metavar="N",
    type=click.IntRange(min=1),
    default=512_000_000,
    help="Images with more pixels fail as too_large, before memory is allocated.",
)
@click.option("--memory", metavar="SIZE", help="Stay below this: 2GB, 512MiB, 25%. By default half of what is left.")
@click.option("--isolate", is_flag=True, help="Decode in processes, so that a crash of a decoder costs one image.")
@click.option("--checkpoint", metavar="FILE", help="Keep progress in FILE; the same command continues from there.")
@click.option(
    "--changed",
    type=click.Choice(["mtime", "hash"]),
    default="mtime",
    help="What makes a file count as changed for --checkpoint: its size and mtime, or its content.",
)
@options.verbose
@options.quiet
def compute(paths: tuple[str, ...], json: str | None, quiet: bool, **given: Any) -> None:
    """Compute mean, std and more of a dataset, reading it once.

    PATH is a folder, image, archive, shard, table, array, list, URL or glob pattern.

    Exit codes: 0 every image was read, 1 error, 2 wrong usage, 3 finished but some images failed, 130 interrupted.
    """
    data = paths[0] if len(paths) == 1 else list(paths)
    report(lambda: gpustats.compute(data, **given, progress=False if quiet else None), json, quiet)
