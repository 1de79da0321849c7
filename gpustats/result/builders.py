"""The objects of other libraries, from the values of an export. A library is imported where it is used."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpustats.result.normalization import Normalization, rounded

Values = Mapping[str, Any]


def values(numbers: Normalization, digits: int | None) -> dict[str, Any]:
    """Return what templates and builders take, by name; rounded to significant digits where a text is written.

    ``inverse`` is 1 / std. ``one_scale`` and ``bias`` are for a library with one scale for all channels: the std is
    then the root of the mean variance, and ``arrives`` says which std each channel has afterwards.
    """

    def shown(several: Sequence[float]) -> list[float]:
        return list(several) if digits is None else rounded(several, digits)

    whole = math.sqrt(math.fsum(std * std for std in numbers.std) / len(numbers.std))
    colour = len(numbers.mean) == 3
    top = float(numbers.kind.max_value or 1)
    found: dict[str, Any] = {
        "mean": shown(numbers.mean),
        "std": shown(numbers.std),
        "variance": shown([std * std for std in numbers.std]),
        "inverse": shown([1 / std for std in numbers.std]),
        "one_scale": shown([1 / whole])[0],
        "bias": shown([-mean / whole for mean in numbers.mean]),
        "arrives": rounded([std / whole for std in numbers.std], 3),
        "count": len(numbers.mean),
        "top": top,
        "rescale": not numbers.kind.as_is,
        "factor": f"1 / {top:.15g}" if digits else 1 / top,
        "swap": colour,
        "layout": "ct.colorlayout.RGB" if colour else "ct.colorlayout.GRAYSCALE",
        "element": {"uint8": "u8", "uint16": "u16"}.get(numbers.kind.dtype, "f32"),
        "images": numbers.images,
        "min": shown(numbers.minimum),
        "max": shown(numbers.maximum),
    }
    found |= {f"{name}_tuple": tuple(found[name]) for name in ("mean", "std")}
    return found | {f"{name}_planes": [[[x]] for x in found[name]] for name in ("mean", "std", "min", "max")}


def torchvision(v: Values) -> Any:
    """A torchvision.transforms.Normalize."""
    from torchvision import transforms

    return transforms.Normalize(mean=v["mean"], std=v["std"])


def torchvision_v2(v: Values) -> Any:
    """A torchvision.transforms.v2.Normalize."""
    from torchvision.transforms import v2

    return v2.Normalize(mean=v["mean"], std=v["std"])


def pair_of_tuples(v: Values) -> Any:
    """A dict of two tuples."""
    return {"mean": v["mean_tuple"], "std": v["std_tuple"]}


def pair_of_lists(v: Values) -> Any:
    """Two lists."""
    return v["mean"], v["std"]


def huggingface(v: Values) -> Any:
    """The arguments of an image processor, as a dict."""
    return {
        "do_rescale": v["rescale"],
        "rescale_factor": v["factor"],
        "do_normalize": True,
        "image_mean": v["mean"],
        "image_std": v["std"],
    }


def albumentations(v: Values) -> Any:
    """An albumentations.Normalize."""
    import albumentations

    return albumentations.Normalize(mean=v["mean"], std=v["std"], max_pixel_value=v["top"])


def kornia(v: Values) -> Any:
    """A kornia.enhance.Normalize."""
    import torch
    from kornia.enhance import Normalize

    return Normalize(mean=torch.tensor(v["mean"]), std=torch.tensor(v["std"]))


def mmdetection(v: Values) -> Any:
    """The dict of a data_preprocessor."""
    return {
        "type": "DetDataPreprocessor",
        "mean": v["mean"],
        "std": v["std"],
        "bgr_to_rgb": v["swap"],
        "pad_size_divisor": 32,
    }


def mmdetection_2(v: Values) -> Any:
    """The dict of an img_norm_cfg."""
    return {"mean": v["mean"], "std": v["std"], "to_rgb": v["swap"]}


def detectron2(v: Values) -> Any:
    """A list for cfg.merge_from_list."""
    return ["MODEL.PIXEL_MEAN", v["mean"], "MODEL.PIXEL_STD", v["std"]]


def ultralytics(v: Values) -> Any:
    """What classify_transforms returns."""
    from ultralytics.data.augment import classify_transforms

    return classify_transforms(mean=v["mean_tuple"], std=v["std_tuple"])


def keras(v: Values) -> Any:
    """A keras.layers.Normalization."""
    import keras

    return keras.layers.Normalization(axis=-1, mean=v["mean"], variance=v["variance"])


def tensorflow(v: Values) -> Any:
    """Two constants."""
    import tensorflow as tf

    return tf.constant(v["mean"], tf.float32), tf.constant(v["std"], tf.float32)


def dali(v: Values) -> Any:
    """The function crop_mirror_normalize with its arguments; it takes images."""
    from nvidia.dali import fn, types

    return functools.partial(
        fn.crop_mirror_normalize, dtype=types.FLOAT, output_layout="CHW", mean=v["mean"], std=v["std"]
    )


def ffcv(v: Values) -> Any:
    """An ffcv.transforms.NormalizeImage."""
    from ffcv.transforms import NormalizeImage

    return NormalizeImage(np.array(v["mean"]), np.array(v["std"]), np.float32)


def opencv(v: Values) -> Any:
    """A function that makes a blob of an image."""
    import cv2

    std = np.array(v["std"], np.float32).reshape(1, -1, 1, 1)
    return lambda image: cv2.dnn.blobFromImage(image, scalefactor=1.0, mean=v["mean"], swapRB=v["swap"]) / std


def opencv_params(v: Values) -> Any:
    """A cv2.dnn.Image2BlobParams."""
    import cv2

    return cv2.dnn.Image2BlobParams(scalefactor=v["inverse"], mean=v["mean"], swapRB=v["swap"])


def openvino(v: Values) -> Any:
    """A function that puts the normalization in front of a model."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    def with_normalization(model: Any) -> Any:
        ppp = PrePostProcessor(model)
        ppp.input().tensor().set_element_type(getattr(Type, v["element"]))
        ppp.input().model().set_layout(Layout("NCHW"))
        ppp.input().preprocess().convert_element_type(Type.f32).mean(v["mean"]).scale(v["std"])
        return ppp.build()

    return with_normalization


def coreml(v: Values) -> Any:
    """A coremltools.ImageType."""
    import coremltools as ct

    layout = ct.colorlayout.RGB if v["swap"] else ct.colorlayout.GRAYSCALE
    shape = (1, v["count"], 224, 224)
    return ct.ImageType(name="image", shape=shape, scale=v["one_scale"], bias=v["bias"], color_layout=layout)


def onnxruntime(v: Values) -> Any:
    """Two arrays of shape (1, C, 1, 1)."""
    return tuple(np.array(v[name], np.float32).reshape(1, -1, 1, 1) for name in ("mean", "std"))


def numpy(v: Values) -> Any:
    """Two arrays of shape (C,)."""
    return np.array(v["mean"], np.float32), np.array(v["std"], np.float32)


def jax(v: Values) -> Any:
    """Two arrays of shape (C,)."""
    import jax.numpy as jnp

    return jnp.array(v["mean"], jnp.float32), jnp.array(v["std"], jnp.float32)


def lerobot(v: Values) -> Any:
    """The entry of a camera: lists of shape (3, 1, 1)."""
    numbers = {name: v[f"{name}_planes"] for name in ("min", "max", "mean", "std")}
    return {"observation.images.main": {**numbers, "count": [v["images"]]}}
