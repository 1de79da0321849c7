"""``gpustats verify``."""

from __future__ import annotations

from typing import Any

import click

from gpustats.cli import options
from gpustats.cli.output import EXIT_DIFFERS, fail
from gpustats.datasets.verify import DATASETS
from gpustats.errors import GpustatsError

__all__ = ["verify"]


@click.command(epilog="Example: gpustats verify cifar-10-batches-py/")
@click.argument("path", required=False)
@click.option(
    "--dataset",
    metavar="NAME",
    help=f"Which it is: {', '.join(DATASETS)}. By default the one of this number and size of images that is nearest.",
)
@click.option("--column", metavar="NAME", help="Column of images in a table, as for 'compute'.")
@options.workers
@options.quiet
def verify(path: str | None, dataset: str | None, column: str | None, workers: int | None, quiet: bool) -> None:
    """Compute a known dataset and say which published digits of its mean and std agree.

    PATH is your copy of the training images of CIFAR-10, CIFAR-100, MNIST or Fashion-MNIST: the files as published,
    Parquet, an array or a folder of images. Without PATH a few images with known integers are made and read.

    Exit codes: 0 all agree, 1 error, 2 wrong usage, 4 some do not.
    """
    from gpustats.datasets import verify as verification

    given: dict[str, Any] = {"column": column, "workers": workers, "progress": False if quiet else None}
    try:
        if path is not None:
            name, stats, checks = verification.verify(path, dataset, **given)
        elif dataset is not None or column is not None:
            fail("--dataset and --column are about a copy of a dataset; give its path")
        else:
            name, stats, checks = verification.verify_synthetic()
    except (GpustatsError, ValueError) as error:
        fail(error)
    click.echo(f"{name}: {stats.n_images:,} images")
    source = ""
    for check in checks:
        if check.source != source:
            source = check.source
            click.echo(f"\n{source}")
        click.echo(f"  {check}")
    bad = sum(not check.good for check in checks)
    click.echo(f"\n{len(checks) - bad} of {len(checks)} values agree")
    if bad:
        raise SystemExit(EXIT_DIFFERS)
