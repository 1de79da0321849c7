"""The CPU suite: gpustats end to end beside what people use and beside the decoder alone, on the same files.

Every peer runs in a process of its own that stays alive, is checked for its answer first, and is then measured in
rounds that interleave all of them. Two groups keep it short: all peers on some of the files, and gpustats with the
limits, in more rounds, on all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.exact import error, exact
from benchmarks.gap import gap
from benchmarks.report import Bars, Table, spread
from benchmarks.timing import interleaved, ratio, summary
from gpustats.resources import usable_cpus
from gpustats.sources import open_source

__all__ = ["report", "run"]

OURS = "gpustats_cpu"
WRONG = 5e-4
"""An answer further off is wrong in the third decimal, the last that people paste into `Normalize`."""


class Process:
    """A peer in a process of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # the process is gone already
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def run(self, paths: Sequence[str], workers: int) -> dict[str, Any]:
        """Send one request; the answer has ``seconds``, or ``error`` where the peer broke."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"paths": list(paths), "workers": workers}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        reply: dict[str, Any] = json.loads(line) if line else {"error": "the process died"}
        return reply

    def seconds(self, paths: Sequence[str], workers: int) -> float:
        """Seconds of one run that must not break: it did not before."""
        reply = self.run(paths, workers)
        if "error" in reply:
            raise SystemExit(f"benchmarks cpu: {self.name}: {reply['error']}")
        return float(reply["seconds"])


def run(
    data: Path,
    out: Path,
    *,
    tiny: bool = False,
    names: Sequence[str] = peers.PEERS,
    peer_files: int = 400,
    peer_rounds: int = 5,
    limit_rounds: int = 15,
) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of images; the limits want JPEGs, so only JPEGs are taken.
    out : Path
        Not used: the suite leaves nothing but its result.
    tiny : bool
        One round over the files as they are.
    names : sequence of str
        Which peers.
    peer_files, peer_rounds, limit_rounds : int
        How many files the peers get, and rounds of both groups.
    """
    if tiny:
        peer_rounds = limit_rounds = 1
    paths = _jpegs(data)
    some = paths[:: max(1, len(paths) // peer_files)]
    cores = usable_cpus()
    references = exact(some)
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        running: dict[str, tuple[Process, int]] = {}
        for name in dict.fromkeys((OURS, *names, *peers.LIMITS)):
            row = found[name] = {"name": peers.load(name).NAME}
            reason = peers.missing(name)
            if reason is None:
                process = stack.enter_context(Process(name))
                reason = _check(process, row, some, cores, references)
            if reason is None:
                running[name] = (process, row["workers"])
            else:
                row["skipped"] = reason
        if OURS not in running:
            raise SystemExit(f"benchmarks cpu: gpustats itself: {found[OURS]['skipped']}")
        if max(found[OURS]["error"].values()) > 1e-12:
            raise SystemExit(f"benchmarks cpu: gpustats is wrong by {found[OURS]['error']}; nothing is timed")

        def works(group: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
            return {
                name: lambda process=running[name][0], workers=running[name][1]: process.seconds(files, workers)
                for name in group
                if name in running
            }

        peer_times = interleaved(works((OURS, *(n for n in names if n != OURS)), some), peer_rounds, measure=_call)
        limits = works((OURS, *peers.LIMITS), paths)
        interleaved(limits, 1, measure=_call)  # every file into the page cache
        limit_times = interleaved(limits, limit_rounds, measure=_call)
    return {
        "cores": cores,
        "bytes": sum(Path(path).stat().st_size for path in paths),
        "peers": {"files": len(some), "rounds": peer_rounds, "rows": _rows(found, peer_times, len(some), names)},
        "limits": {
            "files": len(paths),
            "rounds": limit_rounds,
            "rows": _rows(found, limit_times, len(paths), (OURS, *peers.LIMITS)),
        },
        "gap": gap(paths, rounds=1 if tiny else 5),
    }


def _jpegs(data: Path) -> list[str]:
    samples = open_source(data).samples()
    paths = [s[2] for s in samples if isinstance(s, tuple) and isinstance(s[2], str)]
    found = []
    for path in paths:
        with open(path, "rb") as file:
            if file.read(3) == b"\xff\xd8\xff":
                found.append(path)
    if not found:
        raise SystemExit(f"benchmarks cpu: no JPEGs in {data}")
    return found


def _check(
    process: Process, row: dict[str, Any], paths: Sequence[str], cores: int, references: dict[str, Any]
) -> str | None:
    """Compare a peer's answer, find its best worker count; return why it cannot be measured, None where it can."""
    process.run(paths[:4], 1)  # loads its libraries, compiles
    tried = {}
    for workers in peers.settings(process.name, cores):
        reply = process.run(paths, workers)
        if "error" in reply:
            return str(reply["error"])
        tried[workers] = reply["seconds"]
        if "definition" in reply:
            mean, std = error(reply, references)
            row["definition"] = reply["definition"]
            row["error"] = {"mean": mean, "std": std}
            row["right"] = max(mean, std) <= WRONG
    row["workers"] = min(tried, key=lambda workers: tried[workers])
    if len(tried) > 1:
        row["tried_seconds_by_workers"] = tried
    return None


def _call(work: Any) -> float:
    return float(work())


def _rows(
    found: dict[str, dict[str, Any]], times: dict[str, list[float]], files: int, names: Sequence[str]
) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name in dict.fromkeys((OURS, *names)):
        row = rows[name] = dict(found[name])
        if name in times:
            row["images_per_s"] = summary([files / t for t in times[name]])
            row["seconds"] = times[name]
            row["gpustats_is_faster_by"] = ratio(times[name], times[OURS])
    return rows


def report(result: dict[str, Any]) -> list[Table | Bars]:
    """Lay the result out."""
    group = result["peers"]
    rows = sorted(group["rows"].values(), key=lambda row: -row.get("images_per_s", {"median": 0})["median"])
    measured = [row for row in rows if "images_per_s" in row]
    limits = result["limits"]["rows"]
    return [
        Table(
            f"End to end on the CPU: {group['files']} JPEGs, {result['cores']} cores",
            ("", "workers", "images/s", "gpustats is faster by", "definition", "error of mean", "error of std"),
            [
                (
                    row["name"],
                    row["workers"],
                    spread(row["images_per_s"]),
                    "" if row["name"] == "gpustats" else spread(row["gpustats_is_faster_by"], 2) + " ×",  # noqa: RUF001
                    row["definition"],
                    f"{row['error']['mean']:.0e}" + ("" if row["right"] else " **wrong**"),
                    f"{row['error']['std']:.0e}" + ("" if row["right"] else " **wrong**"),
                )
                for row in measured
            ],
            [
                f"Median (smallest–largest) of {group['rounds']} interleaved rounds, files in the page cache; ratios "  # noqa: RUF001
                "within a round. The error is that of the worst channel on [0, 1] against the exact answer of the "
                f"same definition; more than {WRONG} counts as wrong.",
                *(f"Not measured: {row['name']}: {row['skipped']}." for row in rows if "skipped" in row),
            ],
        ),
        Bars(
            f"{group['files']} JPEGs end to end, {result['cores']} cores",
            "images/s (median, range)",
            [(row["name"], *(row["images_per_s"][k] for k in ("median", "min", "max"))) for row in measured],
            ["gpustats"],
        ),
        Table(
            f"Beside the limit: {result['limits']['files']} JPEGs, {result['cores']} threads",
            ("", "images/s", "gpustats reaches of it"),
            [
                (
                    row["name"],
                    spread(row["images_per_s"]),
                    "" if key == OURS else spread(row["gpustats_is_faster_by"], 3),
                )
                for key, row in limits.items()
                if "images_per_s" in row
            ],
            [f"Median (smallest–largest) of {result['limits']['rounds']} interleaved rounds."],  # noqa: RUF001
        ),
        Table(
            "Where the time of an image goes, one thread",
            ("", "µs an image", "share"),
            [
                (
                    name.replace("_", " "),
                    spread(values, 1),
                    f"{values['median'] / result['gap']['whole']['median']:.1%}",
                )
                for name, values in result["gap"].items()
            ],
            [
                "Each step is timed around its call on one thread, file by file; the whole is `gpustats.compute` with "
                "one worker. What is left over is the hand-over between threads, the loop of the engine and the timer."
            ],
        ),
    ]
