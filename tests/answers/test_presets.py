"""Every number of a preset, with the place where it was read."""

from __future__ import annotations

import numpy as np
import pytest

import gpustats
from gpustats import DataError
from gpustats.result.presets import preset, presets
from gpustats.statistics import catalogue

CITED = {
    # "mean=[0.485, 0.456, 0.406] and std=[0.229, 0.224, 0.225]"; "probably used mean([std(img) for img in dataset])",
    # "probably resized each image to 256 and center cropped it to 224".
    "imagenet": ("pytorch/vision/pull/1965", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    # _transform: Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    "clip": (
        "openai/CLIP/blob/main/clip/clip.py",
        [0.48145466, 0.4578275, 0.40821073],
        [0.26862954, 0.26130258, 0.27577711],
    ),
    # "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]
    "siglip": ("google/siglip-base-patch16-224/blob/main/preprocessor_config.json", [0.5] * 3, [0.5] * 3),
    # IMAGENET_INCEPTION_MEAN = (0.5, 0.5, 0.5), IMAGENET_INCEPTION_STD = (0.5, 0.5, 0.5)
    "inception": ("timm/data/constants.py", [0.5] * 3, [0.5] * 3),
    # mode "caffe": 'RGB'->'BGR', mean = [103.939, 116.779, 123.68], std = None
    "caffe-bgr": ("keras/src/applications/imagenet_utils.py", [103.939, 116.779, 123.68], [1.0] * 3),
    # "mean: [0.49139968 0.48215841 0.44653091] stddev: [0.24703223 0.24348513 0.26158784]"
    "cifar10": (
        "akamaster/pytorch_resnet_cifar10/issues/9",
        [0.49139968, 0.48215841, 0.44653091],
        [0.24703223, 0.24348513, 0.26158784],
    ),
    # "Seems like the std values were computed by averaging the individual image std values": (0.2023, 0.1994, 0.2010)
    "cifar10-per-image": (
        "chenyaofo/image-classification-codebase/issues/5",
        [0.4914, 0.4822, 0.4465],
        [0.2023, 0.1994, 0.2010],
    ),
    # CIFAR100_TRAIN_MEAN, CIFAR100_TRAIN_STD
    "cifar100": (
        "weiaicunzai/pytorch-cifar100/blob/master/conf/global_settings.py",
        [0.5070751592371323, 0.48654887331495095, 0.4409178433670343],
        [0.2673342858792401, 0.2564384629170883, 0.27615047132568404],
    ),
    # transforms.Normalize((0.1307,), (0.3081,))
    "mnist": ("pytorch/examples/issues/653", [0.1307], [0.3081]),
    # mean 0.2860, std 0.3530 of the 60,000 training images
    "fashion-mnist": ("keon/3-min-pytorch/issues/26", [0.2860], [0.3530]),
}


def test_every_preset_is_cited() -> None:
    assert list(presets) == list(CITED)
    assert gpustats.presets is presets


@pytest.mark.parametrize("name", CITED)
def test_numbers_are_those_of_the_source(name: str) -> None:
    source, mean, std = CITED[name]
    entry = preset(name)
    assert entry.name == name
    assert entry.source.startswith("https://")
    assert entry.source.endswith(source)
    assert list(entry.mean) == mean
    assert list(entry.std) == std
    assert (entry.order, entry.scale) == {
        "caffe-bgr": ("BGR", 255),
        "mnist": ("L", 1),
        "fashion-mnist": ("L", 1),
    }.get(name, ("RGB", 1))
    assert {entry.mean_is, entry.std_is} <= {"", *catalogue()}
    assert entry.statistics == (entry.mean != (0.5, 0.5, 0.5))
    assert len(entry.mean) == len(entry.std) == len(entry.order)


def test_definitions() -> None:
    assert preset("imagenet").std_is == preset("cifar10-per-image").std_is == "per_image.std_unbiased"
    for name in ("cifar10", "cifar100", "mnist", "fashion-mnist"):
        assert (preset(name).mean_is, preset(name).std_is) == ("mean", "std")
    np.testing.assert_allclose(
        np.array(preset("caffe-bgr").mean[::-1]) / 255, preset("imagenet").mean, atol=0.003
    )  # the same data, in the other order and scale


def test_an_unknown_name_suggests_the_nearest() -> None:
    for given, near in [("imagnet", "imagenet"), ("CIFAR10", "cifar10"), ("fashion_mnist", "fashion-mnist")]:
        with pytest.raises(DataError, match=f"no preset and no file '{given}'. Did you mean '{near}'"):
            preset(given)
    with pytest.raises(DataError, match=r"no file 'xyz'\. Presets are imagenet, "):
        preset("xyz")
