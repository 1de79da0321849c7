"""scikit-learn: `StandardScaler.partial_fit` on the pixels of one image after the other."""

from __future__ import annotations

from benchmarks.peers import Answer

NAME = "scikit-learn StandardScaler.partial_fit"
NEEDS = ("sklearn", "PIL", "numpy")


def settings(cores: int) -> list[int]:
    """It has no parallel form."""
    return [1]


def run(paths: list[str], workers: int) -> Answer:
    """Pixels are samples, channels are features."""
    import numpy as np
    from PIL import Image
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for path in paths:
        with Image.open(path) as image:
            scaler.partial_fit(np.asarray(image.convert("RGB")).reshape(-1, 3))
    return Answer((scaler.mean_ / 255).tolist(), (np.sqrt(scaler.var_) / 255).tolist(), "pooled")
