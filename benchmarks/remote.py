"""Images behind a web server with latency: the rate with the default settings beside that of the local folder."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gpustats
from benchmarks.cpu import spaced
from benchmarks.files import image_paths, link_images
from benchmarks.latency import served
from benchmarks.report import Table, spread
from benchmarks.timing import interleaved, ratio, summary
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run"]

_FILES = 1000
_LATENCY = 0.05  # seconds
_FAIL_EVERY = 100


def run(data: Path, out: Path, *, tiny: bool = False, rounds: int = 15) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images.
    out : Path
        Not used.
    tiny : bool
        One round over the files as they are.
    rounds : int
        Interleaved rounds.
    """
    rounds = 1 if tiny else rounds
    files = spaced(image_paths(data), _FILES)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        link_images(folder, files, len(files))
        with served(folder, _LATENCY) as good, served(folder, _LATENCY, _FAIL_EVERY) as bad:
            places = {"local folder": str(folder), "50 ms": good, "50 ms, 1% of the requests fail": bad}
            answers = {name: _integers(place) for name, place in places.items()}
            for name, answer in answers.items():
                if answer != answers["local folder"]:
                    raise SystemExit(f"benchmarks remote: {name}: other integers; nothing is timed")
            cpu: dict[str, list[float]] = {name: [] for name in places}

            def work(name: str) -> float:
                before, started = time.process_time(), time.perf_counter()
                _integers(places[name])
                took = time.perf_counter() - started
                cpu[name].append(time.process_time() - before)
                return took

            times = interleaved(
                {name: lambda name=name: work(name) for name in places}, rounds, measure=lambda do: do()
            )
    rows = {
        name: {
            "images_per_s": summary([len(files) / t for t in taken]),
            "of_local": ratio(times["local folder"], taken),
            "cpu_seconds": summary(cpu[name]),
        }
        for name, taken in times.items()
    }
    return {"cores": usable_cpus(), "files": len(files), "rounds": rounds, "rows": rows}


def _integers(place: str) -> Any:
    numbers = gpustats.compute(place, device="cpu", progress=False).totals.to_dict()
    return {name: value for name, value in numbers.items() if name != "key_hash"}


def report(result: dict[str, Any]) -> list[Table]:
    """Lay the result out."""
    return [
        Table(
            f"Images behind a web server: {result['files']} images, {result['cores']} cores",
            ("", "images/s", "of the local folder", "CPU seconds"),
            [
                (name, spread(row["images_per_s"]), spread(row["of_local"], 2), spread(row["cpu_seconds"], 2))
                for name, row in result["rows"].items()
            ],
            [
                f"Median (smallest–largest) of {result['rounds']} interleaved rounds, default settings; the same "  # noqa: RUF001
                "integers. The server is a process of its own on the same cores; its CPU seconds are not in the table.",
            ],
        )
    ]
