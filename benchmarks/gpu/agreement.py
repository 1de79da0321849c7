"""The part `agreement`: pixels of every decoder path against the CPU decoder, and both engines on the same files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.plan import Context
from benchmarks.gpu.samples import by_kind, truncated
from benchmarks.gpu.setup import (
    MAX_PIXELS,
    Machine,
    cpu_engine,
    encoded_images,
    jpeg_paths,
    machine_of,
    repeated,
    tuning_so_far,
)
from gpustats.decode.decoder import Decoder
from gpustats.engines import dali
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.gpu import GpuEngine
from gpustats.engines.gpu_batch import POISON, in_arena
from gpustats.engines.spot_check import TOLERANCE
from gpustats.engines.tuning import Tuning
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from gpustats.result.stats import Stats
from gpustats.statistics.totals import Totals

__all__ = ["PATHS", "agreement", "what_came"]

Pixels = NDArray[np.uint8]

PATHS: dict[str, tuple[dali.DecodeDevice, float]] = {
    "hardware": ("mixed", 1.0),
    "hybrid": ("mixed", 0.0),
    "cpu": ("cpu", 0.0),
}
"""Decoder paths: where DALI decodes, and the share of the hardware decoder."""

ENGINE_TOLERANCE = 2e-4
"""On [0, 1], by which mean and std of all images together may differ between the engines."""

_NO_LONGER_VALID = "Current pipeline object is no longer valid."  # DALI says so after every error
_SAME_ROW = 4.0  # grey levels; a row further from the whole image on average is not that row
_BLOCK = 16  # rows of a 4:2:0 block: in the block of the cut, rows hold both


def agreement(context: Context) -> dict[str, Any]:
    """Compare; a difference above the tolerance makes the figures after it untrusted and stops nothing."""
    machine = machine_of(context)
    images = by_kind(
        jpeg_paths(context.data), 2 if context.tiny else 16, least=2 if context.tiny else 4, tiny=context.tiny
    )
    result: dict[str, Any] = {"trusted": None, "reasons": [], "tolerance": TOLERANCE, "paths": [], "each": []}
    reasons: list[str] = result["reasons"]
    for path in PATHS:
        for kind, encoded in images.items():
            try:
                row, each = _compared(machine, path, kind, encoded)
            except Exception as error:  # noqa: BLE001 - what one path does with one kind says nothing of the others
                row, each = {"path": path, "kind": kind, "error": f"{type(error).__name__}: {error}"[:500]}, []
                reasons.append(f"{path}, {kind}: {row['error']}")
            result["paths"].append(row)
            result["each"] += each
            worst = max(row.get("mean_difference", 0.0), row.get("std_difference", 0.0))
            if worst > TOLERANCE:
                reasons.append(f"{path}, {kind}: mean or std of an image differs by {worst:.3g} grey levels")
            if row.get("refused"):
                reasons.append(f"{path}, {kind}: {row['refused']} of {row['images']} images were refused")
            context.keep(result)
    result["engines"] = _engines(context, machine)
    if result["engines"]["problem"]:
        reasons.append(result["engines"]["problem"])
    result["trusted"] = not reasons
    context.keep(result)
    result["truncated"] = _truncated(machine, images["4:2:0"][: 1 if context.tiny else 4])
    return result


def _compared(
    machine: Machine, path: str, kind: str, encoded: Sequence[bytes]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the largest differences of a path on images of one kind, in grey levels, and those of every image."""
    each = []
    refused = 0
    for number, (ours, data) in enumerate(zip(_decoded(machine, path, encoded), encoded, strict=True)):
        theirs = _on_cpu(data)
        row: dict[str, Any] = {"path": path, "kind": kind, "image": number}
        if isinstance(ours, str):
            refused += 1
            each.append(row | {"refused": ours})
        elif ours.shape != theirs.shape:
            refused += 1
            each.append(row | {"refused": f"shape {ours.shape} instead of {theirs.shape}"})
        else:
            away = np.abs(ours.astype(np.int16) - theirs)
            each.append(
                row
                | {
                    "mean_difference": float(np.abs(ours.mean((0, 1)) - theirs.mean((0, 1))).max()),
                    "std_difference": float(np.abs(ours.std((0, 1)) - theirs.std((0, 1))).max()),
                    "pixel_max": int(away.max()),
                    "pixel_mean_abs": float(away.mean()),
                }
            )
    names = ("mean_difference", "std_difference", "pixel_max", "pixel_mean_abs")
    compared = [row for row in each if "refused" not in row]
    worst = {name: max(row[name] for row in compared) for name in names} if compared else {}
    return {"path": path, "kind": kind, "images": len(encoded), "refused": refused, **worst}, each


def _on_cpu(data: bytes) -> Pixels:
    decoder = Decoder(MAX_PIXELS, MemoryBudget(1 << 40, 1))
    try:
        pixels, _ = decoder.decode(data)
        return np.array(pixels)
    finally:
        decoder.release()


def _decoded(machine: Machine, path: str, encoded: Sequence[bytes]) -> list[Pixels | str]:
    """Decode in one batch; where that fails, one by one, with the message for what is refused."""
    try:
        return list(_batch(machine, path, encoded))
    except RuntimeError as error:
        if len(encoded) == 1:
            return [_message(error)]
        return [one for data in encoded for one in _decoded(machine, path, [data])]


def _batch(machine: Machine, path: str, encoded: Sequence[bytes]) -> list[Pixels]:
    device, load = PATHS[path]
    if not machine.on_gpu:
        device = "cpu"
    batches = iter([(*in_arena(encoded), np.zeros((len(encoded), 1), np.int64))])

    def source() -> dali.Fed:
        return next(batches)

    tuning = Tuning(batch_size=len(encoded), threads=2, hw_decoder_load=load)
    device_id = machine.device_id if device == "mixed" else None
    pixels, _ = dali.build_pipeline(source, tuning, device, device_id).run()
    if device == "mixed":
        pixels = pixels.as_cpu()
    return [np.array(pixels.at(i)) for i in range(len(encoded))]


def _message(error: BaseException) -> str:
    text = " ".join(str(error).replace(_NO_LONGER_VALID, "").split()) or type(error).__name__
    return text[max(0, text.find("Failed to decode")) :][:200]


def _engines(context: Context, machine: Machine) -> dict[str, Any]:
    """Compare both engines on the same files; the integers are equal where the same decoder made the pixels."""
    images = encoded_images(context.data)
    engine = machine.engine(tuning_so_far(context, machine))
    ours, theirs = (Stats(_totals(one, images)) for one in (engine, cpu_engine(machine.cores)))
    result: dict[str, Any] = {"images": ours.n_images, "problem": None}
    if (ours.n_images, ours.n_pixels) != (theirs.n_images, theirs.n_pixels):
        return result | {"problem": "the engines disagree about images or pixels"}
    mean, std = (float(np.abs(a - b).max()) for a, b in ((ours.mean, theirs.mean), (ours.std, theirs.std)))
    if max(mean, std) > ENGINE_TOLERANCE:
        result["problem"] = f"the engines differ by {mean:.2e} in the mean and {std:.2e} in the std"
    return result | {
        "mean_difference": mean,
        "std_difference": std,
        "tolerance": ENGINE_TOLERANCE,
        "equal_integers": ours.totals == theirs.totals,
        "spot_check": engine.report()["spot_check"],
        "images_by_decoder": engine.report()["images_by_decoder"],
    }


def _totals(engine: GpuEngine | CpuEngine, images: Sequence[bytes]) -> Totals:
    totals = Totals()
    for outcome in engine.outcomes(repeated(images, len(images))):
        totals.fold(outcome.rows)
    return totals


def _truncated(machine: Machine, images: Sequence[bytes]) -> list[dict[str, Any]]:
    """Say what each path does with an image whose scan ends too early; the first line is that of the CPU decoder."""
    rows = []
    for end_marker in (True, False):
        cut = [truncated(data, end_marker=end_marker) for data in images]
        whole = [_on_cpu(data) for data in images]
        rows.append(
            {"path": "gpustats on the CPU", "end_marker": end_marker, "images": [_cpu_says(data) for data in cut]}
        )
        for path in PATHS:
            said = []
            for data, expected in zip(cut, whole, strict=True):
                first, second = (_decoded(machine, path, [data])[0] for _ in range(2))
                said.append(what_came(first, second, expected))
            rows.append({"path": path, "end_marker": end_marker, "images": said})
    return rows


def _cpu_says(data: bytes) -> str:
    try:
        _on_cpu(data)
    except ImageError as error:
        return f"refuses: {error.reason}"
    return "accepts"


def what_came(first: Pixels | str, second: Pixels | str, whole: Pixels) -> str:
    """Say in words what a decoder made of a truncated image, twice, against the pixels of the whole one."""
    if isinstance(first, str):
        return f"refuses: {first}"
    if first.shape != whole.shape:
        return f"gives another size: {first.shape}"
    again = " (another result the second time)" if isinstance(second, str) or not np.array_equal(first, second) else ""
    if (first == 0).all() or (first == POISON).all():
        return f"writes nothing{again}"
    away = np.abs(first.astype(np.int16) - whole).mean((1, 2))
    wrong = np.flatnonzero(away > _SAME_ROW)
    rows = int(wrong[0]) if wrong.size else len(whole)
    rest = first[rows + _BLOCK :]
    share = f"{100 * rows / len(whole):.0f} % of the rows are right"
    if not rest.size:
        return f"{share}, nothing is left{again}"
    even = float(rest.astype(np.float64).std((0, 1)).max()) < 2.0
    return f"{share}, the rest is {'filled evenly' if even else 'garbage or made up'}{again}"
