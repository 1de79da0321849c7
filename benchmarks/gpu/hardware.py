"""The part `hardware`: which decoders nvImageCodec says that it takes.

It says so only where its log level is set before DALI is loaded, and partly when the process ends: the decode runs in
one of its own.

python -m benchmarks.gpu.hardware FOLDER TINY
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.guarded import guarded
from benchmarks.gpu.plan import ROOT, Context, last_lines, scrubbed
from benchmarks.gpu.setup import decode_rate, encoded_images, machine_of
from gpustats.engines.tuning import Tuning

__all__ = ["hardware"]

_HARDWARE = re.compile(r"hardware|\bhw\b|hw_|nvjpg", re.IGNORECASE)
_DECODER = re.compile(r"decoder", re.IGNORECASE)
_NOISE = re.compile(r"\b(un)?registering\b|\bdevice: ")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ENGINES = re.compile(r"num_hw_engines\s*=\s*(\d+)")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")
_LINES = 60


def hardware(context: Context) -> dict[str, Any]:
    """Run a small decode with the log on; keep the log, and show its lines on decoders, each kind of line once."""
    machine_of(context)
    log = context.out / "gpu-hardware.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            guarded("benchmarks.gpu.hardware", str(context.data), str(int(context.tiny))),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"DALI_NVIMGCODEC_LOG_LEVEL": "3"},
        )
        status = process.wait(max(1.0, context.left() - 1))
    lines = _COLOUR.sub("", log.read_text(encoding="utf-8", errors="replace")).splitlines()
    telling: dict[str, str] = {}
    for pattern in (_HARDWARE, _DECODER):
        for line in lines:
            if pattern.search(line) and not _NOISE.search(line):
                telling.setdefault(_NUMBERS.sub("#", line), scrubbed(line.strip()[:300], context))
    engines = [int(number) for line in lines for number in _ENGINES.findall(line)]
    return {
        "exit_status": status,
        "log_lines": len(lines),
        "num_hw_engines": max(engines, default=None),
        "lines": list(telling.values())[:_LINES],
        "lines_left_out": max(0, len(telling) - _LINES),
        **({"last_lines": last_lines(log, context)} if status else {}),
    }


def _main(folder: str, tiny: bool) -> None:
    context = Context(Path(folder), Path(), tiny, time.time() + 60)
    machine = machine_of(context)
    images = encoded_images(Path(folder), 1 << 20)
    tuning = Tuning(batch_size=4 if tiny else 32, threads=2)
    print(f"device: {machine.name}; hw_decoder_load: {tuning.hw_decoder_load}", flush=True)
    decode_rate(machine, images, tuning, 4 * tuning.batch_size)


if __name__ == "__main__":
    _main(sys.argv[1], bool(int(sys.argv[2])))
