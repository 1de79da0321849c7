"""gpustats on CPU threads, with the resize and crop that ImageNet's weights are evaluated with."""

from __future__ import annotations

from benchmarks.peers import Answer

NAME = "gpustats, resize 256 and crop 224"
NEEDS = ()


def run(paths: list[str], workers: int) -> Answer:
    """As a user calls it."""
    import gpustats

    stats = gpustats.compute(
        paths, recipe="torchvision-imagenet", device="cpu", workers=workers, on_error="raise", progress=False
    )
    return Answer(stats.mean, stats.per_image.std_unbiased, "image_unbiased")
