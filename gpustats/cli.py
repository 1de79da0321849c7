"""The command line: arguments in, text out."""

from __future__ import annotations

import json as jsonlib
import sys
import warnings
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

import gpustats
from gpustats.errors import GpustatsError, ImagesFailedWarning
from gpustats.limits.interrupts import interrupt_on_terminate
from gpustats.result.stats import Stats
from gpustats.result.text import normalize_line
from gpustats.run import Interrupted, TooManyFailures

__all__ = ["main"]

EXIT_ERROR, EXIT_FAILURES, EXIT_INTERRUPTED = 1, 3, 130

_FAILURES_SHOWN = 20

app = typer.Typer(
    help="Exact per-channel statistics of image datasets, as fast as the machine can decode them.",
    epilog="Example: gpustats compute photos/",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class OnError(str, Enum):
    """What to do about an image that cannot be read."""

    SKIP = "skip"
    RAISE = "raise"


class Changed(str, Enum):
    """How a changed file is told."""

    MTIME = "mtime"
    HASH = "hash"


_Json = Annotated[
    Optional[str],  # noqa: UP045 - typer reads this annotation at run time, on Python 3.10 too
    typer.Option("--json", metavar="FILE", help="Write the whole result as JSON to FILE, '-' for standard output."),
]
_Workers = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="Threads that decode. By default the cores that this process may use."),
]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on standard error but errors.")]


@app.command(epilog="Example: gpustats compute photos/ --json stats.json")
def compute(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Folders, images, archives, shards, tables, arrays, lists, URLs or globs."),
    ],
    device: Annotated[str, typer.Option(metavar="auto|cpu|gpu|cuda:N", help="Where to decode and reduce.")] = "auto",
    json: _Json = None,
    workers: _Workers = None,
    on_error: Annotated[OnError, typer.Option(help="Leave out an image that cannot be read, or stop.")] = OnError.SKIP,
    max_failures: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="N|SHARE", help="Stop when more images have failed: a count, or a share (0.01, 1%)."),
    ] = None,
    column: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Column, WebDataset extension or .npz array that holds the images or their paths."),
    ] = None,
    feature: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="TFRecord feature that holds the encoded image."),
    ] = None,
    group: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Column, feature or WebDataset extension that names an image's group."),
    ] = None,
    root: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FOLDER|URL", help="What relative paths in a list or manifest refer to."),
    ] = None,
    layout: Annotated[str, typer.Option(help="Axes of arrays: auto, HWC, CHW, NHW, NHWC or NCHW.")] = "auto",
    storage_option: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME=VALUE",
            help="For the file system of a URL, as often as needed: anon=true, endpoint_url=... Secrets belong into "
            "the environment or its own files, for others may see this command line.",
        ),
    ] = None,
    failures: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write every failure to FILE as it happens, one JSON object a line."),
    ] = None,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Images with more pixels fail as too_large, before memory is taken.")
    ] = 512_000_000,
    memory: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="SIZE", help="Stay below this: 2GB, 512MiB, 25%. By default half of what is left."),
    ] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Decode in processes, so that a crash of a decoder costs one image.")
    ] = False,
    checkpoint: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Keep what was read in FILE; the same command continues from there."),
    ] = None,
    changed: Annotated[
        Changed, typer.Option(help="How --checkpoint tells a changed file: by size and mtime, or by its content.")
    ] = Changed.MTIME,
    quiet: _Quiet = False,
) -> None:
    """Compute mean, std and the rest for a dataset, reading it once.

    Exit codes: 0 every image was read, 1 error, 3 finished but some images failed, 130 interrupted.
    """
    _report(
        lambda: gpustats.compute(
            paths[0] if len(paths) == 1 else paths,
            device=device,
            workers=workers,
            on_error=on_error.value,
            column=column,
            feature=feature,
            group=group,
            root=root,
            layout=layout,
            storage_options=_storage_options(storage_option or []),
            max_failures=None if max_failures is None else _count_or_share(max_failures),
            failures=failures,
            max_pixels=max_pixels,
            memory=memory,
            isolate=isolate,
            checkpoint=checkpoint,
            changed=changed.value,
            progress=False if quiet else None,
        ),
        json,
        quiet,
    )


@app.command(epilog="Example: gpustats show stats.json")
def show(file: Annotated[Path, typer.Argument(help="A result that --json or Stats.save wrote.")]) -> None:
    """Show a saved result."""
    try:
        _print_table(Stats.load(file))
    except GpustatsError as error:
        _fail(error)


@app.command(epilog="Example: gpustats demo --count 50")
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write the images.")] = Path("gpustats-demo"),
    count: Annotated[int, typer.Option(min=1, help="How many images to make.")] = 300,
    workers: _Workers = None,
    quiet: _Quiet = False,
) -> None:
    """Make a folder of synthetic JPEGs with natural-image statistics and compute them.

    A folder that is there already is computed as it is; nothing in it is changed.
    """
    if folder.exists():
        _say(f"{folder} exists: computing what is in it", quiet)
    else:
        from gpustats.demo import write_images

        _say(f"writing {count} synthetic JPEGs into {folder}", quiet)
        try:
            write_images(folder, count)
        except OSError as error:
            _fail(f"{folder}: cannot be written: {error.strerror}")
    _report(lambda: gpustats.compute(folder, workers=workers, progress=False if quiet else None), None, quiet)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(f"gpustats {gpustats.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; the `gpustats` program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    interrupt_on_terminate()
    app()


def _count_or_share(text: str) -> float:
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ValueError(f"--max-failures should be a count (100) or a share (0.01, 1%), got {text!r}") from None


def _storage_options(given: list[str]) -> dict[str, Any] | None:
    """Return names and values; a value is what JSON makes of it, else text."""
    options: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise ValueError(f"--storage-option should be NAME=VALUE, got {name!r}")
        try:
            options[name] = jsonlib.loads(value)
        except (ValueError, RecursionError):
            options[name] = value
    return options or None


def _report(run: Callable[[], Stats], json: str | None, quiet: bool) -> None:
    """Run, then write the result to where it belongs and exit with what became of it."""
    code = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImagesFailedWarning)  # told below, in full sentences
            stats = run()
        if len(stats.failures):
            code = EXIT_FAILURES
    except Interrupted as interrupt:
        stats, code = interrupt.partial, EXIT_INTERRUPTED
        _say("interrupted: the numbers are those of the images read so far", quiet=False)
    except TooManyFailures as error:
        stats, code = error.partial, EXIT_ERROR
        _say(f"error: {error}", quiet=False)
    except (GpustatsError, ValueError) as error:
        _fail(error)
    _list_failures(stats, quiet)
    try:
        if json == "-":
            typer.echo(stats.to_json())
        else:
            if json is not None:
                stats.save(json)
            _print_table(stats)
    except GpustatsError as error:
        _fail(error)
    raise typer.Exit(code)


def _print_table(stats: Stats) -> None:
    typer.echo(repr(stats))
    if stats.n_images:
        unit = stats.scaled(1)
        typer.echo(f"\n{normalize_line(unit.mean, unit.std)}")


def _list_failures(stats: Stats, quiet: bool) -> None:
    for failure in list(stats.failures)[:_FAILURES_SHOWN]:
        _say(f"failed: {failure}", quiet)
    if len(stats.failures) > _FAILURES_SHOWN:
        _say(f"... and {len(stats.failures) - _FAILURES_SHOWN:,} more; --failures FILE lists them", quiet)


def _say(message: str, quiet: bool) -> None:
    if not quiet:
        typer.echo(f"gpustats: {message}", err=True)


def _fail(error: Exception | str) -> NoReturn:
    typer.echo(f"gpustats: error: {error}", err=True)
    raise typer.Exit(EXIT_ERROR)
