"""The process that decodes for `gpustats.engines.isolated`: batches come in on stdin, outcomes go out on stdout.

A message is its length (8 bytes, little-endian) and a pickle. Both ends are this package, over private pipes.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["main", "receive", "send"]

_LENGTH = struct.Struct("<Q")


def send(pipe: BinaryIO, message: Any) -> None:
    """Write one message."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: BinaryIO) -> Any:
    """Read one message; raise `EOFError` where the other end is closed."""
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(header)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - from our own process


def main() -> None:
    """Serve until stdin ends, which happens when the parent ends for any reason."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not come between the messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    with suppress(OSError):  # Linux: when memory runs out, this process goes and not the one with the results
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")

    from gpustats.decode import decoder as decode
    from gpustats.engines.cpu import CpuEngine
    from gpustats.engines.shared_batches import SharedBatch
    from gpustats.errors import DataError
    from gpustats.limits.memory import MemoryBudget
    from gpustats.sources import Batch
    from gpustats.wording import spoken

    try:
        definition, max_pixels, limit, options = receive(requests)
        engine = CpuEngine(definition, workers=1, max_pixels=max_pixels, memory=limit, tell_after=math.inf)
        never = threading.Event()
        with decode.whole_images_only(), spoken(options):
            send(replies, "ready")
            while True:
                memory, keys, groups, items = receive(requests)
                budget = MemoryBudget(memory, workers=1)
                batch = SharedBatch(Batch(keys, groups, items))
                try:
                    outcome, used = engine.measure(batch, engine.decoder(budget), never)
                except DataError as error:  # images that cannot be pooled end the run, not this process
                    send(replies, error)
                else:
                    send(replies, (outcome, budget.refused > 0, used))
    except (EOFError, BrokenPipeError):
        os._exit(0)
