"""The loop that ImageNet's numbers come from: torchvision's transforms, then mean and std image by image."""

from __future__ import annotations

from benchmarks.peers import Answer

NAME = "torchvision's transforms, image by image"
NEEDS = ("torch", "torchvision", "PIL")


def settings(cores: int) -> list[int]:
    """A plain loop in one process; PyTorch's own threads share the arithmetic."""
    return [0]


def run(paths: list[str], workers: int) -> Answer:
    """Resize the shorter side to 256, crop 224, and average the means and stds of the images."""
    import torch
    from PIL import Image
    from torchvision import transforms

    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    means, stds = [], []
    for path in paths:
        with Image.open(path) as image:
            values = prepare(image.convert("RGB"))
        means.append(torch.mean(values, dim=(1, 2)))
        stds.append(torch.std(values, dim=(1, 2)))
    return Answer(torch.stack(means).mean(0).tolist(), torch.stack(stds).mean(0).tolist(), "image_unbiased")
