"""Loops that give images more than once, or not all of them. The same with the real packages: test_loaders_real.py."""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.sources.repetition import Repetition

IMAGES = np.random.default_rng(3).integers(0, 256, (24, 5, 4, 3), dtype=np.uint8)


def of_torch(name: str, **attributes: Any) -> Any:
    """Return an object of a class that says that it is PyTorch's."""
    return type(name, (SimpleNamespace,), {"__module__": "torch.utils.data"})(**attributes)


class DataLoader:
    """Gives what workers yield in turn, as PyTorch's does."""

    __module__ = "torch.utils.data"

    def __init__(self, *workers: Any, size: int | None = 4, num_workers: int | None = None, drop: bool = False) -> None:
        self.workers, self.size, self.batch_size, self.drop_last = workers, size, size, drop
        self.dataset: Any = of_torch("IterableDataset")
        self.num_workers = len(workers) if num_workers is None else num_workers
        self.batch_sampler = self.sampler = None

    def __iter__(self) -> Iterator[Any]:
        yield from (
            batch
            for batches in itertools.zip_longest(*map(self._batches, self.workers))
            for batch in batches
            if batch is not None
        )

    def _batches(self, images: Any) -> list[Any]:
        if self.size is None:
            return list(images)
        return [images[start : start + self.size] for start in range(0, len(images), self.size)]


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, device="cpu", progress=False, **options)


def remarks(data: Any, **options: Any) -> list[str]:
    found: list[str] = compute(data, **options).runs[0].get("remarks", [])
    return found


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("size", [4, 1, None, 24, 100])
def test_workers_that_do_not_share_their_work(size: int | None, workers: int) -> None:
    loader = DataLoader(*[IMAGES] * workers, size=size)
    match = rf"its {workers} workers yield the same images, so each image would count {workers} times: .*num_workers=1"
    with pytest.raises(gpustats.SourceStopped, match=match) as error:
        compute(loader)
    least = workers * (24 if (size or 1) >= 24 else 8)
    assert error.value.partial.n_images == least  # it is said after a round, not at the end of the run
    with pytest.warns(gpustats.ImagesFailedWarning, match="0: unreadable: DataLoader: .* yield the same images"):
        compute([loader])
    whole = compute(loader, repeats="count")
    assert whole.n_images == 24 * workers
    assert f"each of 24 different images came at least {workers} times" in " ".join(whole.to_text().split())


def test_few_images_are_seen_at_the_end() -> None:
    with pytest.raises(gpustats.SourceStopped, match="yield the same images") as error:
        compute(DataLoader(IMAGES[:2], IMAGES[:2], size=1))
    assert error.value.partial.n_images == 4
    assert compute(DataLoader(IMAGES[:1], IMAGES[:1])).n_images == 2  # of one content nothing can be said


def test_workers_that_shuffle() -> None:
    orders = [random.Random(seed).sample(range(24), 24) for seed in range(2)]
    with pytest.raises(gpustats.SourceStopped, match="yield the same images") as error:
        compute(DataLoader(*(IMAGES[order] for order in orders)))
    assert error.value.partial.n_images == 48
    black = np.concatenate([np.zeros_like(IMAGES[:9]), IMAGES])
    with pytest.raises(gpustats.SourceStopped, match="yield the same images"):
        compute(DataLoader(*(black[random.Random(seed).sample(range(33), 33)] for seed in range(2))))


BLACK = np.zeros_like(IMAGES)
COLOURS = np.stack([np.full((5, 4, 3), value, np.uint8) for value in range(20)])


@pytest.mark.parametrize(
    "workers",
    [
        (IMAGES[:12], IMAGES[12:]),
        (BLACK, BLACK),
        (np.concatenate([BLACK, IMAGES[:12]]), np.concatenate([BLACK, IMAGES[12:]])),
        (np.concatenate([COLOURS[:2]] * 8), np.concatenate([COLOURS[:2]] * 7)),  # masks: few contents, many times
        (np.concatenate([COLOURS] * 4), np.concatenate([COLOURS[::-1]] * 4)),  # many contents, each many times
        (np.concatenate([COLOURS[:9], IMAGES[:5]]), np.concatenate([COLOURS[:7], IMAGES[5:]])),  # at first the same
        (IMAGES, IMAGES[:0]),
    ],
)
def test_workers_that_share_their_work_and_have_equal_images(workers: tuple[Any, ...]) -> None:
    assert compute(DataLoader(*workers)).n_images == sum(map(len, workers))


def test_what_is_not_compared() -> None:
    assert compute(DataLoader(IMAGES, num_workers=1)).n_images == 24
    assert compute(DataLoader(IMAGES, num_workers=0)).n_images == 24
    indexed = DataLoader(np.concatenate([IMAGES, IMAGES]), num_workers=2)
    indexed.dataset, indexed.sampler = list(range(48)), of_torch("SequentialSampler")  # type: ignore[assignment]
    indexed.sampler = type("SequentialSampler", (list,), {})(range(48))  # type: ignore[assignment]
    assert remarks(indexed) == []
    assert remarks([*IMAGES, *IMAGES]) == []  # a list has what the user put there


@pytest.mark.parametrize("form", [list, lambda images: [Image.fromarray(image) for image in images]])
def test_iterables_that_come_again(form: Any) -> None:
    once, twice = form(IMAGES), form(np.concatenate([IMAGES, IMAGES]))
    assert remarks(iter(once)) == []
    said = "no image came only once: each of 24 different images came at least 2 times"
    assert remarks(iter(twice)) == [said]
    assert remarks(iter([*twice, once[0], form(IMAGES[:1] ^ 1)[0]])) == []
    assert said in " ".join(compute(iter(twice)).to_text().split())
    saved = gpustats.Stats.from_dict(compute(iter(twice)).to_dict())
    assert saved.runs[0]["remarks"] == [said]
    assert compute(iter(twice), repeats="count").n_images == 48


def test_encoded_bytes_are_compared(tmp_path: Any) -> None:
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    Image.fromarray(IMAGES[1]).save(tmp_path / "b.png")
    files = [(tmp_path / name).read_bytes() for name in ("a.png", "b.png")]
    assert "each of 2 different images came at least 2 times" in remarks(iter(files * 2))[0]


def test_a_loop_that_may_be_endless() -> None:
    with pytest.warns(UserWarning, match="every image came at least 16 times among .* itertools.islice") as found:
        compute(itertools.islice(itertools.chain.from_iterable(itertools.repeat(IMAGES)), 24 * 200))
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute(itertools.islice(itertools.chain.from_iterable(itertools.repeat(IMAGES)), 24 * 15))
        compute(iter([BLACK] * 30))


def test_a_sample_of_contents_is_compared() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5000, 2, 2), dtype=np.uint8)
    images = np.unique(images.reshape(-1, 4), axis=0).reshape(-1, 2, 2)
    watch = Repetition()
    for image in (*images, *images):
        watch.add(image)
    assert 300 < len(watch._counts) <= 1024
    assert watch.remark() == (
        f"no image came only once: each of {len(watch._counts)} images that were compared came at least 2 times"
    )
    for image in images ^ 7:
        watch.add(image)
    assert watch.remark() is None


@pytest.mark.parametrize("size", [3, 200, 33_000, 70_000])
def test_large_arrays_are_compared_in_pieces(size: int) -> None:
    first = np.random.default_rng(1).integers(0, 256, (1, size, 3), dtype=np.uint8)
    watch = Repetition()
    later = first.copy()
    later[:, size // 2 :] ^= 1
    for image in (first, first.copy(), first.transpose(2, 1, 0).copy().transpose(2, 1, 0), first[:, ::-1], later):
        watch.add(image)
    counts = sorted(watch._counts.values())
    assert counts == [1, 1, 1, 2]  # another order of the axes in memory is another content


def sampler(name: str, count: int, **attributes: Any) -> Any:
    found = type(name, (list,), {"__module__": "torch.utils.data"})(range(count))
    for key, value in attributes.items():
        setattr(found, key, value)
    return found


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (sampler("SequentialSampler", 24), []),
        (sampler("RandomSampler", 24, replacement=False), []),
        (sampler("RandomSampler", 24, replacement=True), ["RandomSampler: 24 draws with replacement from 24 items"]),
        (sampler("RandomSampler", 7, replacement=False), ["RandomSampler: 7 of 24 items"]),
        (
            sampler("WeightedRandomSampler", 50, replacement=True),
            ["WeightedRandomSampler: 50 draws with replacement from 24 items"],
        ),
        (sampler("SubsetRandomSampler", 5), ["SubsetRandomSampler: 5 of 24 items"]),
        (
            sampler("DistributedSampler", 5, rank=1, num_replicas=5, total_size=25),
            [
                "DistributedSampler: 5 of 24 items, the share of rank 1 of 5; "
                "1 item of all shares is there twice, to fill them"
            ],
        ),
        (
            sampler("DistributedSampler", 4, rank=1, num_replicas=5, total_size=20),
            ["DistributedSampler: 4 of 24 items, the share of rank 1 of 5; 4 items are in no share"],
        ),
        (
            sampler("DistributedSampler", 12, rank=1, num_replicas=2, total_size=24),
            ["DistributedSampler: 12 of 24 items, the share of rank 1 of 2"],
        ),
        (of_torch("Endless"), ["items chosen by Endless"]),
    ],
)
def test_samplers(chosen: Any, said: list[str]) -> None:
    loader = DataLoader(IMAGES)
    loader.dataset, loader.sampler = list(range(24)), chosen
    assert remarks(loader) == said
    loader.batch_sampler = of_torch("BatchSampler")
    assert remarks(loader) == said
    loader.batch_sampler = of_torch("Own")
    assert remarks(loader) == ["batches chosen by Own"]


def test_images_that_a_loader_leaves_out() -> None:
    loader = DataLoader(IMAGES[:20], drop=True, size=5)
    loader.dataset, loader.sampler = list(range(23)), sampler("SequentialSampler", 23)
    stats = compute(loader)
    assert stats.skipped == {"dropped_last": 3}
    assert "skipped: 3 that did not fill a batch" in stats.to_text()
    loader.sampler = sampler("SequentialSampler", 20)
    loader.dataset = list(range(20))
    assert compute(loader).skipped == {}
    several = DataLoader(IMAGES[:12], IMAGES[12:], drop=True)
    assert remarks(several) == ["images that do not fill a batch are left out, up to 6; how many is not known"]


@pytest.mark.parametrize("module", ["grain", "tensorflow"])
def test_remainders_of_other_libraries(module: str) -> None:
    def stage(name: str, parent: Any, **attributes: Any) -> Any:
        link = {"_parents": (parent,)} if module == "grain" else {"_input_dataset": parent}
        members = {"__module__": f"{module}.x", "__iter__": lambda self: iter(IMAGES[:20])}
        return type(name, (SimpleNamespace,), members)(**(link if parent is not None else {}), **attributes)

    first = stage("Source", None)
    known = type("Known", (list,), {"__module__": f"{module}.x"})(range(23))
    for parent, skipped, said in (
        (known, {"dropped_last": 3}, []),
        (first, {}, ["images that do not fill a batch are left out, up to 4; how many is not known"]),
    ):
        stats = compute(stage("Map", stage("Batch", parent, _drop_remainder=True, _batch_size=5)))
        assert (stats.skipped, stats.runs[0].get("remarks", [])) == (skipped, said)
        assert compute(stage("Batch", parent, _drop_remainder=False, _batch_size=5)).skipped == {}
