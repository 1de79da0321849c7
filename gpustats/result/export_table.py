"""How every library takes mean and std: one entry an export.

The text to paste and the object are made by `gpustats.result.exports`; the help of the command line and
``docs/export.md`` read this table too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpustats.result import builders

__all__ = ["EXPORTS", "Export"]


@dataclass(frozen=True, slots=True)
class Export:
    """How one library takes mean and std.

    Attributes
    ----------
    what : str
        What the text is for, in a few words.
    template : str
        Text with ``{mean}``, ``{std}``, ``{variance}`` and other names of `builders.values`.
    build : callable
        Takes the values by name and returns the object; imports the library.
    source : str
        The page of the library's documentation, or its source, where order, scale and arguments were looked up.
    order : {"RGB", "BGR"}
        The order of colours.
    scale : {"1", "pixel"}
        Whether the numbers are on [0, 1], or on the scale of the pixel values ([0, 255] for 8 bits).
    channels : tuple of int
        How many channels it takes; () for any number.
    fixed : bool
        Whether the library itself fixes order and scale, so that the caller cannot ask for another.
    eight_bits : bool
        Whether it takes images of 8 bits only.
    says : str
        What a user must know; the text says it too.
    is_json : bool
        Whether the text is JSON, which has no comments, and not Python.
    """

    what: str
    template: str
    build: Callable[[Mapping[str, Any]], Any]
    source: str
    order: str = "RGB"
    scale: str = "1"
    channels: tuple[int, ...] = ()
    fixed: bool = True
    eight_bits: bool = False
    says: str = ""
    is_json: bool = False


_TORCHVISION = "https://docs.pytorch.org/vision/stable/generated/torchvision.transforms"

EXPORTS: dict[str, Export] = {
    "torchvision": Export(
        "torchvision.transforms.Normalize",
        "from torchvision import transforms\n\nnormalize = transforms.Normalize(\n    mean={mean},\n    std={std},\n)",
        builders.torchvision,
        f"{_TORCHVISION}.Normalize.html",
        fixed=False,
        says="after ToTensor()",
    ),
    "torchvision-v2": Export(
        "torchvision.transforms.v2.Normalize",
        "from torchvision.transforms import v2\n\nnormalize = v2.Normalize(\n    mean={mean},\n    std={std},\n)",
        builders.torchvision_v2,
        f"{_TORCHVISION}.v2.Normalize.html",
        fixed=False,
        says="after ToDtype(torch.float32, scale=True)",
    ),
    "timm": Export(
        "timm data_config",
        "data_config = dict(\n    mean={mean_tuple},\n    std={std_tuple},\n)",
        builders.pair_of_tuples,
        "https://huggingface.co/docs/timm/reference/data",
        channels=(1, 3),
        eight_bits=True,
        says="for timm.data.create_transform(**data_config)",
    ),
    "huggingface": Export(
        "Hugging Face image processor",
        "image_processor = dict(\n    do_rescale={rescale},\n    rescale_factor={factor},\n    do_normalize=True,\n"
        "    image_mean={mean},\n    image_std={std},\n)",
        builders.huggingface,
        "https://huggingface.co/docs/transformers/main_classes/image_processor",
        channels=(1, 3),
        says='for AutoImageProcessor.from_pretrained("...", **image_processor)',
    ),
    "albumentations": Export(
        "albumentations.Normalize",
        "import albumentations as A\n\nnormalize = A.Normalize(\n"
        "    mean={mean},\n    std={std},\n    max_pixel_value={top},\n)",
        builders.albumentations,
        "https://albumentations.ai/explore/transform/Normalize/",
        says="for arrays with the values as they were read; it divides by max_pixel_value itself",
    ),
    "kornia": Export(
        "kornia.enhance.Normalize",
        "import torch\nfrom kornia.enhance import Normalize\n\n"
        "normalize = Normalize(\n    mean=torch.tensor({mean}),\n    std=torch.tensor({std}),\n)",
        builders.kornia,
        "https://kornia.readthedocs.io/en/latest/enhance.html",
        fixed=False,
        says="for tensors (B, C, H, W)",
    ),
    "mmdetection": Export(
        "MMDetection 3 data_preprocessor",
        "data_preprocessor = dict(\n    type='DetDataPreprocessor',\n    mean={mean},\n    std={std},\n"
        "    bgr_to_rgb={swap},\n    pad_size_divisor=32,\n)",
        builders.mmdetection,
        "https://mmengine.readthedocs.io/en/latest/api/generated/mmengine.model.ImgDataPreprocessor.html",
        scale="pixel",
        channels=(1, 3),
        says="MMCV loads BGR; with bgr_to_rgb=True the numbers are those of R, G, B.",
    ),
    "mmdetection-2": Export(
        "MMDetection 2 img_norm_cfg",
        "img_norm_cfg = dict(\n    mean={mean},\n    std={std},\n    to_rgb={swap},\n)",
        builders.mmdetection_2,
        "https://mmdetection.readthedocs.io/en/v2.28.2/tutorials/data_pipeline.html",
        scale="pixel",
        channels=(1, 3),
        says="MMCV loads BGR; with to_rgb=True the numbers are those of R, G, B",
    ),
    "detectron2": Export(
        "Detectron2 PIXEL_MEAN and PIXEL_STD",
        "cfg.MODEL.PIXEL_MEAN = {mean}\ncfg.MODEL.PIXEL_STD = {std}",
        builders.detectron2,
        "https://detectron2.readthedocs.io/en/latest/modules/config.html",
        order="BGR",
        scale="pixel",
        channels=(1, 3),
        says='for INPUT.FORMAT = "BGR", the default; Caffe-style weights need their own mean and a PIXEL_STD of 1',
    ),
    "ultralytics": Export(
        "Ultralytics classify_transforms",
        "from ultralytics.data.augment import classify_transforms\n\n"
        "transform = classify_transforms(\n    mean={mean_tuple},\n    std={std_tuple},\n)",
        builders.ultralytics,
        "https://docs.ultralytics.com/reference/data/augment/",
        channels=(3,),
        eight_bits=True,
        says="for classification; detection and segmentation models divide by 255 and have no mean and std to set",
    ),
    "keras": Export(
        "keras.layers.Normalization",
        "import keras\n\nnormalize = keras.layers.Normalization(\n    axis=-1,\n"
        "    mean={mean},\n    variance={variance},\n)",
        builders.keras,
        "https://keras.io/api/layers/preprocessing_layers/numerical/normalization/",
        scale="pixel",
        fixed=False,
        says="variance, not std; for pixel values (N, H, W, C) that no Rescaling layer has changed",
    ),
    "tensorflow": Export(
        "TensorFlow constants",
        "import tensorflow as tf\n\nmean = tf.constant({mean}, tf.float32)\nstd = tf.constant({std}, tf.float32)\n\n\n"
        "def normalize(image):\n    return (tf.cast(image, tf.float32) - mean) / std",
        builders.tensorflow,
        "https://www.tensorflow.org/api_docs/python/tf/cast",
        scale="pixel",
        fixed=False,
        says="for pixel values (..., H, W, C)",
    ),
    "dali": Export(
        "DALI crop_mirror_normalize",
        "from nvidia.dali import fn, types\n\n\ndef normalize(images):\n    return fn.crop_mirror_normalize(\n"
        '        images,\n        dtype=types.FLOAT,\n        output_layout="CHW",\n'
        "        mean={mean},\n        std={std},\n    )",
        builders.dali,
        "https://docs.nvidia.com/deeplearning/dali/user-guide/docs/operations/nvidia.dali.fn.crop_mirror_normalize.html",
        scale="pixel",
        says="inside a pipeline",
    ),
    "ffcv": Export(
        "FFCV NormalizeImage",
        "import numpy as np\nfrom ffcv.transforms import NormalizeImage\n\n"
        "normalize = NormalizeImage(\n    np.array({mean}),\n    np.array({std}),\n    np.float32,\n)",
        builders.ffcv,
        "https://docs.ffcv.io/_modules/ffcv/transforms/normalize.html",
        scale="pixel",
        channels=(3,),
        eight_bits=True,
    ),
    "opencv": Export(
        "OpenCV blobFromImage",
        "import cv2\nimport numpy as np\n\nmean = {mean}\n"
        "std = np.array({std}, np.float32).reshape(1, -1, 1, 1)\n\n\n"
        "def blob(image):\n    return cv2.dnn.blobFromImage(image, scalefactor=1.0, mean=mean, swapRB={swap}) / std",
        builders.opencv,
        "https://docs.opencv.org/4.x/d6/d0f/group__dnn.html",
        scale="pixel",
        channels=(1, 3),
        says="blobFromImage has one scalefactor for all channels, so the std divides its result; images as cv2.imread "
        "reads them (BGR), numbers in the order after swapRB",
    ),
    "opencv-params": Export(
        "OpenCV blobFromImageWithParams",
        "import cv2\n\nparams = cv2.dnn.Image2BlobParams(\n    scalefactor={inverse},\n"
        "    mean={mean},\n    swapRB={swap},\n)\n\n\n"
        "def blob(image):\n    return cv2.dnn.blobFromImageWithParams(image, params)",
        builders.opencv_params,
        "https://docs.opencv.org/4.x/d9/d3c/structcv_1_1dnn_1_1Image2BlobParams.html",
        scale="pixel",
        channels=(1, 3),
        says="from OpenCV 4.8 on: (image - mean) * scalefactor with a factor for each channel; images as cv2.imread "
        "reads them (BGR)",
    ),
    "openvino": Export(
        "OpenVINO PrePostProcessor",
        "from openvino import Layout, Type\nfrom openvino.preprocess import PrePostProcessor\n\n"
        "mean = {mean}\nstd = {std}\n\n\n"
        "def with_normalization(model):\n    ppp = PrePostProcessor(model)\n"
        "    ppp.input().tensor().set_element_type(Type.{element})\n"
        '    ppp.input().model().set_layout(Layout("NCHW"))\n'
        "    ppp.input().preprocess().convert_element_type(Type.f32).mean(mean).scale(std)\n    return ppp.build()",
        builders.openvino,
        "https://docs.openvino.ai/2024/openvino-workflow/running-inference/optimize-inference/"
        "optimize-preprocessing/preprocessing-api-details.html",
        scale="pixel",
        says="the model then takes pixel values (N, C, H, W)",
    ),
    "coreml": Export(
        "Core ML ImageType",
        "import coremltools as ct\n\nimage = ct.ImageType(\n"
        '    name="image",\n    shape=(1, {count}, 224, 224),\n'
        "    scale={one_scale},\n    bias={bias},\n    color_layout={layout},\n)",
        builders.coreml,
        "https://apple.github.io/coremltools/docs-guides/source/image-inputs.html",
        scale="pixel",
        channels=(1, 3),
        eight_bits=True,
        says="Core ML has one scale for all channels: with it they arrive with std {arrives}. Where that is not near "
        "enough to 1, normalize in the model before it is converted; set shape to that of the model",
    ),
    "onnxruntime": Export(
        "ONNX Runtime input",
        "import numpy as np\n\nmean = np.array({mean}, np.float32).reshape(1, -1, 1, 1)\n"
        "std = np.array({std}, np.float32).reshape(1, -1, 1, 1)\n\n\n"
        "def model_input(images):\n    return (images.transpose(0, 3, 1, 2).astype(np.float32) - mean) / std",
        builders.onnxruntime,
        "https://onnxruntime.ai/docs/api/python/api_summary.html",
        scale="pixel",
        fixed=False,
        says="images (N, H, W, C) of pixel values become the float32 input (N, C, H, W)",
    ),
    "numpy": Export(
        "NumPy arrays",
        "import numpy as np\n\nmean = np.array({mean}, np.float32)\nstd = np.array({std}, np.float32)",
        builders.numpy,
        "https://numpy.org/doc/stable/user/basics.broadcasting.html",
        fixed=False,
        says="(image - mean) / std for images (..., H, W, C)",
    ),
    "jax": Export(
        "JAX arrays",
        "import jax.numpy as jnp\n\nmean = jnp.array({mean}, jnp.float32)\nstd = jnp.array({std}, jnp.float32)",
        builders.jax,
        "https://docs.jax.dev/en/latest/_autosummary/jax.numpy.array.html",
        fixed=False,
        says="(image - mean) / std for images (..., H, W, C)",
    ),
    "plain": Export(
        "plain lists",
        "mean = {mean}\nstd = {std}",
        builders.pair_of_lists,
        "https://docs.python.org/3/library/stdtypes.html#lists",
        fixed=False,
    ),
    "lerobot": Export(
        "LeRobot meta/stats.json",
        '{{\n    "observation.images.main": {{\n        "min": {min_planes},\n        "max": {max_planes},\n'
        '        "mean": {mean_planes},\n        "std": {std_planes},\n        "count": [{images}]\n    }}\n}}',
        builders.lerobot,
        "https://github.com/huggingface/lerobot/blob/main/src/lerobot/datasets/compute_stats.py",
        channels=(3,),
        says='put the entry under the name of your camera instead of "observation.images.main"; count is images',
        is_json=True,
    ),
}
"""The exports by name."""
