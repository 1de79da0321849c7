"""One run of `gpustats.compute` with a stubbed GPU in a process of its own, as one line of JSON.

python -m benchmarks.host_child CHECKOUT FOLDER WARM_UP_FOLDER [CHECKPOINT]

gpustats is imported from CHECKOUT, which may be another than this one: two versions are measured by the same code.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cpu_by_thread"]


@contextmanager
def cpu_by_thread() -> Iterator[dict[str, list[float]]]:
    """Give the user and system seconds of the Python threads that end within, by name without digits.

    The thread that enters is ``"main"``. Threads that Python did not start, such as DALI's, are not in it.
    """
    times: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    original = threading.Thread.run

    def add(name: str, before: tuple[float, float] = (0.0, 0.0)) -> None:
        now = _of_thread()
        times[name][0] += now[0] - before[0]
        times[name][1] += now[1] - before[1]

    def measured_thread(self: threading.Thread) -> None:  # the name is looked for in sampled stacks
        try:
            original(self)
        finally:
            add(self.name.rstrip("0123456789-_"))

    before = _of_thread()
    threading.Thread.run = measured_thread  # type: ignore[method-assign]
    try:
        yield times
    finally:
        threading.Thread.run = original  # type: ignore[method-assign]
        add("main", before)


def _of_thread() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return used.ru_utime, used.ru_stime


def _main(checkout: str, folder: str, warm_up: str, checkpoint: str | None) -> None:
    sys.path.insert(0, checkout)
    import gpustats
    from benchmarks.stub_gpu import stubbed_gpu

    options: dict[str, Any] = {"device": "gpu", "progress": False}

    def measured_main() -> Any:  # the name is looked for in sampled stacks
        return gpustats.compute(folder, checkpoint=checkpoint, **options)

    with stubbed_gpu():
        gpustats.compute(warm_up, **options)
        process = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        with cpu_by_thread() as threads:
            stats = measured_main()
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF)
    (run,) = stats.runs
    print(
        json.dumps(
            {
                "images": stats.n_images,
                "by_decoder": run["images_by_decoder"],
                "batches_retried": run["batches_retried"] + run["pipelines_rebuilt"],
                "seconds": seconds,
                "user_seconds": after.ru_utime - process.ru_utime,
                "system_seconds": after.ru_stime - process.ru_stime,
                "threads": dict(threads),
                "waits": {name: run.get(f"seconds_in_{name}") for name in ("feed", "dali", "reducer")},
            }
        )
    )


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None)
