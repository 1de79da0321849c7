"""The parts `decode` and `sweep`: the rate of decoding alone by the settings of the decoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from benchmarks.gpu.facts import nvidia_smi
from benchmarks.gpu.plan import Context
from benchmarks.gpu.setup import Machine, decode_rate, encoded_images, machine_of, tuning_so_far
from benchmarks.timing import summary
from gpustats.engines.tuning import Tuning

__all__ = ["decode", "sweep"]

_COUNT, _TINY_COUNT = 20_000, 12
_ROUNDS = 3
_LOADS = (0.0, 0.65, 1.0)
_UTILISATION = ("utilization.gpu", "utilization.decoder", "utilization.jpeg", "clocks.sm")
_BETWEEN = 0.4  # seconds between two looks at nvidia-smi
_MARGIN = 4.0  # seconds that are kept at the end of a part
_GAIN = 1.02  # a setting is taken that is better by so much


def decode(context: Context) -> dict[str, Any]:
    """Measure decoding alone at three shares of the hardware decoder, with what nvidia-smi says meanwhile."""
    machine = machine_of(context)
    images = encoded_images(context.data)
    base = tuning_so_far(context, machine)
    count = _TINY_COUNT if context.tiny else _COUNT
    rates: dict[float, list[float]] = {load: [] for load in _LOADS}
    first: dict[float, float] = {}
    busy: dict[float, dict[str, Any]] = {}
    result: dict[str, Any] = {"images": count, "settings": asdict(base), "loads": []}
    longest = 0.0
    for _ in range(1 if context.tiny else _ROUNDS):
        for load in _LOADS:
            if context.left() < longest + _MARGIN and rates[_LOADS[-1]]:
                result["stopped"] = "no time was left for more rounds"
                return result
            with _watched() as seen:
                measured = decode_rate(machine, images, replace(base, hw_decoder_load=load), count, seconds=8)
            longest = max(longest, measured["seconds"] + measured["first_batch_s"])
            rates[load].append(measured["images_per_s"])
            first.setdefault(load, measured["first_batch_s"])
            busy[load] = seen
            result["loads"] = [
                {
                    "hw_decoder_load": load,
                    "images_per_s": summary(values),
                    "first_batch_s": first[load],
                    "nvidia_smi_mean": busy[load],
                }
                for load, values in rates.items()
                if values
            ]
            context.keep(result)
    return result


@contextmanager
def _watched() -> Iterator[dict[str, Any]]:
    """Ask nvidia-smi now and then meanwhile; give the mean of what it knows."""
    found: dict[str, Any] = {}
    seen: list[dict[str, str]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_BETWEEN):
            values = nvidia_smi(_UTILISATION)
            if "error" in values:
                return
            seen.append(values)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
    for name in _UTILISATION:
        values = [value for row in seen if (value := _number(row.get(name, ""))) is not None]
        if values:
            found[name] = sum(values) / len(values)


def _number(text: str) -> float | None:
    try:
        return float(text.split()[0])  # "37 %", "1980 MHz"
    except (ValueError, IndexError):
        return None


def sweep(context: Context) -> dict[str, Any]:
    """Measure one setting after the other, each starting from the best so far, and the best against the first again."""
    machine = machine_of(context)
    images = encoded_images(context.data)
    base = tuning_so_far(context, machine)
    count = _TINY_COUNT if context.tiny else _COUNT
    best, best_rate, longest = base, 0.0, 0.0
    rows: list[dict[str, Any]] = []
    tried: set[Tuning] = set()
    result: dict[str, Any] = {"images": count, "base": asdict(base), "best": asdict(best), "rows": rows}

    def measure(tuning: Tuning) -> float:
        nonlocal longest
        measured = decode_rate(machine, images, tuning, count, seconds=6)
        longest = max(longest, measured["seconds"] + measured["first_batch_s"])
        return float(measured["images_per_s"])

    for knob, values in _knobs(machine, images, context.tiny):
        for change in values:
            tuning = replace(best, **change)
            if tuning in tried:
                continue
            if rows and context.left() < 5 * longest + _MARGIN:  # four measurements come after these
                result["stopped"] = f"no time was left at {knob}"
                break
            tried.add(tuning)
            row: dict[str, Any] = {"knob": knob, **{name: str(value) for name, value in change.items()}}
            try:
                row["images_per_s"] = measure(tuning)
            except Exception as error:  # noqa: BLE001 - a setting that does not work is one that is not taken
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            row["settings"] = asdict(tuning)
            rows.append(row)
            if row.get("images_per_s", 0.0) > best_rate * (_GAIN if tuning != base else 1.0):
                best, best_rate = tuning, row["images_per_s"]
                result["best"] = asdict(best)
            context.keep(result)
    again: dict[str, list[float]] = {"base": [], "best": []}
    for _ in range(1 if context.tiny else 2):
        if context.left() > 2 * longest + 1:
            again["base"].append(measure(base))
            again["best"].append(measure(best))
    if again["base"]:
        result["again"] = {name: summary(values) for name, values in again.items()}
        if again["base"] and result["again"]["base"]["median"] >= result["again"]["best"]["median"]:
            result["best"] = asdict(base)
            result["remark"] = "the settings of the sweep were not faster when measured again; the first ones stay"
    return result


def _knobs(machine: Machine, images: Sequence[bytes], tiny: bool) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return what is tried: for each knob the changes of the settings."""
    if tiny:
        return [
            ("hw_decoder_load", [{"hw_decoder_load": 0.65}]),
            ("hybrid_huffman_threshold", [{"hybrid_huffman_threshold": 0}]),
            ("batch_size", [{"batch_size": size} for size in (4, 6)]),
        ]
    cores = machine.cores
    threads = sorted({max(1, cores // 4), max(1, cores // 2), max(1, cores - 1), cores})
    return [
        ("hw_decoder_load", [{"hw_decoder_load": load} for load in (0.65, 0.0, 0.2, 0.4, 0.8, 0.9, 1.0)]),
        (
            "hybrid_huffman_threshold",
            [{"hybrid_huffman_threshold": pixels} for pixels in (1_000_000, 0, 100_000, 300_000, 100_000_000)],
        ),
        (
            "preallocation",
            [{f"preallocate_{side}_hint": pixels for side in ("width", "height")} for pixels in (0, 1024)],
        ),
        ("threads", [{"threads": number} for number in threads]),
        ("batch_size", [{"batch_size": size} for size in (128, 256, 512)]),
        ("prefetch", [{"prefetch": depth} for depth in (2, 3, 4)]),
        # The best share depends on the threads and the batch.
        ("hw_decoder_load again", [{"hw_decoder_load": load} for load in (0.3, 0.5, 0.65, 0.8)]),
    ]
