"""``gpustats inspect``."""

from __future__ import annotations

from typing import Any

import click

from gpustats.cli import options
from gpustats.cli.output import EXIT_FAILURES, FAILURES_SHOWN, alone, fail, say, show
from gpustats.errors import GpustatsError

__all__ = ["inspect"]


@click.command(epilog="Example: gpustats inspect photos/")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, callback=options.listed)
@options.result_file("--json", help="Write what was found as JSON to FILE, '-' for standard output.")
@click.option("--seconds", metavar="N", type=float, default=10.0, help="How long to list images at most.")
@options.of_sources
@options.max_pixels
@options.quiet
def inspect(paths: str | list[str], json: str | None, quiet: bool, **given: Any) -> None:
    """Say what 'compute' would read, and how: images, columns, groups, sizes, and about how long it takes.

    PATH is what 'compute' takes. Images are listed, the headers of the first hundred are read, and a few are decoded.

    Exit codes: 0 nothing is wrong so far, 1 error, 2 wrong usage, 3 some images would fail, 130 interrupted.
    """
    from gpustats.inspection.inspect import inspect as look
    from gpustats.result.saving import write_text

    try:
        found = look(paths, **given)
        for failure in list(found.failures)[:FAILURES_SHOWN]:
            say(f"would fail: {failure}", quiet)
        if json is not None and not alone(json):
            write_text(json, lambda: [found.to_json(), "\n"])
    except (GpustatsError, ValueError) as error:
        fail(error)
    show(found.to_json() if alone(json) else found.to_text())
    if len(found.failures):
        raise SystemExit(EXIT_FAILURES)
