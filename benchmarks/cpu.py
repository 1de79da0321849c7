"""The CPU suite: gpustats end to end beside what people use and beside the decoder alone, on the same files.

Every peer runs in a process of its own that stays alive, is checked for its answer first, and is then measured in
rounds that interleave all of them. Three groups keep it short:

- *peers*: on some of the files, with the limit that reads and decodes only, which bounds what any tool can reach;
- *slow*: peers that would take more than a minute a round, on few files, with gpustats and the limit beside them;
- *limits*: gpustats and the limits on all files, in more rounds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.exact import error, exact
from benchmarks.files import image_paths
from benchmarks.gap import gap
from benchmarks.process import Process
from benchmarks.report import Bars, Table, spread
from benchmarks.timing import interleaved, ratio, summary
from gpustats.limits.machine import usable_cpus

__all__ = ["report", "run", "spaced"]

OURS = "gpustats_cpu"
LIMIT = "limit_decode_files"
"""Bounds what a tool can reach that decodes with libjpeg-turbo."""

WRONG = 5e-4
"""An answer further off is wrong in the third decimal, the last that people paste into `Normalize`."""

Running = dict[str, tuple[Process, int]]
"""Peers that can be measured, each with its best worker count."""


def run(
    data: Path,
    out: Path,
    *,
    tiny: bool = False,
    names: Sequence[str] = peers.PEERS,
    pythons: Mapping[str, str] | None = None,
    peer_files: int = 500,
    slow_files: int = 50,
    slow_seconds: float = 60.0,
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
    pythons : mapping of str to str, optional
        The interpreter for a peer whose packages cannot be installed beside the others'.
    peer_files, slow_files : int
        How many files the peers get, and those that would take more than `slow_seconds` a round.
    peer_rounds, limit_rounds : int
        Rounds of the groups.
    """
    if tiny:
        peer_rounds = limit_rounds = 1
    pythons = pythons or {}
    paths = _jpegs(data)
    groups = {"peers": spaced(paths, peer_files), "slow": spaced(paths, slow_files)}
    references = {group: exact(files) for group, files in groups.items()}
    members: dict[str, list[str]] = {group: [] for group in groups}
    cores = usable_cpus()
    found: dict[str, dict[str, Any]] = {}
    running: Running = {}
    with ExitStack() as stack:
        for name in dict.fromkeys((OURS, *names, *peers.LIMITS)):
            row = found[name] = {"name": peers.load(name).NAME}
            python = pythons.get(name, sys.executable)
            reason = peers.missing(name, python)
            if reason is None:
                if name in pythons:
                    row["packages"] = peers.versions(name, python)
                process = stack.enter_context(Process(name, python))
                group = _group(process, cores, groups, slow_seconds)
                reason = _check(process, row, groups[group], cores, references[group])
            if reason is not None:
                row["skipped"] = reason
                continue
            running[name] = (process, row["workers"])
            if name in names and name != OURS:
                members[group].append(name)
        if OURS not in running:
            raise SystemExit(f"benchmarks cpu: gpustats itself: {found[OURS]['skipped']}")
        if max(found[OURS]["error"].values()) > 1e-12:
            raise SystemExit(f"benchmarks cpu: gpustats is wrong by {found[OURS]['error']}; nothing is timed")
        result: dict[str, Any] = {"cores": cores, "bytes": sum(Path(path).stat().st_size for path in paths)}
        for group, files in groups.items():
            if group == "peers" or members[group]:
                result[group] = _measure(running, found, (OURS, LIMIT, *members[group]), files, peer_rounds)
        result["skipped"] = {row["name"]: row["skipped"] for row in found.values() if "skipped" in row}
        everything = (OURS, *peers.LIMITS)
        _measure(running, found, everything, paths, 1)  # every file into the page cache
        result["limits"] = _measure(running, found, everything, paths, limit_rounds)
    return {**result, "gap": gap(paths, rounds=1 if tiny else 5)}


def spaced(paths: Sequence[str], count: int) -> list[str]:
    """Return `count` of the paths, or all where there are fewer, evenly spaced over the list."""
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def _jpegs(data: Path) -> list[str]:
    found = []
    for path in image_paths(data):
        with open(path, "rb") as file:
            if file.read(3) == b"\xff\xd8\xff":
                found.append(path)
    if not found:
        raise SystemExit(f"benchmarks cpu: no JPEGs in {data}")
    return found


def _group(process: Process, cores: int, groups: Mapping[str, Sequence[str]], slow_seconds: float) -> str:
    """Return the group that a peer belongs to, judged by a few files."""
    probe = spaced(groups["peers"], 16)
    workers = peers.settings(process.name, cores)[-1]
    process.run(probe[:4], workers)  # loads its libraries, compiles
    a_file = process.run(probe, workers).get("seconds", 0.0) / len(probe)
    return "slow" if a_file * len(groups["peers"]) > slow_seconds else "peers"


def _check(
    process: Process, row: dict[str, Any], paths: Sequence[str], cores: int, references: dict[str, Any]
) -> str | None:
    """Compare a peer's answer, find its best worker count; return why it cannot be measured, None where it can."""
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


def _measure(
    running: Running, found: dict[str, dict[str, Any]], names: Sequence[str], files: Sequence[str], rounds: int
) -> dict[str, Any]:
    works: dict[str, Any] = {
        name: lambda process=running[name][0], workers=running[name][1]: process.seconds(files, workers)
        for name in dict.fromkeys(names)
        if name in running
    }
    times = interleaved(works, rounds, measure=lambda work: float(work()))
    rows = {}
    for name, seconds in times.items():
        rows[name] = {
            **found[name],
            "images_per_s": summary([len(files) / t for t in seconds]),
            "seconds": seconds,
            "gpustats_is_faster_by": ratio(seconds, times[OURS]),
        }
        if LIMIT in times:
            rows[name]["limit_is_faster_by"] = ratio(seconds, times[LIMIT])
    return {"files": len(files), "rounds": rounds, "rows": rows}


def report(result: dict[str, Any]) -> list[Table | Bars]:
    """Lay the result out."""
    group, limits = result["peers"], result["limits"]
    skipped = [f"Not measured: {name}: {reason}." for name, reason in result["skipped"].items()]
    parts: list[Table | Bars] = [
        _peer_table(f"End to end on the CPU: {group['files']} JPEGs, {result['cores']} cores", group, skipped),
        Bars(
            f"{group['files']} JPEGs end to end, {result['cores']} cores",
            "images/s (median, range)",
            [(row["name"], *(row["images_per_s"][k] for k in ("median", "min", "max"))) for row in _by_rate(group)],
            ["gpustats"],
        ),
    ]
    if "slow" in result:
        title = f"Peers that take more than a minute for {group['files']} files: {result['slow']['files']} JPEGs"
        parts.append(_peer_table(title, result["slow"], ()))
    parts += [
        Table(
            f"Beside the limit: {limits['files']} JPEGs, {result['cores']} threads",
            ("", "images/s", "gpustats reaches of it"),
            [
                (
                    row["name"],
                    spread(row["images_per_s"]),
                    "" if key == OURS else spread(row["gpustats_is_faster_by"], 3),
                )
                for key, row in limits["rows"].items()
            ],
            [f"Median (smallest–largest) of {limits['rounds']} interleaved rounds."],  # noqa: RUF001
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
    return parts


def _by_rate(group: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(group["rows"].values(), key=lambda row: -row["images_per_s"]["median"])


def _peer_table(title: str, group: dict[str, Any], notes: Sequence[str]) -> Table:
    """Peers, gpustats and the limit, the fastest first."""

    def wrong(row: dict[str, Any], what: str) -> str:
        if "error" not in row:
            return ""  # a limit computes nothing
        return f"{row['error'][what]:.0e}" + ("" if row["error"][what] <= WRONG else " **wrong**")

    rows = [
        (
            row["name"],
            row["workers"],
            spread(row["images_per_s"]),
            "" if row["name"] == "gpustats" else spread(row["gpustats_is_faster_by"], 2) + " ×",  # noqa: RUF001
            "" if row["name"].startswith("limit") else spread(row["limit_is_faster_by"], 2) + " ×",  # noqa: RUF001
            row.get("definition", ""),
            wrong(row, "mean"),
            wrong(row, "std"),
        )
        for row in _by_rate(group)
    ]
    columns = ("", "workers", "images/s", "gpustats is faster by", "limit is faster by", "definition")
    return Table(
        title,
        (*columns, "error of mean", "error of std"),
        rows,
        [
            f"Median (smallest–largest) of {group['rounds']} interleaved rounds, files in the page cache; ratios "  # noqa: RUF001
            "within a round. The limit reads and decodes on all cores and throws the pixels away: it bounds by how "
            "much a tool that decodes with libjpeg-turbo can be faster. The error is that of the worst channel on "
            f"[0, 1] against the exact answer of the same definition; more than {WRONG} counts as wrong.",
            *(
                f"With packages of its own: {row['name']} ({', '.join(map(' '.join, row['packages'].items()))})."
                for row in _by_rate(group)
                if "packages" in row
            ),
            *notes,
        ],
    )
