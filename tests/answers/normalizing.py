"""How the text and the object of every export normalize images; `test_exports.py` runs all of them."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

Array = np.ndarray


class Case(NamedTuple):
    """One export.

    Attributes
    ----------
    library : str
        What has to be installed; "" for nothing.
    by_text : callable
        Takes the names that the text defines and images, uint8 of shape (N, H, W, C); returns what comes out, with the
        channels at the end, in any order.
    by_object : callable
        The same from what `Stats.to` returned.
    """

    library: str
    by_text: Callable[[dict[str, Any], Array], Array]
    by_object: Callable[[Any, Array], Array]


def quietly(library: str) -> Any:
    """Import a library, or skip. What it warns of when it is imported is its own affair."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(library, reason=f"{library} is not installed: pip install '.[export]'")


def last(images: Any) -> Array:
    """Channels first to channels last."""
    return np.moveaxis(np.asarray(images), 1, -1)


def unit(images: Array) -> Array:
    return images.astype(np.float32) / np.float32(255)


def by_formula(pair: Any, images: Array) -> Array:
    mean, std = (np.asarray(values, np.float32) for values in pair)
    return (images - mean) / std


def with_torch(normalize: Any, images: Array) -> Array:
    import torch

    return last(normalize(torch.from_numpy(np.moveaxis(unit(images), -1, 1).copy())))


def with_timm(config: Any, images: Array) -> Array:
    import timm
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        transform = timm.data.create_transform((3, *images.shape[1:3]), crop_pct=1.0, **config)
    return last(np.stack([transform(Image.fromarray(image)).numpy() for image in images]))


def with_transformers(arguments: Any, images: Array) -> Array:
    from transformers import ViTImageProcessor

    processor = ViTImageProcessor(do_resize=False, **arguments)
    return last(np.asarray(processor(list(images), return_tensors="np")["pixel_values"]))


def with_dali(normalize: Any, images: Array) -> Array:
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=len(images), num_threads=1, device_id=None)
    def pipe() -> Any:
        return normalize(fn.external_source(source=[list(images)], layout="HWC"))

    pipeline = pipe()
    pipeline.build()
    return last(np.asarray(pipeline.run()[0].as_tensor()))


def with_openvino(add: Any, images: Array) -> Array:
    import openvino
    from openvino import opset13

    parameter = opset13.parameter([len(images), 3, *images.shape[1:3]], np.float32)
    model = add(openvino.Model([opset13.add(parameter, np.float32(0))], [parameter]))
    compiled = openvino.Core().compile_model(model, "CPU")
    return last(compiled([np.moveaxis(images, -1, 1).copy()])[0])


def with_coreml(image: Any, images: Array) -> Array:
    """Core ML runs on macOS only; this is the formula of its documentation."""
    return images * np.float32(image.scale) + np.asarray(image.bias, np.float32)


def with_mmengine(config: Any, images: Array) -> Array:
    import torch
    from mmengine.model import ImgDataPreprocessor

    known = {name: config[name] for name in ("mean", "std", "bgr_to_rgb")}
    bgr = [torch.from_numpy(np.moveaxis(image[..., ::-1], -1, 0).copy()) for image in images]
    return last(ImgDataPreprocessor(**known)({"inputs": bgr}, False)["inputs"])


def with_blob(blob: Any, images: Array) -> Array:
    return last(np.concatenate([blob(np.ascontiguousarray(image[..., ::-1])) for image in images]))


def with_params(params: Any, images: Array) -> Array:
    import cv2

    return with_blob(lambda image: cv2.dnn.blobFromImageWithParams(image, params), images)


def lerobot(stats: Any, images: Array) -> Array:
    camera = stats["observation.images.main"]
    mean, std = (np.array(camera[name], np.float32) for name in ("mean", "std"))
    assert mean.shape == std.shape == (3, 1, 1)
    return last((np.moveaxis(unit(images), -1, 1) - mean) / std)


def detectron2(pairs: Any, images: Array) -> Array:
    assert pairs[::2] == ["MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"]
    return by_formula(pairs[1::2], images[..., ::-1])


def onnxruntime(pair: Any, images: Array) -> Array:
    return last(by_formula(pair, np.moveaxis(images, -1, 1)))


def of(*names: str) -> Callable[[dict[str, Any]], Any]:
    """Return what reads names that a text defines."""
    return lambda found: found[names[0]] if len(names) == 1 else tuple(found[name] for name in names)


def same(library: str, names: tuple[str, ...], apply: Callable[[Any, Array], Array]) -> Case:
    """Return the case of an export whose text defines what the object is."""
    return Case(library, lambda found, images: apply(of(*names)(found), images), apply)


PAIR = ("mean", "std")

CASES: dict[str, Case] = {
    "torchvision": same("torchvision", ("normalize",), with_torch),
    "torchvision-v2": same("torchvision", ("normalize",), with_torch),
    "timm": same("timm", ("data_config",), with_timm),
    "huggingface": same("transformers", ("image_processor",), with_transformers),
    "albumentations": same(
        "albumentations", ("normalize",), lambda n, images: np.stack([n(image=image)["image"] for image in images])
    ),
    "kornia": same("kornia", ("normalize",), with_torch),
    "mmdetection": same("mmengine", ("data_preprocessor",), with_mmengine),
    "mmdetection-2": same("", ("img_norm_cfg",), lambda c, images: by_formula((c["mean"], c["std"]), images)),
    "detectron2": Case(
        "",
        lambda found, images: by_formula(
            (found["cfg"].MODEL.PIXEL_MEAN, found["cfg"].MODEL.PIXEL_STD), images[..., ::-1]
        ),
        detectron2,
    ),
    "ultralytics": same("torchvision", ("transform",), lambda t, images: with_torch(t.transforms[-1], images)),
    "keras": same("keras", ("normalize",), lambda n, images: np.asarray(n(images.astype(np.float32)))),
    "tensorflow": Case("", lambda found, images: np.asarray(found["normalize"](images)), by_formula),
    "dali": same("nvidia.dali", ("normalize",), with_dali),
    "ffcv": same("", ("normalize",), lambda n, images: n.lookup_table[images, range(3)]),
    "opencv": same("cv2", ("blob",), with_blob),
    "opencv-params": Case("cv2", lambda found, images: with_blob(found["blob"], images), with_params),
    "openvino": same("openvino", ("with_normalization",), with_openvino),
    "coreml": same("coremltools", ("image",), with_coreml),
    "onnxruntime": Case("", lambda found, images: last(found["model_input"](images)), onnxruntime),
    "numpy": same("", PAIR, lambda pair, images: by_formula(pair, unit(images))),
    "jax": same("jax", PAIR, lambda pair, images: by_formula(pair, unit(images))),
    "plain": same("", PAIR, lambda pair, images: by_formula(pair, unit(images))),
    "lerobot": same("", ("json",), lerobot),
}


def defined(text: str, is_json: bool) -> dict[str, Any]:
    """Run a text and return the names that it defines."""
    if is_json:
        return {"json": json.loads(text)}
    names: dict[str, Any] = {"cfg": types.SimpleNamespace(MODEL=types.SimpleNamespace())}
    exec(compile(text, "export", "exec"), names)
    return names


def stand_ins(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Put small stand-ins in the place of libraries that cannot be installed everywhere, after their documentation."""
    if name == "ffcv":

        class NormalizeImage:
            def __init__(self, mean: Array, std: Array, type: Any) -> None:
                self.lookup_table = ((np.arange(256)[:, None] - mean[None, :]) / std[None, :]).astype(type)

        put(monkeypatch, "ffcv", {})
        put(monkeypatch, "ffcv.transforms", {"NormalizeImage": NormalizeImage})
    elif name == "tensorflow" and importlib.util.find_spec("tensorflow") is None:
        put(
            monkeypatch,
            "tensorflow",
            {
                "float32": np.float32,
                "constant": np.asarray,
                "cast": lambda image, dtype: image.astype(dtype),
            },
        )
    elif name == "ultralytics" and importlib.util.find_spec("ultralytics") is None:
        compose = types.SimpleNamespace

        def classify_transforms(size: int = 224, mean: Any = (0, 0, 0), std: Any = (1, 1, 1)) -> Any:
            from torchvision import transforms

            return compose(transforms=[transforms.ToTensor(), transforms.Normalize(mean, std)])

        for module in ("ultralytics", "ultralytics.data"):
            put(monkeypatch, module, {})
        put(monkeypatch, "ultralytics.data.augment", {"classify_transforms": classify_transforms})


def put(monkeypatch: pytest.MonkeyPatch, name: str, values: dict[str, Any]) -> None:
    module = types.ModuleType(name)
    vars(module).update(values)
    monkeypatch.setitem(sys.modules, name, module)
