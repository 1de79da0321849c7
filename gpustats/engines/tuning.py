"""Settings of the GPU engine, chosen from the device and the cores by a table that measurements fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from gpustats.errors import OptionError

__all__ = ["Tuning", "choose"]


_FROM_ZERO = frozenset(
    {
        "hw_decoder_load",
        "hybrid_huffman_threshold",
        "preallocate_width_hint",
        "preallocate_height_hint",
        "cpu_workers",
    }
)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the GPU engine is run.

    Attributes
    ----------
    batch_size : int
        Images a batch, at most.
    batch_bytes : int
        Bytes of decoded pixels a batch, at most; a larger image is one batch.
    threads : int
        CPU threads of DALI: nvJPEG decodes the Huffman codes of what the hardware decoder does not take on them.
    readers : int
        Threads that read files ahead.
    hw_decoder_load : float
        Share of a batch that goes to the hardware JPEG decoder, 0 to 1.
    hybrid_huffman_threshold : int
        Images with more pixels have their Huffman codes decoded by nvJPEG's hybrid decoder, smaller ones on the CPU
        threads alone.
    preallocate_width_hint, preallocate_height_hint : int
        Size of image for which the hardware decoder takes memory before the first batch; 0: none.
    prefetch : int
        Batches that DALI keeps in flight.
    cpu_workers : int
        Threads that decode whole images on the CPU while the GPU works. 0: only what the GPU does not take.
    max_gpu_pixels : int
        Larger images are decoded on the CPU.
    """

    batch_size: int = 256
    batch_bytes: int = 512 << 20
    threads: int = 4
    readers: int = 2
    hw_decoder_load: float = 0.65
    hybrid_huffman_threshold: int = 1_000_000
    preallocate_width_hint: int = 0
    preallocate_height_hint: int = 0
    prefetch: int = 2
    cpu_workers: int = 0
    max_gpu_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in _FROM_ZERO else 1
            right_type = isinstance(value, int | float) if field.name == "hw_decoder_load" else type(value) is int
            if not right_type or value < least or (field.name == "hw_decoder_load" and value > 1):
                raise OptionError(f"gpu_options: {field.name} should be a number of at least {least}, got {value!r}")


# Part of the device's name -> settings found best on it. NOT ONE ROW WAS MEASURED YET: this table waits for
# `python -m benchmarks gpu`, whose sweep prints the row to put here.
_MEASURED: dict[str, Tuning] = {}


def choose(device_name: str, cores: int, overrides: Mapping[str, int | float] | None = None) -> Tuning:
    """Return the settings for a device.

    Parameters
    ----------
    device_name : str
        As CUDA gives it, such as ``"NVIDIA H200"``.
    cores : int
        Cores that the process may use.
    overrides : mapping, optional
        Attributes of `Tuning` by name.

    Raises
    ------
    OptionError
        For an unknown name or a value out of range.

    Examples
    --------
    >>> choose("some GPU", cores=16, overrides={"batch_size": 64}).batch_size
    64
    """
    tuning = next((row for part, row in _MEASURED.items() if part in device_name), Tuning(threads=max(1, cores - 1)))
    known = [field.name for field in fields(Tuning)]
    for name in overrides or ():
        if name not in known:
            raise OptionError(f"gpu_options: unknown setting {name!r}; known are {', '.join(known)}")
    return replace(tuning, **dict(overrides or {}))  # type: ignore[arg-type]  # checked in __post_init__
