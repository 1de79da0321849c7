"""`python -m tests.fuzz`: fuzz by hand. Says what differs from Pillow and how long the slowest file took."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import CONTAINERS, TARGETS, pillow_verdict


def main() -> int:
    """Run; return 1 where something was raised or hung."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kind", choices=TARGETS | CONTAINERS, action="append", help="default: all")
    parser.add_argument("--files", type=Path, help="a folder of files to mutate instead of synthetic ones")
    parser.add_argument("--rounds", type=int, default=1000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for files that raise, hang or are judged differently")
    options = parser.parse_args()
    bad = False
    for kind in options.kind or TARGETS | CONTAINERS:
        target = (TARGETS | CONTAINERS)[kind]
        seeds = (
            [p.read_bytes() for p in sorted(options.files.rglob("*")) if p.is_file()]
            if options.files
            else target.seeds()
        )
        verdicts: Counter[str] = Counter()
        differences: list[tuple[int, str]] = []
        slowest = 0.0
        for number in range(options.seed, options.seed + options.rounds):
            data = mutated(random.Random(number).choice(seeds), number)
            note = ""
            started = time.perf_counter()
            try:
                verdict = target.check(data)
            except Exception as error:  # noqa: BLE001 - the find
                verdict, note, bad = "RAISED", repr(error), True
            took = time.perf_counter() - started
            slowest = max(slowest, took)
            if took > 5:
                note, bad = f"took {took:.1f} s", True
            verdicts[verdict] += 1
            if kind in TARGETS and (verdict == "good") != pillow_verdict(data):
                differences.append((number, verdict))
                note = note or f"{verdict}, Pillow says otherwise"
            if note:
                print(f"{kind} {number}: {note}")
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{kind}-{number}".replace(" ", "")).write_bytes(data)
        print(
            f"{kind}: {options.rounds} mutations, slowest {slowest:.3f} s, judged as Pillow does "
            f"{1 - len(differences) / options.rounds:.2%}; {dict(verdicts.most_common())}"
        )
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
