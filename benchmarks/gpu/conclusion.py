"""The part `conclusion`: what the figures mean for the table of settings and README; nothing is measured."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from benchmarks.gpu.plan import Context
from benchmarks.report import Table, markdown, spread
from gpustats.engines.tuning import Tuning

__all__ = ["conclusion"]

_MEASURED_FIELDS = frozenset(
    {
        "batch_size",
        "threads",
        "hw_decoder_load",
        "hybrid_huffman_threshold",
        "preallocate_width_hint",
        "preallocate_height_hint",
        "prefetch",
        "cpu_workers",
    }
)
_TOGETHER = "gpustats_gpu_and_"
_GAIN = 1.02


def conclusion(context: Context) -> dict[str, Any]:
    """Return the row for `gpustats.engines.tuning` as Python and the table for README as Markdown."""
    device = _device(context.earlier)
    trusted = context.earlier.get("agreement", {}).get("trusted")
    return {
        "trusted": trusted,
        "device": device,
        "tuning_row": _row(context.earlier, device),
        "readme_table": _table(context.earlier),
    }


def _device(earlier: dict[str, Any]) -> str | None:
    for name in (
        earlier.get("machine", {}).get("nvidia_smi", {}).get("name"),
        earlier.get("kernels", {}).get("device"),
    ):
        if name:
            return str(name)
    return None


def _row(earlier: dict[str, Any], device: str | None) -> str | None:
    best = earlier.get("sweep", {}).get("best")
    if not best:
        return None
    tuning = dict(best) | {"cpu_workers": _helpers(earlier)}
    default = Tuning()
    given = [
        f"{field.name}={tuning[field.name]!r}"
        for field in fields(Tuning)
        if field.name in _MEASURED_FIELDS and tuning[field.name] != getattr(default, field.name)
    ]
    return f"{device or 'no GPU'!r}: Tuning({', '.join(given)}),"


def _helpers(earlier: dict[str, Any]) -> int:
    """Return how many CPU threads beside the GPU were fastest; none where they are no help."""
    rates = {name: value["median"] for name, value in earlier.get("engines", {}).get("images_per_s", {}).items()}
    alone = rates.get("gpustats_gpu")
    together = {name: rate for name, rate in rates.items() if name.startswith(_TOGETHER)}
    if alone is None or not together:
        return 0
    name = max(together, key=lambda name: together[name])
    return int(name.removeprefix(_TOGETHER).partition("_")[0]) if together[name] > _GAIN * alone else 0


def _table(earlier: dict[str, Any]) -> list[str] | None:
    measured = earlier.get("engines", {})
    if not measured.get("images_per_s"):
        return None
    shares = measured.get("share_of_decode_only", {})
    rows = [
        (
            name.replace("_", " "),
            spread(rate),
            f"{shares[name]['median']:.2f}" if name in shares else "",
        )
        for name, rate in measured["images_per_s"].items()
    ]
    for name, rate in earlier.get("peers", {}).get("images_per_s", {}).items():
        rows.append((name, spread(rate), ""))
    from_files = [row for row in earlier.get("files", {}).get("rounds", ()) if not row["checkpoint"]]
    if from_files:
        rates = sorted(row["images_per_s"] for row in from_files)
        whole = {"median": rates[len(rates) // 2], "min": rates[0], "max": rates[-1]}
        rows.append((f"gpustats gpu, {earlier['files']['files']:,} files, with start-up", spread(whole), ""))
    return markdown(Table("", ("", "images/s", "of decoding alone"), rows))
