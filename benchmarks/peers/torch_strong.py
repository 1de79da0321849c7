"""The 'strong' script of the PyTorch forums: running first and second moment over all pixels, from a DataLoader."""

from __future__ import annotations

from benchmarks.peers import Answer

NAME = "PyTorch DataLoader, 'strong'"
NEEDS = ("torch", "PIL")


def settings(cores: int) -> list[int]:
    """No worker process, one, or one a core."""
    return sorted({0, 1, cores})


def run(paths: list[str], workers: int) -> Answer:
    """float32 moments, updated once a batch."""
    import torch

    from benchmarks.peers.torch_data import loader

    seen = 0
    first, second = torch.zeros(3), torch.zeros(3)
    for batch in loader(paths, workers):
        b, _, h, w = batch.shape
        pixels = b * h * w
        first = (seen * first + batch.sum(dim=[0, 2, 3])) / (seen + pixels)
        second = (seen * second + (batch**2).sum(dim=[0, 2, 3])) / (seen + pixels)
        seen += pixels
    return Answer(first.tolist(), torch.sqrt(second - first**2).tolist(), "pooled")
