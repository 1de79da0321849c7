"""Mean and std that are in circulation: the numbers, how they came about, and where they stand."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from gpustats.errors import DataError

__all__ = ["Preset", "preset", "presets"]


@dataclass(frozen=True, slots=True)
class Preset:
    """Numbers that pretrained weights, papers and scripts use.

    Attributes
    ----------
    name : str
        How it is called here.
    mean : tuple of float
        On [0, `scale`], in the order of `order`.
    std : tuple of float
        The same; all 1.0 where only the mean is subtracted.
    source : str
        Where the numbers stand.
    says : str
        What they are, in a sentence.
    mean_is, std_is : str
        The number of a result that is defined in the same way: ``"mean"``, ``"per_image.std"``; empty where that is
        not known, or where the numbers are no statistics of a dataset.
    order : {"RGB", "BGR", "L"}
        The order of the channels.
    scale : int
        1, or 255 for pixel values.
    statistics : bool
        Whether the numbers are statistics of a dataset. 0.5 and 0.5 are not: they put [0, 1] onto [-1, 1].
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    says: str
    mean_is: str = ""
    std_is: str = ""
    order: str = "RGB"
    scale: int = 1
    statistics: bool = True


_HALF = (0.5, 0.5, 0.5)

presets: dict[str, Preset] = {
    entry.name: entry
    for entry in (
        Preset(
            "imagenet",
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            "https://github.com/pytorch/vision/pull/1965",
            "ImageNet, of torchvision, timm and most others: the average over images of the image's mean and std, "
            "after a resize to 256 and a crop to 224",
            "per_image.mean",
            "per_image.std_unbiased",
        ),
        Preset(
            "clip",
            (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711),
            "https://github.com/openai/CLIP/blob/main/clip/clip.py",
            "OpenAI's CLIP and most of OpenCLIP; how they were computed is not published",
        ),
        Preset(
            "siglip",
            _HALF,
            _HALF,
            "https://huggingface.co/google/siglip-base-patch16-224/blob/main/preprocessor_config.json",
            "SigLIP; no statistics, but what puts [0, 1] onto [-1, 1]",
            statistics=False,
        ),
        Preset(
            "inception",
            _HALF,
            _HALF,
            "https://github.com/huggingface/pytorch-image-models/blob/main/timm/data/constants.py",
            "Inception, many ViTs, TensorFlow's mode 'tf'; no statistics, but what puts [0, 1] onto [-1, 1]",
            statistics=False,
        ),
        Preset(
            "caffe-bgr",
            (103.939, 116.779, 123.68),
            (1.0, 1.0, 1.0),
            "https://github.com/keras-team/keras/blob/master/keras/src/applications/imagenet_utils.py",
            "Caffe's VGG and ResNet, Keras's mode 'caffe'; only the mean is subtracted, from BGR pixel values",
            order="BGR",
            scale=255,
        ),
        Preset(
            "cifar10",
            (0.49139968, 0.48215841, 0.44653091),
            (0.24703223, 0.24348513, 0.26158784),
            "https://github.com/akamaster/pytorch_resnet_cifar10/issues/9",
            "CIFAR-10, training images, all pixels pooled",
            "mean",
            "std",
        ),
        Preset(
            "cifar10-per-image",
            (0.4914, 0.4822, 0.4465),
            (0.2023, 0.1994, 0.2010),
            "https://github.com/chenyaofo/image-classification-codebase/issues/5",
            "CIFAR-10, training images, as many copied it from kuangliu/pytorch-cifar: the std is the average of "
            "the images' stds",
            "per_image.mean",
            "per_image.std_unbiased",
        ),
        Preset(
            "cifar100",
            (0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
            (0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
            "https://github.com/weiaicunzai/pytorch-cifar100/blob/master/conf/global_settings.py",
            "CIFAR-100, training images, all pixels pooled",
            "mean",
            "std",
        ),
        Preset(
            "mnist",
            (0.1307,),
            (0.3081,),
            "https://github.com/pytorch/examples/issues/653",
            "MNIST, training images, all pixels pooled",
            "mean",
            "std",
            order="L",
        ),
        Preset(
            "fashion-mnist",
            (0.2860,),
            (0.3530,),
            "https://github.com/keon/3-min-pytorch/issues/26",
            "Fashion-MNIST, training images, all pixels pooled",
            "mean",
            "std",
            order="L",
        ),
    )
}
"""The presets by name."""


def preset(name: str) -> Preset:
    """Return a preset.

    Raises
    ------
    DataError
        For a name that is not known; the nearest is suggested.

    Examples
    --------
    >>> preset("imagenet").mean
    (0.485, 0.456, 0.406)
    """
    if name in presets:
        return presets[name]
    near = difflib.get_close_matches(name.lower(), presets, 1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise DataError(
        f"there is no preset and no file {name!r:.200}.{guess} Presets are {', '.join(presets)}; a file is what "
        "--json or Stats.save wrote"
    )
