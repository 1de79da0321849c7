"""Where the time of an image goes: every step of the CPU engine timed by itself, beside the whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import simplejpeg

import gpustats
from benchmarks.timing import seconds, summary
from gpustats.sources import load, open_source
from gpustats.sources.base import batched
from gpustats.statistics import check_names
from gpustats.statistics.builder import RowBuilder
from gpustats.statistics.totals import RowBuffer, Totals

__all__ = ["gap"]

_STEPS = ("scan", "read", "header", "decode", "reduce", "fold")


def gap(paths: Sequence[str], rounds: int) -> dict[str, dict[str, float]]:
    """Return microseconds an image of every step, of the whole on one thread, and of what the steps leave over."""
    measured: dict[str, list[float]] = {name: [] for name in (*_STEPS, "left_over", "whole")}
    _steps(paths[:2])  # compiles
    for _ in range(rounds):
        steps = _steps(paths)
        whole = seconds(lambda: gpustats.compute(list(paths), device="cpu", workers=1, progress=False))
        for name, value in steps.items():
            measured[name].append(value / len(paths) * 1e6)
        measured["whole"].append(whole / len(paths) * 1e6)
        measured["left_over"].append((whole - sum(steps.values())) / len(paths) * 1e6)
    return {name: summary(values) for name, values in measured.items()}


def _steps(paths: Sequence[str]) -> dict[str, float]:
    clock = time.perf_counter
    spent = dict.fromkeys(_STEPS, 0.0)
    buffer: Any = np.empty(1 << 22, np.uint8)
    started = clock()
    batches = list(batched(open_source(list(paths)).samples()))
    spent["scan"] = clock() - started
    rows = []
    for batch in batches:
        count = len(batch)
        builder = RowBuilder(count, check_names(()))
        for key, group, item in zip(batch.keys, batch.groups, batch.items, strict=True):
            begin = clock()
            data = load(item, 1 << 30)
            read = clock()
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            header = clock()
            if height * width * 3 > buffer.size:
                buffer = np.empty(height * width * 3, np.uint8)
            pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=buffer[: height * width * 3])
            decoded = clock()
            builder.add(key, group, pixels)
            reduced = clock()
            for name, value in (
                ("read", read - begin),
                ("header", header - read),
                ("decode", decoded - header),
                ("reduce", reduced - decoded),
            ):
                spent[name] += value
        rows.append(builder.rows())
    started = clock()
    folding = RowBuffer(Totals())
    for part in rows:
        folding.add(part)
    folding.flush()
    spent["fold"] = clock() - started
    return spent
