"""Tables from the result of the GPU suite, as far as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.report import Bars, Table, spread

__all__ = ["tables"]

_NO_VALUE = ""


def tables(result: dict[str, Any]) -> list[Table | Bars]:
    """Lay out every part that has a result.

    Parameters
    ----------
    result : dict
        Of `benchmarks.gpu.run`, whole or not.
    """
    records = result["parts"]
    found: list[Table | Bars] = [_overview(result)]
    for name, lay_out in _TABLES.items():
        if records.get(name, {}).get("result"):
            found += lay_out(records[name]["result"])
    logs = [
        (name, "; ".join(record["last_lines"][-3:])) for name, record in records.items() if record.get("last_lines")
    ]
    if logs:
        found.append(Table("Last lines of parts that ended badly", ("part", "lines"), list(logs)))
    return found


def _overview(result: dict[str, Any]) -> Table:
    agreement = result["parts"].get("agreement", {}).get("result", {})
    trusted = agreement.get("trusted")
    word = {True: "trusted", False: "NOT TRUSTED", None: "not checked"}[trusted]
    rows = []
    for name, record in result["parts"].items():
        error = record.get("error", {})
        why = record.get("reason") or (f"{error['type']}: {error['message'][:200]}" if error else _NO_VALUE)
        rows.append((name, record["status"], record.get("seconds", _NO_VALUE), _line(why)))
    notes = [
        f"State: {result['state']} after {result['seconds']:.0f} s of at most {result['minutes']:g} minutes. "
        f"Timings are {word}" + (f": {_line('; '.join(agreement['reasons']))}" if trusted is False else "") + ".",
    ]
    if result["tiny"]:
        notes.append("A tiny run shows that the parts work; its figures mean nothing.")
    return Table("Parts", ("part", "status", "seconds", "reason"), rows, notes)


def _line(text: str) -> str:
    return " ".join(str(text).split())


def _facts(part: dict[str, Any]) -> list[Table]:
    rows = []
    for name, value in part.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        rows.append((name.replace("_", " "), _line(_NO_VALUE if text is None else str(text))))
    return [Table("Device", ("", ""), rows)]


def _tests(part: dict[str, Any]) -> list[Table]:
    rows = [*part["outcomes"].items(), *(("failed", name) for name in part["failed"])]
    return [Table("GPU tests", ("outcome", ""), rows, [_line(part["summary"])])]


def _agreement(part: dict[str, Any]) -> list[Table]:
    names = ("images", "refused", "mean_difference", "std_difference", "pixel_max", "pixel_mean_abs")
    rows = [
        (row["path"], row["kind"], *(_number(row.get(name, _NO_VALUE)) for name in names), _line(row.get("error", "")))
        for row in part["paths"]
    ]
    found = [
        Table(
            "Decoder paths against the CPU decoder, largest differences in grey levels of 255",
            ("path", "kind", "images", "refused", "mean", "std", "pixel, largest", "pixel, mean", "error"),
            rows,
            [f"Tolerance of the mean and the std of an image: {part['tolerance']}."],
        )
    ]
    if "engines" in part:
        rows = [(name.replace("_", " "), _line(str(value))) for name, value in part["engines"].items()]
        found.append(Table("GPU engine against CPU engine", ("", ""), rows))
    if "truncated" in part:
        rows = [
            (row["path"], "yes" if row["end_marker"] else "no", _line("; ".join(dict.fromkeys(row["images"]))))
            for row in part["truncated"]
        ]
        found.append(Table("Scans that end too early", ("path", "end marker", "what it does"), rows))
    return found


def _hardware(part: dict[str, Any]) -> list[Table]:
    engines = part["num_hw_engines"]
    note = f"num_hw_engines: {'not in the log' if engines is None else engines}; {part['log_lines']} lines in the log."
    return [
        Table("What nvImageCodec says of its decoders", ("line",), [(_line(line),) for line in part["lines"]], [note])
    ]


def _decode(part: dict[str, Any]) -> list[Table]:
    rows = [
        (
            row["hw_decoder_load"],
            spread(row["images_per_s"]),
            f"{row['first_batch_s']:.2f}",
            ", ".join(f"{name} {value:.0f}" for name, value in row["nvidia_smi_mean"].items()),
        )
        for row in part["loads"]
    ]
    return [Table("Decoding alone", ("hw_decoder_load", "images/s", "first batch, s", "nvidia-smi, mean"), rows)]


def _sweep(part: dict[str, Any]) -> list[Table]:
    rows = [
        (
            row["knob"],
            ", ".join(v for k, v in row.items() if k not in ("knob", "images_per_s", "settings", "error")),
            _number(row.get("images_per_s", _NO_VALUE)),
            _line(row.get("error", _NO_VALUE)),
        )
        for row in part["rows"]
    ]
    notes = [f"Best: {', '.join(f'{name}={value}' for name, value in part['best'].items())}."]
    if "again" in part:
        again = part["again"]
        notes.append(f"Measured again: first settings {spread(again['base'])}, best {spread(again['best'])} images/s.")
    notes += [f"{part[key]}." for key in ("stopped", "remark") if key in part]
    return [Table("Settings, decoding alone", ("setting", "value", "images/s", "error"), rows, notes)]


def _files(part: dict[str, Any]) -> list[Table]:
    rows = [
        (
            "with a checkpoint" if row["checkpoint"] else "files",
            row["images"],
            _number(row["images_per_s"]),
            _number(row["first_to_last_images_per_s"] or _NO_VALUE),
            row["batches_retried"],
        )
        for row in part["rounds"]
    ]
    host = part.get("host_alone", {})
    if "images_per_s" in host:
        rows.append(("host alone, stubs", host["images"], _number(host["images_per_s"]), _NO_VALUE, _NO_VALUE))
    columns = ("source", "images", "images/s, all", "images/s, first to last", "batches retried")
    return [Table("gpustats.compute over files", columns, rows)]


def _waits(part: dict[str, Any]) -> list[Table]:
    rows = [
        (name, f"{value:.3f}", f"{value / part['wall_seconds']:.1%}")
        for name, value in part["gpu_thread_seconds"].items()
    ]
    rows += [(f"engine's own {name}", _number(value), _NO_VALUE) for name, value in part["engine_counters"].items()]
    note = f"{part['images']:,} images from memory, {part['images_per_s']:,.0f} images/s."
    return [Table("Where the GPU thread is", ("place", "seconds", "share"), rows, [note])]


def _engines(part: dict[str, Any]) -> list[Table | Bars]:
    rates, shares = part.get("images_per_s", {}), part.get("share_of_decode_only", {})
    rows = [
        (name.replace("_", " "), spread(rate), spread(shares[name], 2) if name in shares else _NO_VALUE)
        for name, rate in rates.items()
    ]
    notes = [f"{name.replace('_', ' ')}: {number}." for name, number in part.get("troubles", {}).items()]
    bars = [(name.replace("_", " "), rate["median"], rate["min"], rate["max"]) for name, rate in rates.items()]
    return [
        Table("Engines in turn, from memory", ("", "images/s", "of decoding alone"), rows, notes),
        Bars(
            "Engines in turn, from memory", "images/s (median, range)", bars, [b[0] for b in bars if "gpustats" in b[0]]
        ),
    ]


def _kernels(part: dict[str, Any]) -> list[Table]:
    rows = [
        (
            name,
            *(
                _number(case.get(key, _NO_VALUE))
                for key in ("microseconds", "terabytes_per_second", "share_of_read_bandwidth")
            ),
            _line(case.get("error", _NO_VALUE)),
        )
        for name, case in part["cases"].items()
    ]
    read, copy = part["read_terabytes_per_second"], part["copy_terabytes_per_second"]
    note = f"Read bandwidth {read:.3f} TB/s, copy {copy:.3f} TB/s."
    left = [f"No time was left for {', '.join(part['not_measured'])}."] if part["not_measured"] else []
    columns = ("case", "µs", "TB/s", "of read bandwidth", "error")
    return [Table("Kernels, verified and timed alone", columns, rows, [note, *left])]


def _peers(part: dict[str, Any]) -> list[Table]:
    rows = [(name, spread(rate), _NO_VALUE) for name, rate in part["images_per_s"].items()]
    rows += [(name, _NO_VALUE, _line(reason)) for name, reason in part["skipped"].items()]
    return [Table("Other decoders on the same device", ("", "images/s", "skipped"), rows)]


def _conclusion(part: dict[str, Any]) -> list[Table]:
    rows = [("row for gpustats/engines/tuning.py", f"`{part['tuning_row']}`" if part["tuning_row"] else "not measured")]
    return [Table("Conclusion", ("", ""), rows, ["\n".join(part["readme_table"])] if part["readme_table"] else [])]


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


_TABLES: dict[str, Callable[[dict[str, Any]], list[Any]]] = {
    "conclusion": _conclusion,
    "machine": _facts,
    "tests": _tests,
    "agreement": _agreement,
    "hardware": _hardware,
    "decode": _decode,
    "sweep": _sweep,
    "files": _files,
    "waits": _waits,
    "engines": _engines,
    "kernels": _kernels,
    "peers": _peers,
}
