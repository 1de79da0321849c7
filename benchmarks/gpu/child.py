"""One part in a process of its own: runs a function and writes what it returns.

python -m benchmarks.gpu.child MODULE:FUNCTION REQUEST ANSWER
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import sys
import traceback
from pathlib import Path

from benchmarks.gpu.plan import Context, Skipped, die_with_parent, plain, write_answer

__all__: list[str] = []

_BEFORE_THE_END = 1.0  # seconds before it is killed a part that hangs shows in its log where


def _main(work: str, request: Path, answer: Path) -> None:
    values = json.loads(request.read_text(encoding="utf-8"))
    die_with_parent(values["parent"])
    kept: list[object] = []

    def keep(result: object) -> None:
        kept[:] = [plain(result)]
        write_answer(answer, {"result": kept[0]})

    context = Context(
        Path(values["data"]), Path(values["out"]), values["tiny"], values["ends"], values["earlier"], keep
    )
    faulthandler.enable()
    faulthandler.dump_traceback_later(max(0.1, context.left() - _BEFORE_THE_END))
    module, _, name = work.partition(":")
    try:
        reply = {"status": "ok", "result": getattr(importlib.import_module(module), name)(context)}
    except Skipped as reason:
        reply = {"status": "skipped", "reason": str(reason)}
    except BaseException as error:  # noqa: BLE001 - whatever it is, the suite goes on
        lines = traceback.format_exception(error)
        reply = {
            "status": "failed",
            "error": {"type": type(error).__name__, "message": str(error)[:1000], "traceback": "".join(lines)[-3000:]},
        }
        traceback.print_exc()
    if "result" not in reply and kept:
        reply["result"] = kept[0]
    write_answer(answer, reply)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
