"""``python -m tests.gpu.injected --runs 5000``: the GPU engine with exceptions at every call that it makes."""

from __future__ import annotations

import argparse
import logging

import pytest

from tests.gpu.test_nothing_is_lost import injected_run

__all__ = ["main"]


def main() -> int:
    """Run the command and return its exit code: 1 where an image was lost or has the numbers of another."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.injected", description=__doc__)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    logging.getLogger("gpustats").setLevel(logging.CRITICAL)
    wrong = exceptions = 0
    for seed in range(options.first, options.first + options.runs):
        with pytest.MonkeyPatch.context() as patch:
            try:
                exceptions += injected_run(seed, patch)
            except Exception as error:  # noqa: BLE001 - counted and shown
                wrong += 1
                print(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    print(f"{options.runs:,} runs, {exceptions:,} exceptions, {wrong:,} runs with a wrong result")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
