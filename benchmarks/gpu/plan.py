"""Runs parts one after the other, each in a process of its own, and writes down at once what became of them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import write_whole

__all__ = [
    "ROOT",
    "Context",
    "Part",
    "Skipped",
    "die_with_parent",
    "last_lines",
    "plain",
    "run_parts",
    "scrubbed",
    "write_answer",
]

ROOT = Path(__file__).resolve().parents[2]

_LOOK = 0.2  # seconds between two looks at a child
_LEAST = 2.0  # seconds; a part is not begun with less left
_RESERVE = 4.0  # seconds kept for the parts that always run
_LINES = 12
_PR_SET_PDEATHSIG = 1


class Skipped(Exception):
    """A part cannot run here; the message says why."""


@dataclass(frozen=True)
class Part:
    """A part of the plan.

    Attributes
    ----------
    name : str
        Its key in the result.
    work : str
        ``module:function``; the function takes a `Context` and returns what JSON can hold.
    seconds : float
        Its limit; it is killed there.
    kept : float
        Seconds that the parts before leave to it.
    always : bool
        Run it whatever the time is; for a part that takes no time.
    """

    name: str
    work: str
    seconds: float
    kept: float = 0.0
    always: bool = False


@dataclass
class Context:
    """What a part knows.

    Attributes
    ----------
    data : Path
        A folder of images.
    out : Path
        Where logs go.
    tiny : bool
        Whether to run once over a few images, if need be without a GPU.
    ends : float
        Seconds since the epoch at which the part is killed.
    earlier : dict
        Results of the parts before, by name; only of those that have one.
    keep : callable
        Takes what a part knows so far: it is kept where the part does not come to its end.
    """

    data: Path
    out: Path
    tiny: bool
    ends: float
    earlier: dict[str, Any] = field(default_factory=dict)
    keep: Callable[[Any], None] = lambda result: None

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.ends - time.time()


def run_parts(
    parts: Sequence[Part],
    *,
    data: Path,
    out: Path,
    tiny: bool,
    minutes: float,
    save: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run the parts in order and return what became of them.

    Parameters
    ----------
    parts : sequence of Part
        What to run.
    data, out, tiny
        See `Context`.
    minutes : float
        A part that would begin later than this is skipped; one that runs then is killed.
    save : callable
        Called with the result before the first part, after every part, and when a part has kept something.

    Returns
    -------
    dict
        ``state`` ("running" or "finished"), ``seconds``, and for each part its ``status`` ("pending", "running", "ok",
        "failed" or "skipped"), ``seconds``, ``result``, and ``reason`` or ``error`` where it has not gone well.
    """
    started = time.time()
    ends = started + 60 * minutes
    records: dict[str, dict[str, Any]] = {part.name: {"status": "pending"} for part in parts}
    result: dict[str, Any] = {"state": "running", "tiny": tiny, "minutes": minutes, "seconds": 0.0, "parts": records}

    def saved() -> None:
        result["seconds"] = round(time.time() - started, 1)
        save(result)

    saved()
    for place, part in enumerate(parts):
        left = ends - time.time() - (0 if part.always else _RESERVE)
        if left < _LEAST and not part.always:
            records[part.name] = {"status": "skipped", "reason": f"no time is left of {minutes:g} minutes"}
            saved()
            continue
        later = sum(other.kept for other in parts[place + 1 :])
        limit = part.seconds if part.always else min(part.seconds, max(left - later, min(left, part.kept), _LEAST))
        earlier = {name: record["result"] for name, record in records.items() if "result" in record}
        context = Context(data, out, tiny, time.time() + limit, earlier)
        record = records[part.name] = {"status": "running"}
        saved()
        began = time.time()

        def partial(value: Any, record: dict[str, Any] = record) -> None:
            record["result"] = value
            saved()

        record |= _run_part(part, context, limit, partial)
        record["seconds"] = round(time.time() - began, 1)
        print(f"{part.name}: {record['status']}, {record['seconds']} s {_why(record)}", file=sys.stderr, flush=True)
        saved()
    result["state"] = "finished"
    saved()
    return result


def _why(record: dict[str, Any]) -> str:
    error = record.get("error")
    return f"({error['type']}: {error['message']})" if error else f"({record['reason']})" if "reason" in record else ""


def _run_part(part: Part, context: Context, limit: float, partial: Callable[[Any], None]) -> dict[str, Any]:
    """Run a part in a process of its own; return its record. Nothing that the part does can raise here."""
    log = context.out / "gpu-logs" / f"{part.name}.log"
    log.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        request, answer = Path(temporary, "request.json"), Path(temporary, "answer.json")
        values = {name: getattr(context, name) for name in ("tiny", "ends", "earlier")}
        values |= {"parent": os.getpid(), "data": str(context.data.resolve()), "out": str(context.out.resolve())}
        request.write_text(json.dumps(values), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.gpu.child", part.work, str(request), str(answer)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )
        seen: dict[str, Any] = {}
        try:
            status = _wait(process, time.time() + limit, answer, seen, partial)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it, and what it has started
            process.wait()
        reply = _read(answer) or seen
    reply = _scrubbed_values(reply, context)
    if "status" in reply:
        if status is not None and status < 0:
            reply["ended_by"] = signal.Signals(-status).name  # after its work: DALI's destructors may abort
        return reply
    reason = (
        f"killed at its limit of {limit:.0f} s"
        if status is None
        else f"{signal.Signals(-status).name} ended it"
        if status < 0
        else f"it ended with status {status}"
    )
    return {**reply, "status": "failed", "reason": reason, "last_lines": last_lines(log, context)}


def _wait(
    process: subprocess.Popen[bytes],
    ends: float,
    answer: Path,
    seen: dict[str, Any],
    partial: Callable[[Any], None],
) -> int | None:
    """Wait for a child, and hand on what it keeps; None where its time is over."""
    while time.time() < ends:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK)
        reply = _read(answer)
        if reply and reply != seen and "result" in reply:
            seen.clear()
            seen.update(reply)
            partial(reply["result"])
    return None


def _read(answer: Path) -> dict[str, Any]:
    try:
        reply: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return reply


def die_with_parent(parent: int) -> None:
    """Have the system kill this process with its parent: a suite that is killed leaves nothing on the GPU.

    Called by the child itself, for nothing should run between fork and exec of a process that has threads.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before
            os._exit(1)


def last_lines(log: Path, context: Context, count: int = _LINES) -> list[str]:
    """Return the end of a log, without what names this machine's folders."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return [scrubbed(line[:300], context) for line in lines if line.strip()][-count:]


def scrubbed(text: str, context: Context) -> str:
    """Return a text without the paths of this machine: results are published."""
    names = {
        str(context.out.resolve()): "OUT",
        str(context.data.resolve()): "DATA",
        str(ROOT): ".",
        sys.prefix: "PYTHON",
        sys.base_prefix: "PYTHON",
        tempfile.gettempdir(): "TEMPORARY",
        str(Path.home()) if len(Path.home().parts) > 1 else "\0": "HOME",
    }
    for path, name in sorted(names.items(), key=lambda item: -len(item[0])):  # one may lie within another
        text = text.replace(path, name)
    return text


def _scrubbed_values(value: Any, context: Context) -> Any:
    if isinstance(value, dict):
        return {key: _scrubbed_values(part, context) for key, part in value.items()}
    if isinstance(value, list):
        return [_scrubbed_values(part, context) for part in value]
    return scrubbed(value, context) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """Return a value as JSON has it: no NumPy numbers, and None for what is not finite."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def write_answer(path: Path, reply: dict[str, Any]) -> None:
    """Write what a child says, whole or not at all."""
    write_whole(path, json.dumps(plain(reply)))
