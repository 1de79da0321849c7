"""What a difference of mean and std means for training: thresholds, and their reasons.

The shift of a dataset against numbers is the largest over channels of ``|mean - mean'| / std'`` and
``|std / std' - 1|``, both sides under the same definition.

Reasons of the thresholds
-------------------------
`NEAR`, 0.1: ImageNet's own numbers are not better known than that. Who computed them again from samples of 1,000 and
2,000 images found a blue mean of 0.401 and 0.396 for 0.406, and stds lower by 0.003 and 0.004 (pytorch/vision#1965):
shifts of up to 0.05.
`FAR`, 0.5: the weakest brightness of ImageNet-C adds 0.1, which is 0.44 stds of ImageNet, and its weakest contrast
multiplies by 0.4, a shift of 0.6; both are corruptions that cost accuracy (Hendrycks and Dietterich 2019,
"Benchmarking neural network robustness to common corruptions and perturbations", ICLR).

References
----------
Frozen weights: networks lose accuracy where the first and second moments of their features move, and regain much of it
where the statistics of batch norm are computed anew (Schneider et al. 2020, "Improving robustness against common
corruptions by covariate shift adaptation", NeurIPS, arXiv:2006.16971).
Fine-tuning: the statistics of batch norm adapt to the new data (Li et al. 2016, "Revisiting batch normalization for
practical domain adaptation", arXiv:1603.04779).
From scratch: training converges faster where each input has mean 0 over the training set and their variances are about
equal (LeCun, Bottou, Orr, Mueller 1998, "Efficient BackProp", section 4.3).
"""

from __future__ import annotations

import math

__all__ = ["FAR", "NEAR", "USES", "level", "verdict"]

NEAR = 0.1
"""Up to this shift the numbers of two datasets are the same for practical purposes."""

FAR = 0.5
"""Beyond this shift a network sees images as if they were corrupted."""

USES = ("frozen", "fine-tuning", "from scratch")
"""Pretrained weights that are not trained further, that are, and weights that start at random."""


def level(shift: float) -> str:
    """Return "near", "some way off" or "far"; "unknown" for NaN.

    Examples
    --------
    >>> level(0.05), level(0.3), level(1.0)
    ('near', 'some way off', 'far')
    """
    if math.isnan(shift):
        return "unknown"
    return "near" if shift <= NEAR else "some way off" if shift <= FAR else "far"


def verdict(name: str, shift: float) -> dict[str, str]:
    """Return what to normalize with, in a sentence or two for each of `USES`.

    Parameters
    ----------
    name : str
        Whose numbers the pretrained weights were trained with.
    shift : float
        How far the data are from these numbers; NaN where that cannot be said.
    """
    start = f"Normalize with the numbers of {name}, so that the first layers start where they were trained"
    keep = f"Normalize with the numbers of {name}: the weights were trained with them."
    frozen = {
        "near": "Your images arrive as its own did.",
        "some way off": f"Your images have a shift of {shift:.2g}, so measure the accuracy on images of yours.",
        "far": f"Your images have a shift of {shift:.2g}, as corrupted ones would. Expect a loss; compute the "
        "statistics of batch norm anew on your images, or fine-tune.",
        "unknown": "How near your images come cannot be said from these numbers.",
    }
    tuned = {
        "near": f"Normalize with the numbers of {name}; your own would be as good.",
        "some way off": f"{start}; batch norm adapts to the rest.",
        "far": f"Start with the numbers of {name}, and try your own: at a shift of {shift:.2g} the first layers have "
        "to be learned anew either way.",
        "unknown": f"{start}.",
    }
    scratch = {
        "near": f"Normalize with your own mean and std; those of {name} would do as well.",
    }
    own = "Normalize with your own mean and std (pooled): inputs of mean 0 and equal variance train fastest."
    where = level(shift)
    return dict(zip(USES, (f"{keep} {frozen[where]}", tuned[where], scratch.get(where, own)), strict=True))
