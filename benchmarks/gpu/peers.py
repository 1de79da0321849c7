"""The part `peers`: what other libraries decode on the same device, where they are installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.gpu.plan import Context, Skipped
from benchmarks.gpu.setup import encoded_images
from benchmarks.timing import summary

__all__ = ["peers"]

_BATCH, _SECONDS, _ROUNDS = 256, 2.5, 3

Decode = Callable[[Sequence[bytes]], Any]


def peers(context: Context) -> dict[str, Any]:
    """Decode in batches with each peer, in turn; a peer that is absent or fails is there with the reason."""
    images = encoded_images(context.data)
    result: dict[str, Any] = {"batch_size": _BATCH, "images_per_s": {}, "skipped": {}}
    ready: dict[str, tuple[Decode, Callable[[], None]]] = {}
    for name, make in (("torchvision decode_jpeg", _torchvision), ("nvImageCodec decoder", _nvimgcodec)):
        try:
            ready[name] = make()
        except Skipped as reason:
            result["skipped"][name] = str(reason)
        except Exception as error:  # noqa: BLE001 - of a library that may be broken in any way
            result["skipped"][name] = f"{type(error).__name__}: {error}"[:300]
    rates: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(1 if context.tiny else _ROUNDS):
        for name, (decode, finish) in list(ready.items()):
            try:
                rates[name].append(_rate(decode, finish, images, 0.1 if context.tiny else _SECONDS))
            except Exception as error:  # noqa: BLE001 - as above
                result["skipped"][name] = f"{type(error).__name__}: {error}"[:300]
                del ready[name]
                continue
            result["images_per_s"][name] = summary(rates[name])
            context.keep(result)
    if not result["images_per_s"]:
        raise Skipped("; ".join(f"{name}: {reason}" for name, reason in result["skipped"].items()))
    return result


def _rate(decode: Decode, finish: Callable[[], None], images: Sequence[bytes], seconds: float) -> float:
    """Return images a second behind a first batch."""
    longer = list(images) * (1 + _BATCH // len(images) + 1)
    decode(longer[:_BATCH])
    finish()
    started = time.perf_counter()
    done = 0
    while time.perf_counter() - started < seconds:
        first = done % len(images)
        decode(longer[first : first + _BATCH])
        done += _BATCH
    finish()
    return done / (time.perf_counter() - started)


def _torchvision() -> tuple[Decode, Callable[[], None]]:
    try:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError as error:
        raise Skipped(str(error)) from None
    if not torch.cuda.is_available():
        raise Skipped("PyTorch sees no CUDA device")

    def decode(batch: Sequence[bytes]) -> Any:
        tensors = [torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for data in batch]
        return decode_jpeg(tensors, mode=ImageReadMode.RGB, device="cuda")

    return decode, torch.cuda.synchronize


def _nvimgcodec() -> tuple[Decode, Callable[[], None]]:
    try:
        import cupy
        from nvidia import nvimgcodec
    except ImportError as error:
        raise Skipped(str(error)) from None
    if not cupy.cuda.runtime.getDeviceCount():
        raise Skipped("there is no CUDA device")
    decoder = nvimgcodec.Decoder(device_id=0)

    def decode(batch: Sequence[bytes]) -> Any:
        found = decoder.decode([np.frombuffer(data, np.uint8) for data in batch])
        if any(image is None for image in found):
            raise RuntimeError("an image was not decoded")
        return found

    return decode, cupy.cuda.runtime.deviceSynchronize
