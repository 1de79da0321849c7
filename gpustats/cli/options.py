"""Options that several commands have, and the values of options that need reading."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from gpustats.cli.output import fail
from gpustats.errors import DataError
from gpustats.result.saving import check_target

__all__ = [
    "bgr",
    "count_or_share",
    "export_for",
    "listed",
    "max_pixels",
    "names",
    "numbers",
    "of_sources",
    "quiet",
    "result_file",
    "scale",
    "sides",
    "storage_options",
    "verbose",
    "workers",
]

_Command = Callable[..., None]


def workers(command: _Command) -> _Command:
    """Add ``--workers`` to a command."""
    add = click.option(
        "--workers",
        metavar="N",
        type=click.IntRange(min=1),
        help="Threads that decode. By default the cores that this process may use.",
    )
    return add(command)


def quiet(command: _Command) -> _Command:
    """Add ``--quiet`` to a command."""
    add = click.option("--quiet", "-q", is_flag=True, help="Write nothing but errors to standard error.")
    return add(command)


def result_file(*names: str, help: str) -> Callable[[_Command], _Command]:
    """Add an option for the file of a result to a command: it is checked before anything is computed."""
    return click.option(*names, metavar="FILE", callback=_checked, help=help)


def _checked(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    if path is not None and path != "-":
        try:
            check_target(path)
        except DataError as error:
            fail(error)
    return path


def export_for(required: bool) -> Callable[[_Command], _Command]:
    """Return what adds ``--for`` to a command."""
    return click.option(
        "--for",
        "export_for",
        metavar="NAME",
        required=required,
        help="The library whose syntax is wanted; 'gpustats export --help' lists them.",
    )


def scale(command: _Command) -> _Command:
    """Add ``--scale`` to a command."""
    add = click.option(
        "--scale",
        metavar="N",
        type=float,
        help="The value that the largest pixel value is shown as: 255 for the values of 8 bits. By default 1, and in "
        "the text of --for what its library uses.",
    )
    return add(command)


def bgr(command: _Command) -> _Command:
    """Add ``--bgr`` to a command."""
    add = click.option("--bgr", is_flag=True, help="Print mean and std to paste in the order blue, green, red.")
    return add(command)


def verbose(command: _Command) -> _Command:
    """Add ``--verbose`` to a command."""
    add = click.option(
        "--verbose",
        "-v",
        is_flag=True,
        expose_value=False,
        callback=_log,
        help="Say on standard error what was decided, such as why the GPU is not used.",
    )
    return add(command)


def _log(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("gpustats").setLevel(logging.INFO)


def listed(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> str | list[str]:
    """Read paths, where ``-`` stands for those on standard input: one a line, or ended by null characters."""
    paths: list[str] = []
    for path in given:
        paths += _from_input() if path == "-" else [path]
    if given and not paths:
        fail("standard input: there is no path in it; give one a line")
    return paths[0] if given != ("-",) and len(paths) == 1 else paths


def _from_input() -> list[str]:
    data = sys.stdin.buffer.read() if sys.stdin is not None else b""
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]


def names(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> list[str]:
    """Read names that are separated by commas, or given one by one."""
    return [name for text in given for name in text.split(",")]


def sides(context: click.Context, parameter: click.Parameter, text: str | None) -> int | tuple[int, int] | None:
    """Read ``256``, or ``256x512`` as height and width."""
    if text is None:
        return None
    lengths = text.lower().split("x")
    if len(lengths) > 2 or not all(length.isdecimal() for length in lengths):
        raise click.BadParameter(f"should be a length (256) or height x width (256x512), got {text!r}")
    return int(text) if len(lengths) == 1 else (int(lengths[0]), int(lengths[1]))


def numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...] | str | None:
    """Read ``-9999``, or ``0,0,0`` as one number for each channel; ``tag`` stays as it is."""
    if text is None or text == "tag":
        return text
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise click.BadParameter(f"should be a number (-9999), or one for each channel (0,0,0), got {text!r}") from None


class _AsTyped(float):
    """A number that messages show as the user typed it: ``10%``."""

    _text: str

    def __new__(cls, number: float, text: str) -> _AsTyped:
        typed = super().__new__(cls, number)
        typed._text = text
        return typed

    def __repr__(self) -> str:
        return self._text


def count_or_share(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Read ``100`` as a count, ``0.01`` and ``1%`` as a share."""
    if text is None:
        return None
    try:
        if text.isdecimal():
            return int(text)
        return _AsTyped(float(text[:-1]) / 100 if text.endswith("%") else float(text), text)
    except ValueError:
        name = max(parameter.opts, key=len)
        raise click.UsageError(f"{name} should be a count (100) or a share (0.01, 1%), got {text!r}", context) from None


def storage_options(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Any] | None:
    """Read names and values. A value is read as JSON where it is JSON, and taken as text otherwise."""
    options: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise click.UsageError(f"--storage-option should be NAME=VALUE, got {name!r}", context)
        try:
            options[name] = json.loads(value)
        except (ValueError, RecursionError):
            options[name] = value
    return options or None


def of_sources(command: _Command) -> _Command:
    """Add the options to a command that say what is read of a source, and how."""
    for add in reversed(_OF_SOURCES):
        command = add(command)
    return command


def max_pixels(command: _Command) -> _Command:
    """Add ``--max-pixels`` to a command."""
    add = click.option(
        "--max-pixels",
        metavar="N",
        type=click.IntRange(min=1),
        default=512_000_000,
        help="Images with more pixels fail as too_large, before memory is allocated.",
    )
    return add(command)


_OF_SOURCES = (
    click.option(
        "--column",
        metavar="NAME",
        help="Column, extension in an archive, or .npz array that holds images or their paths.",
    ),
    click.option("--feature", metavar="NAME", help="TFRecord feature that holds the encoded image."),
    click.option(
        "--group", metavar="NAME", help="Column, feature or WebDataset extension that names the group of an image."
    ),
    click.option(
        "--group-by",
        metavar="folder|label|NAME",
        help="Compute each group too: by first-level folder, by the label that the data names, or by this column.",
    ),
    click.option("--root", metavar="FOLDER|URL", help="Folder that relative paths in a list or manifest start from."),
    click.option(
        "--suffixes",
        metavar="ENDINGS",
        callback=lambda context, parameter, text: None if text is None else text.split(","),
        help="Endings of images that are named without them: .jpg,.png. By default those of all formats.",
    ),
    click.option(
        "--layout", metavar="AXES", default="auto", help="Axes of arrays: auto, HW, HWC, CHW, NHW, NHWC or NCHW."
    ),
    click.option("--color-order", metavar="ORDER", help="Order of the channels of arrays, such as BGR."),
    click.option(
        "--repeats",
        type=click.Choice(["once", "count"]),
        default="once",
        help="How often a file counts that is named more than once, by a list, a manifest or several PATHs.",
    ),
    click.option(
        "--storage-option",
        "storage_options",
        metavar="NAME=VALUE",
        multiple=True,
        callback=storage_options,
        help="For the file system of a URL, as often as needed: anon=true, endpoint_url=... Keep secrets in the "
        "environment or in the file system's own files: other users may see this command line.",
    ),
)
