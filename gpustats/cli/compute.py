"""``gpustats compute``. An option is declared once, by the name that `gpustats.compute` knows it by."""

from __future__ import annotations

from typing import Any

import click

import gpustats
from gpustats.cli import options
from gpustats.cli.output import FORMATS, Form, Shown, report
from gpustats.decode.transform import INTERPOLATIONS, RECIPES
from gpustats.definition import ALPHA, KINDS, MODES, PAGES
from gpustats.statistics import ALWAYS, STATISTICS

__all__ = ["compute"]


@click.command(epilog="Example: gpustats compute photos/ --json stats.json")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, callback=options.listed)
@click.option(
    "--statistics",
    metavar="NAME",
    multiple=True,
    callback=options.names,
    help=f"Compute these too: {', '.join(name for name in STATISTICS if name not in (ALWAYS, 'duplicates'))}. "
    "Several are separated by commas.",
)
@click.option(
    "--histogram-range",
    metavar="LOW HIGH",
    type=float,
    nargs=2,
    help="Count the values of float images from LOW to HIGH, for --statistics histogram.",
)
@click.option("--bins", metavar="N", type=int, help="Divide --histogram-range into so many bins; by default 256.")
@options.result_file("--json", help="Write the whole result as JSON to FILE, '-' for standard output.")
@options.export_for(required=False)
@options.scale
@options.bgr
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    help="How standard output is written; csv and markdown hold the table only, json the whole result.",
)
@click.option("--device", metavar="auto|cpu|gpu|cuda:N", default="auto", help="The device that decodes and computes.")
@options.workers
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="RGB",
    help="Measure encoded images as 8-bit RGB, as 8-bit grey (L), as RGB and alpha, or as they are stored.",
)
@click.option(
    "--pages", type=click.Choice(PAGES), default="first", help="Measure the first page or frame of a file, or all."
)
@click.option(
    "--value-range",
    metavar="N",
    type=float,
    help="The pixel value that is shown as 1.0: 4095 for images of 12 bits. With it, images of more than 8 bits are "
    "measured as RGB, too.",
)
@click.option(
    "--kinds",
    type=click.Choice(KINDS),
    default="one",
    help="Where images differ in channels or depth: an error, or separate results for each kind.",
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
@options.of_sources
@click.option(
    "--per-image", metavar="FILE", help="Write a row for every image to FILE, which ends in .parquet or .csv."
)
@click.option(
    "--duplicates", is_flag=True, help="Find images with the same content: files that are equal byte by byte."
)
@click.option(
    "--resize",
    metavar="N|HxW",
    callback=options.sides,
    help="Resize before measuring: the shorter side to N, or to height x width.",
)
@click.option("--crop", metavar="N|HxW", callback=options.sides, help="Then measure only the center.")
@click.option("--crop-pct", metavar="SHARE", type=float, help="Resize to --crop divided by this, as timm does.")
@click.option("--interpolation", type=click.Choice(INTERPOLATIONS), help="How to resize; by default bilinear.")
@click.option("--recipe", type=click.Choice(tuple(RECIPES)), help="The resize and crop of published weights.")
@click.option(
    "--fast",
    is_flag=True,
    help="Decode JPEGs at a reduced scale before the resize. The numbers differ a little, and the result says so.",
)
@click.option(
    "--exif",
    type=click.Choice(["ignore", "turn"]),
    default="ignore",
    help="Turn images as their EXIF orientation says.",
)
@click.option(
    "--nodata",
    metavar="VALUE",
    callback=options.numbers,
    help="Leave this value out: -9999, 0,0,0 for pixels with these channels, or tag for what each TIFF file says.",
)
@click.option(
    "--alpha",
    type=click.Choice(ALPHA),
    default="drop",
    help="mask: leave out the pixels that are transparent all through.",
)
@click.option("--mask", metavar="FOLDER", help="Measure only where the masks in FOLDER, of the same names, are not 0.")
@click.option(
    "--sample",
    metavar="N|SHARE",
    callback=options.count_or_share,
    help="Read only so many images, drawn at random, or each with this probability (0.1, 10%). The result is an "
    "estimate, and says so.",
)
@click.option(
    "--tolerance",
    metavar="T",
    type=float,
    help="Read images in random order until the 95% interval of every mean and std reaches at most T to each side, on "
    "[0, 1]: 0.002.",
)
@click.option("--seed", metavar="N", type=int, default=0, help="Which images --sample and --tolerance draw.")
@options.max_pixels
@click.option("--memory", metavar="SIZE", help="Stay below this: 2GB, 512MiB, 25%. By default half of what is left.")
@click.option(
    "--isolate",
    is_flag=True,
    help="Decode in processes, so that a crash of a decoder costs one image. Faster for small files on many cores.",
)
@click.option("--checkpoint", metavar="FILE", help="Keep progress in FILE; the same command continues from there.")
@click.option(
    "--changed",
    type=click.Choice(["mtime", "hash"]),
    default="mtime",
    help="What makes a file count as changed for --checkpoint: its size and mtime, or its content.",
)
@options.verbose
@options.quiet
def compute(
    paths: str | list[str],
    json: str | None,
    quiet: bool,
    export_for: str | None,
    scale: float | None,
    bgr: bool,
    form: Form,
    **given: Any,
) -> None:
    """Compute mean, std and more of a dataset, reading it once.

    PATH is a folder, image, archive, shard, table, array, list, URL or glob pattern; '-' reads paths from standard
    input, one a line.

    Exit codes: 0 every image was read, 1 error, 2 wrong usage, 3 finished but some images failed, 130 interrupted.
    """
    shown = Shown(json, form, export_for, scale, bgr)
    report(lambda: gpustats.compute(paths, **given, progress=False if quiet else None), shown, quiet)
