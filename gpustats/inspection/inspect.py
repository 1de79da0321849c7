"""`inspect`: opens a source, walks it for a limited time and looks at its first images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from gpustats.engines.device import open_engine
from gpustats.errors import OptionError
from gpustats.failures import ImageError
from gpustats.inspection.estimate import Look, headers, seconds_a_pixel
from gpustats.inspection.inspection import Inspection
from gpustats.inspection.walk import Walk
from gpustats.result.stats import Stats
from gpustats.run import nothing_read
from gpustats.sources import SourceOptions, open_source
from gpustats.sources.grouping import Grouping
from gpustats.sources.options import Layout
from gpustats.statistics.compiled import expect
from gpustats.wording import named

__all__ = ["inspect"]


def inspect(
    data: object,
    *,
    seconds: float = 10.0,
    column: str | int | Callable[[Any], Any] | None = None,
    feature: str | None = None,
    group: str | None = None,
    group_by: str | Callable[[str], object] | None = None,
    root: str | os.PathLike[str] | None = None,
    suffixes: str | Sequence[str] | None = None,
    layout: Layout = "auto",
    color_order: str | None = None,
    repeats: Literal["once", "count"] = "once",
    storage_options: Mapping[str, Any] | None = None,
    max_pixels: int = 512_000_000,
) -> Inspection:
    """Say what `compute` would read from a dataset, and how, without reading it all.

    Images are listed, and the headers of the first hundred are read. A few of those are decoded to estimate the time.
    What has no list (records, compressed archives) is read as far as the time allows.

    Parameters
    ----------
    data : str, PathLike, array, dataset, iterable or list
        As for `compute`. At most the first hundred elements of an iterable are taken; those of an iterator are then
        gone from it.
    seconds : float
        How long to list. What was found by then is a lower bound, and the result says so.
    column, feature, group, group_by, root, suffixes, layout, color_order, repeats, storage_options, max_pixels
        As for `compute`.

    Returns
    -------
    Inspection
        Its `repr` and `to_text` are a text; `to_dict` and `to_json` are for programs.

    Raises
    ------
    AllImagesFailed
        A `DataError`, where no image can be read: a wrong `column`, several that may be the image.
    DataError
        Where the data does not exist or holds no image, or does not use an option that was given.
    OptionError
        Where an option has a value that is not supported.

    Examples
    --------
    >>> import gpustats, PIL.Image, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> PIL.Image.new("RGB", (4, 2)).save(folder / "a.png")
    >>> found = gpustats.inspect(folder)
    >>> found.images, found.complete, found.forms, found.sizes
    (1, True, {'PNG': 1}, ((2, 4),))
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise OptionError(f"{named('seconds')} should be a positive number, got {seconds!r}")
    engine = open_engine("cpu", workers=None, max_pixels=max_pixels)
    grouping = Grouping(group_by, group)
    options = SourceOptions.of(
        column=column,
        feature=feature,
        group=grouping.column,
        root=root,
        suffixes=suffixes,
        layout=layout,
        color_order=color_order,
        repeats=repeats,
        storage_options=storage_options,
        max_bytes=engine.max_bytes,
    )
    source = grouping.checked(lambda: open_source(data, options))
    walk = Walk(source, seconds, grouping.function)
    if walk.notes.stopped is not None:
        raise walk.notes.stopped
    looks = _looks(walk, engine.max_bytes)
    expect(walk.images)
    each, failures = seconds_a_pixel(walk.first, looks, engine)
    for failure in failures:
        sample = next((sample for sample in walk.first if sample[0] == failure.key), None)
        if sample is not None:
            walk.fail(sample, ImageError(failure.reason, failure.message))  # type: ignore[arg-type]
    if walk.images <= 0:
        raise nothing_read(source, walk.failures, Stats(failures=walk.failures))
    mean = sum(look.height * look.width for look in looks) / max(len(looks), 1)
    return Inspection(
        source=source.label,
        images=walk.images,
        complete=walk.complete,
        bytes=walk.bytes if walk.all_bytes or (walk.bytes and not walk.complete) else None,
        kinds=dict(walk.notes.kinds),
        images_from=dict(walk.notes.images_from),
        columns=walk.notes.there,
        group_from=walk.notes.group_from,
        groups=+walk.groups,
        listed=walk.listed,
        forms=dict(Counter(look.form for look in looks).most_common()),
        sizes=tuple((look.height, look.width) for look in looks),
        seconds=None if each is None else each * mean * walk.images,
        timed_on=str(engine.report()["device"]),
        skipped=dict(source.skipped),
        failures=walk.failures,
    )


def _looks(walk: Walk, max_bytes: int) -> list[Look]:
    """Return what the headers of the first images say; those that cannot be read are failures."""
    first = list(walk.first)
    looks: list[Look] = []
    for sample, look in zip(first, headers(first, max_bytes), strict=True):
        if isinstance(look, Look):
            looks.append(look)
        else:
            walk.fail(sample, look)
    return looks
