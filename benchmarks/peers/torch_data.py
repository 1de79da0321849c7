"""The Dataset that the PyTorch scripts share: Pillow, RGB, `ToTensor`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset


class Images(Dataset[torch.Tensor]):
    """Images as float32 tensors (3, H, W) on [0, 1], as `torchvision.transforms.ToTensor` makes them."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        return pixels.permute((2, 0, 1)).contiguous().to(torch.get_default_dtype()).div(255)


def loader(paths: list[str], workers: int) -> DataLoader[Any]:
    """Batches of one: images of different sizes cannot be stacked."""
    return DataLoader(Images(paths), batch_size=1, num_workers=workers, shuffle=False)
