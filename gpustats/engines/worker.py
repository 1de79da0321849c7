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
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections import Counter

    from gpustats.engines.base import Outcome

__all__ = ["Answer", "main", "receive", "send"]

_LENGTH = struct.Struct("<Q")


class Answer(NamedTuple):
    """What became of a message.

    Attributes
    ----------
    outcome : Outcome
        Rows and failures.
    refused : int
        Images that failed because they need more memory than the message allows.
    by_decoder : Counter of str
        Images by decoder.
    seconds : float
        How long it took.
    """

    outcome: Outcome
    refused: int
    by_decoder: Counter[str]
    seconds: float


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
    from gpustats.engines.small_files import SmallFiles
    from gpustats.errors import DataError
    from gpustats.limits.memory import MemoryBudget
    from gpustats.sources import Batch
    from gpustats.wording import spoken

    try:
        definition, max_pixels, limit, options = receive(requests)
        engine = CpuEngine(definition, workers=1, max_pixels=max_pixels, memory=limit, tell_after=math.inf)
        budget = MemoryBudget(limit, workers=1)
        decoder = engine.decoder(budget)
        files = SmallFiles()
        never = threading.Event()
        with decode.whole_images_only(), spoken(options):
            send(replies, "ready")
            while True:
                memory, keys, groups, items = receive(requests)
                started = time.monotonic()
                if memory != limit:
                    limit = memory
                    budget = MemoryBudget(limit, workers=1)
                    decoder = engine.decoder(budget)
                refused = budget.refused
                batch = SharedBatch(Batch(keys, groups, items))
                try:
                    (outcome,), used = engine.measure(batch, decoder, never, files)
                except DataError as error:  # images that cannot be pooled end the run, not this process
                    send(replies, error)
                else:
                    send(replies, Answer(outcome, budget.refused - refused, used, time.monotonic() - started))
                    del outcome  # not held while the next ones are made
    except (EOFError, BrokenPipeError):
        os._exit(0)
