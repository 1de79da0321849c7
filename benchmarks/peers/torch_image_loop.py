"""The recipe of torchvision's issue tracker for the ImageNet numbers: a list of image means and stds, averaged."""

from __future__ import annotations

from benchmarks.peers import Answer

NAME = "PyTorch, image by image without DataLoader"
NEEDS = ("torch", "PIL")


def settings(cores: int) -> list[int]:
    """A plain loop; PyTorch's own threads share the arithmetic."""
    return [0]


def run(paths: list[str], workers: int) -> Answer:
    """Mean and std of each image's channels, then the mean of both lists."""
    import torch

    from benchmarks.peers.torch_data import Images

    images = Images(paths)
    means, stds = [], []
    for i in range(len(images)):
        image = images[i]
        means.append(torch.mean(image, dim=(1, 2)))
        stds.append(torch.std(image, dim=(1, 2)))
    mean, std = torch.stack(means).mean(0), torch.stack(stds).mean(0)
    return Answer(mean.tolist(), std.tolist(), "image_unbiased")
