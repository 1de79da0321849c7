"""The statistics written a second time, slowly: Python integers, fractions and single floats, image by image."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

UNIT = 1 << 40


def key_hash(keys: Sequence[str]) -> int:
    """Return the order-free hash of names as the file system has them."""
    digests = [hashlib.blake2b(os.fsencode(key), digest_size=16).digest() for key in keys]
    return sum(int.from_bytes(digest, "big") for digest in digests) % 2**128


def integers(images: Sequence[np.ndarray], keys: Sequence[str]) -> dict[str, Any]:
    """Return what `Totals.to_dict` should give for the moments of 8- or 16-bit images of shape (H, W, C)."""
    channels = images[0].shape[2]
    pixels = [image.shape[0] * image.shape[1] for image in images]
    moments: dict[str, list[Any]] = {
        "n": [sum(pixels)] * channels,
        "images": [len(images)] * channels,
        "images_unbiased": [sum(n > 1 for n in pixels)] * channels,
    }
    sums = ("sum", "sumsq", "image_mean", "image_mean_sq", "image_std", "image_std_unbiased", "image_var")
    moments |= {name: [0] * channels for name in sums}
    moments["min"] = [min(int(image[..., c].min()) for image in images) for c in range(channels)]
    moments["max"] = [max(int(image[..., c].max()) for image in images) for c in range(channels)]
    moments["products"] = [[0] * 7 for _ in range(channels)]
    for image, n in zip(images, pixels, strict=True):
        for c in range(channels):
            values = image[..., c].astype(np.int64)
            s, q = int(values.sum()), sum(int((row * row).sum()) for row in values)
            row = of_image(n, s, q)
            for name in sums:
                moments[name][c] += row[name]
            products = (n * n, n * s, s * s, n * q, s * q, q * q, n**4)
            moments["products"][c] = [sum(two) for two in zip(moments["products"][c], products, strict=True)]
    return {
        "kind": {"channels": channels, "dtype": images[0].dtype.name},
        "images": len(images),
        "pixels": sum(pixels),
        "height_min": min(image.shape[0] for image in images),
        "height_max": max(image.shape[0] for image in images),
        "width_min": min(image.shape[1] for image in images),
        "width_max": max(image.shape[1] for image in images),
        "key_hash": f"{key_hash(keys):032x}",
        "statistics": ["moments"],
        "left_out": [],
        "moments": moments,
    }


def histogram(images: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return the totals that 8-bit images of shape (H, W, C) should have."""
    bins = [[0] * 256 for _ in range(images[0].shape[2])]
    for image in images:
        for pixel in image.reshape(-1, image.shape[2]).tolist():
            for c, value in enumerate(pixel):
                bins[c][value] += 1
    return {"bins": bins}


def covariance(images: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return the totals that 8- or 16-bit images of shape (H, W, C) should have."""
    channels = images[0].shape[2]
    planes = [[x for image in images for x in image[..., c].ravel().tolist()] for c in range(channels)]
    return {
        "n": len(planes[0]),
        "sum": list(map(sum, planes)),
        "products": [
            sum(x * y for x, y in zip(planes[i], planes[j], strict=True))
            for i in range(channels)
            for j in range(i, channels)
        ],
    }


def of_image(n: int, s: int, q: int) -> dict[str, int]:
    """Return what one image adds to each sum, from its pixels, sum and sum of squares."""
    deviation = float(n * q - s * s)
    mean = fixed(s / n)
    return {
        "sum": s,
        "sumsq": q,
        "image_mean": mean,
        "image_mean_sq": mean * mean,
        "image_std": fixed(math.sqrt(deviation) / n),
        "image_std_unbiased": fixed(math.sqrt(deviation / (n * (n - 1)))) if n > 1 else 0,
        "image_var": fixed(deviation / (n * n)),
    }


def fixed(value: float) -> int:
    """Round to a multiple of 2**-40, to the even one of two that are as near."""
    return round(Fraction(value) * UNIT)


def numbers(images: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Return every derived number of 8- or 16-bit images on [0, 1], from exact fractions of the pixels alone."""
    top = int(np.iinfo(images[0].dtype).max)
    found: dict[str, list[float]] = {}
    for c in range(images[0].shape[2]):
        flat = [[Fraction(int(x), top) for x in image[..., c].ravel()] for image in images]
        pooled = [x for values in flat for x in values]
        means = [_mean(values) for values in flat]
        variances = [_variance(values) for values in flat]
        unbiased = [_root(v * len(x) / (len(x) - 1)) for v, x in zip(variances, flat, strict=True) if len(x) > 1]
        channel = {
            "mean": float(_mean(pooled)),
            "std": _root(_variance(pooled)),
            "std_unbiased": _root(_variance(pooled) * len(pooled) / (len(pooled) - 1)) if len(pooled) > 1 else math.nan,
            "per_image.mean": float(_mean(means)),
            "per_image.std": math.fsum(map(_root, variances)) / len(flat),
            "per_image.std_unbiased": math.fsum(unbiased) / len(unbiased) if unbiased else math.nan,
            "per_image.rms_std": _root(_mean(variances)),
            "std_of_means": _root(_variance(means)),
            "min": float(min(pooled)),
            "max": float(max(pooled)),
        }
        for name, value in channel.items():
            found.setdefault(name, []).append(value)
    return found


def _mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def _variance(values: Sequence[Fraction]) -> Fraction:
    mean = _mean(values)
    return _mean([(x - mean) ** 2 for x in values])


def _root(value: Fraction) -> float:
    return math.sqrt(value)
