"""The update rule of Keras' `Normalization.adapt`, in NumPy float32: weighted merge of batch mean and variance."""

from __future__ import annotations

from benchmarks.peers import Answer

NAME = "Keras-style adapt loop (float32)"
NEEDS = ("PIL", "numpy")


def settings(cores: int) -> list[int]:
    """One process, as `adapt` has it."""
    return [1]


def run(paths: list[str], workers: int) -> Answer:
    """A batch is an image, since sizes differ."""
    import numpy as np
    from PIL import Image

    count = 0
    mean, variance = np.zeros(3, np.float32), np.zeros(3, np.float32)
    for path in paths:
        with Image.open(path) as image:
            batch = np.asarray(image.convert("RGB")).astype(np.float32) / np.float32(255)
        batch_mean, batch_variance = batch.mean(axis=(0, 1)), batch.var(axis=(0, 1))
        pixels = batch.shape[0] * batch.shape[1]
        count += pixels
        new = np.float32(pixels / count)
        old = np.float32(1) - new
        total = mean * old + batch_mean * new
        variance = (variance + (mean - total) ** 2) * old + (batch_variance + (batch_mean - total) ** 2) * new
        mean = total
    return Answer(mean.tolist(), np.sqrt(variance).tolist(), "pooled")
