"""The 'weak' script of the PyTorch forums: mean and std of each image, averaged over images, from a DataLoader."""

from __future__ import annotations

from benchmarks.peers import Answer
from benchmarks.peers.torch_strong import settings

__all__ = ["NAME", "NEEDS", "run", "settings"]

NAME = "PyTorch DataLoader, 'weak'"
NEEDS = ("torch", "PIL")


def run(paths: list[str], workers: int) -> Answer:
    """`torch.std` divides by n - 1."""
    import torch

    from benchmarks.peers.torch_data import loader

    mean, std, images = torch.zeros(3), torch.zeros(3), 0
    for batch in loader(paths, workers):
        flat = batch.view(batch.size(0), batch.size(1), -1)
        mean += flat.mean(2).sum(0)
        std += flat.std(2).sum(0)
        images += batch.size(0)
    return Answer((mean / images).tolist(), (std / images).tolist(), "image_unbiased")
