"""Which iterables go on for ever, as far as their libraries say so."""

from __future__ import annotations

import itertools
import sys
from typing import Any

from gpustats.sources.elements import from_module
from gpustats.sources.loaders import loader_of, reads_an_index

__all__ = ["is_endless"]


def is_endless(data: Any) -> bool:
    """Say whether a value is known to go on for ever.

    ``itertools.cycle`` and the like, a dataset of Grain or ``tf.data`` after ``repeat()``, a pipeline of webdataset
    that repeats or draws shards without the length of an epoch, and a loader of any of these.
    """
    try:
        if isinstance(data, itertools.repeat):
            return data.__length_hint__() < 0
        if isinstance(data, itertools.cycle | itertools.count):
            return True
        if from_module(data, "grain"):
            return len(data) >= sys.maxsize
        if from_module(data, "tensorflow"):
            return int(data.cardinality()) == -1  # tf.data.INFINITE_CARDINALITY
        if from_module(data, "webdataset") and (data.nsamples > 0 or _repeats(data)):
            return not data.nsamples > 0
        loader = loader_of(data)
        return loader is not None and not reads_an_index(loader) and is_endless(loader.dataset)
    except (TypeError, AttributeError):  # without a length; of `repeat` it is the word for no end
        return isinstance(data, itertools.repeat)


def _repeats(pipeline: Any) -> bool:
    first = pipeline.pipeline[0] if pipeline.pipeline else None
    return bool(max(pipeline.repetitions, getattr(first, "nshards", 1)) >= sys.maxsize)
