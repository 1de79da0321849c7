"""Datumaro: `compute_image_statistics`, what `datum stats` prints as the image mean and std of a dataset.

It also hashes every image to count duplicates. Its mean weighs both halves of the list alike at each step, whatever
they hold, so it is that of all pixels only where images are of one size and their number is a power of two.
"""

from __future__ import annotations

from benchmarks.peers import Answer

NAME = "Datumaro compute_image_statistics"
NEEDS = ("datumaro",)


def settings(cores: int) -> list[int]:
    """It has no parallel form."""
    return [1]


def run(paths: list[str], workers: int) -> Answer:
    """A dataset of the files as they are, on [0, 255] as Datumaro reports it."""
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image
    from datumaro.components.operations import compute_image_statistics

    items = (DatasetItem(id=str(i), media=Image.from_file(path=path)) for i, path in enumerate(paths))
    found = compute_image_statistics(Dataset.from_iterable(items, media_type=Image))["subsets"]["default"]
    mean, std = found["image mean (RGB)"], found["image std (RGB)"]
    return Answer([x / 255 for x in mean], [x / 255 for x in std], "pooled")
