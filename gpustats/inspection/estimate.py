"""Looks at the first images: their headers, and how long a few of them take to decode."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from gpustats.decode.decoder import whole_images_only
from gpustats.decode.peek import peek
from gpustats.engines.base import Engine
from gpustats.failures import Failure, ImageError
from gpustats.sources.ahead import fetched_ahead
from gpustats.sources.base import Batch, Sample, grouped
from gpustats.sources.items import Item, load

__all__ = ["Look", "headers", "seconds_a_pixel"]

_PROBE = 64 << 10  # bytes; the headers of most files are in them
_READERS = 16
_TIMED, _TIMED_PIXELS = 64, 16_000_000


@dataclass(frozen=True, slots=True)
class Look:
    """An image by its header.

    Attributes
    ----------
    form : str
        The format, or the type of its values where it is an array.
    height, width : int
        In pixels.
    """

    form: str
    height: int
    width: int


def headers(samples: list[Sample], max_bytes: int) -> list[Look | ImageError]:
    """Return what the headers of images say, in order."""
    with whole_images_only(), ThreadPoolExecutor(_READERS, thread_name_prefix="gpustats-inspect") as pool:
        return list(pool.map(lambda sample: _header(sample[2], max_bytes), samples))


def _header(item: Item, max_bytes: int) -> Look | ImageError:
    try:
        if isinstance(item, str):
            try:
                return Look(*peek(_beginning(item)))
            except ImageError:  # the header is longer, or not at the beginning
                pass
        data = load(item, max_bytes)
        if isinstance(data, bytes):
            return Look(*peek(data))
        channels = data.shape[2] if data.ndim == 3 else 1
        return Look(f"{data.dtype} array of {channels} channel{'' if channels == 1 else 's'}", *data.shape[:2])
    except ImageError as error:
        return error


def _beginning(path: str) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb", buffering=0) as file:
            return file.read(_PROBE) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (OSError, ValueError):
        return b""


def seconds_a_pixel(samples: list[Sample], looks: list[Look], engine: Engine) -> tuple[float | None, list[Failure]]:
    """Decode some images, and return how long a pixel took and which failed; None where none could be decoded.

    Parameters
    ----------
    samples, looks : list
        Images and what their headers say.
    engine : Engine
        Decodes them. The first one is decoded before: code is loaded or compiled with it.
    """
    chosen: list[Sample] = []
    pixels = 0
    for sample, look in zip(samples, looks, strict=True):
        area = look.height * look.width
        if chosen and (pixels + area > _TIMED_PIXELS or len(chosen) == _TIMED):
            break
        chosen.append(sample)
        pixels += area
    if not chosen:
        return None, []
    _, failures = _decoded(engine, chosen[:1])
    start = time.perf_counter()
    done, more = _decoded(engine, chosen)
    seconds = time.perf_counter() - start
    return (seconds / done if done else None), [*failures, *more]


def _decoded(engine: Engine, samples: list[Sample]) -> tuple[int, list[Failure]]:
    """Return how many pixels were decoded, and the failures."""
    pixels = 0
    failures: list[Failure] = []
    batches = fetched_ahead(grouped(samples))
    with closing(engine.outcomes(batch for batch in batches if isinstance(batch, Batch))) as outcomes:
        for outcome in outcomes:
            pixels += int((outcome.rows.height * outcome.rows.width).sum())
            failures += outcome.failures
    return pixels, failures
