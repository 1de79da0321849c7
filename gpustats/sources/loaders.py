"""What a `DataLoader` of PyTorch says about which items it gives: its workers, its sampler, what it leaves out.

PyTorch is known by the module of a type; it is not imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gpustats.sources.elements import from_module
from gpustats.wording import amount

__all__ = ["is_loader", "left_out", "loader_of", "own_workers", "reads_an_index", "remarks"]

_WHOLE = ("SequentialSampler", "RandomSampler")


def is_loader(value: object) -> bool:
    """Say whether a value is a loader of batches by its name, of PyTorch or another library."""
    return "DataLoader" in _names(value)


def loader_of(value: Any) -> Any | None:
    """Return the `DataLoader` of PyTorch that a value is, or the one at the start of a pipeline of webdataset."""
    if is_loader(value) and from_module(value, "torch"):
        return value
    stages = getattr(value, "pipeline", None) if from_module(value, "webdataset") else None
    return loader_of(stages[0]) if isinstance(stages, list) and stages else None


def reads_an_index(loader: Any) -> bool:
    """Say whether the items come by an index, so that a sampler decides which ones and workers share them."""
    return "IterableDataset" not in _names(loader.dataset)


def own_workers(loader: Any) -> int:
    """Return how many workers iterate over a copy of the dataset of their own; 1 where they share it."""
    return 1 if loader is None or reads_an_index(loader) else max(1, loader.num_workers)


def left_out(data: Any) -> Iterator[tuple[int | None, int]]:
    """Yield how many items are left out to have full batches, None where that is not known, and how many at most.

    By ``drop_last`` of a loader, or ``drop_remainder`` of a dataset of ``tf.data`` or Grain.
    """
    loader = loader_of(data)
    if loader is not None:
        if loader.drop_last and loader.batch_size and reads_an_index(loader):
            yield _too_many(loader.sampler, loader.batch_size), loader.batch_size - 1
        elif loader.drop_last and loader.batch_size:
            yield None, own_workers(loader) * (loader.batch_size - 1)
        return
    while from_module(data, "tensorflow") or from_module(data, "grain"):
        parents: Sequence[Any] = getattr(data, "_parents", ())  # neither has a public name
        parent = getattr(data, "_input_dataset", parents[0] if len(parents) == 1 else None)
        if getattr(data, "_drop_remainder", False) and parent is not None:
            size = int(data._batch_size)
            yield _too_many(parent, size), size - 1
        data = parent


def _too_many(items: Any, size: int) -> int | None:
    """Return how many items are too many for full batches; None where their number is not known."""
    try:
        count = len(items)
    except TypeError:
        return None
    return count % size


def remarks(data: Any) -> Iterator[str]:
    """Yield what is to be said where a loader or a pipeline does not give each item of its dataset once."""
    loader = loader_of(data)
    if loader is None:
        stages = data.pipeline if from_module(data, "webdataset") and hasattr(data, "pipeline") else []
        if stages and "ResampledShards" in _names(stages[0]):
            yield "ResampledShards: shards are drawn with replacement"
        return
    if not reads_an_index(loader):
        yield from remarks(loader.dataset)
        return
    if loader.batch_sampler is not None and type(loader.batch_sampler).__name__ != "BatchSampler":
        yield f"batches chosen by {type(loader.batch_sampler).__name__}"
        return
    yield from _of_sampler(loader.sampler, loader.dataset)


def _of_sampler(sampler: Any, dataset: Any) -> Iterator[str]:
    name = type(sampler).__name__
    try:
        drawn, items = len(sampler), len(dataset)
    except TypeError:
        yield f"items chosen by {name}"
        return
    if "DistributedSampler" in _names(sampler):
        share = (
            f"{name}: {drawn:,} of {amount(items, 'item')}, the share of rank {sampler.rank} of {sampler.num_replicas}"
        )
        extra = sampler.total_size - items
        if extra > 0:
            share += (
                f"; {amount(extra, 'item')} of all shares {'is' if extra == 1 else 'are'} there twice, to fill them"
            )
        elif extra < 0:
            share += f"; {amount(-extra, 'item')} {'is' if extra == -1 else 'are'} in no share"
        yield share
    elif getattr(sampler, "replacement", False):
        yield f"{name}: {amount(drawn, 'draw')} with replacement from {amount(items, 'item')}"
    elif name not in _WHOLE or drawn != items:
        yield f"{name}: {drawn:,} of {amount(items, 'item')}"


def _names(value: object) -> set[str]:
    return {base.__name__ for base in type(value).__mro__}
