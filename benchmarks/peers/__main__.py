"""A peer in a process of its own: `python -m benchmarks.peers NAME` answers JSON lines.

Each request is ``{"paths": [...], "workers": n}``; each answer gives the seconds and what was computed. Libraries stay
loaded between requests, so start-up counts for nobody, and no library disturbs another.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from benchmarks import peers


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not come between
    peer = peers.load(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            started = time.perf_counter()
            answer = peer.run(request["paths"], request["workers"])
            reply: dict[str, Any] = {"seconds": time.perf_counter() - started}
            if isinstance(answer, float):
                reply["seconds"] = answer
            elif answer is not None:
                reply |= {
                    "mean": [float(x) for x in answer.mean],
                    "std": [float(x) for x in answer.std],
                    "definition": answer.definition,
                }
        except Exception as error:  # noqa: BLE001 - a peer that breaks is a result, not the end of the run
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
