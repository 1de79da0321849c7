"""``gpustats compare``."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click

import gpustats
from gpustats.cli.output import EXIT_DIFFERS, fail, say
from gpustats.errors import GpustatsError
from gpustats.result.presets import presets

__all__ = ["compare"]


@click.command(
    epilog="\b\nPresets are:\n"
    + "\n".join(f"  {name:<18}mean {entry.mean}" for name, entry in presets.items())
    + "\n\nExample: gpustats compare stats.json imagenet"
)
@click.argument("a")
@click.argument("b")
@click.option("--json", "file", metavar="FILE", help="Write the comparison as JSON to FILE, '-' for standard output.")
@click.option(
    "--fail-above",
    metavar="SHIFT",
    type=click.FloatRange(min=0),
    help="End with exit code 4 where a mean or std is further from B's than this many stds of B, for CI.",
)
def compare(a: str, b: str, file: str | None, fail_above: float | None) -> None:
    """Compare a result with another or with numbers in circulation.

    A and B are each a result that --json or Stats.save wrote, or the name of a preset. It is said what a network sees
    after Normalize with the numbers of B, and what to normalize with.

    Exit codes: 0 compared, 1 error, 2 wrong usage, 4 the difference is above --fail-above.
    """
    if fail_above is not None and math.isnan(fail_above):
        fail("--fail-above should be a number such as 0.5, got nan")
    try:
        found = gpustats.compare(a, b)
    except GpustatsError as error:
        fail(error)
    if file == "-":
        click.echo(json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        click.echo(repr(found))
        if file is not None:
            try:
                Path(file).write_text(json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
            except OSError as error:
                fail(f"{file}: cannot be written: {error.strerror}")
    if fail_above is None:
        return
    if math.isnan(found.shift):
        fail(f"--fail-above has nothing to judge: there is no shift between {found.a} and {found.b}")
    if found.shift > fail_above:
        say(f"the shift of {found.shift:.3g} is above --fail-above {fail_above:g}", quiet=False)
        raise SystemExit(EXIT_DIFFERS)
