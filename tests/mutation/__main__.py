"""``python -m tests.mutation --sample 200 --seed 1``: the share of small random changes that the tests notice."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.mutation.guards import AREAS
from tests.sandbox import ROOT, SandboxError


def main(arguments: list[str] | None = None) -> int:
    """Draw changes to the package, make one at a time in a copy, run the tests that guard it, and write a table.

    The same command continues a study that was stopped, as long as the package is the same. The reasons why survivors
    are harmless go into the JSON file as "reason"; the same command takes them over into the Markdown file.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=main.__doc__)
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="how many changes (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the random choice (default: 1)")
    parser.add_argument("--area", action="append", default=[], choices=list(AREAS), help="only these; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="copies that are tested at once (default: 1)")
    parser.add_argument("--retry", action="store_true", help="try the tests again on what survived before")
    parser.add_argument(
        "--out",
        type=Path,
        help="the Markdown file; JSON goes beside it (default: tests/mutation/results/sample-N-seed-N[-AREA].md)",
    )
    options = parser.parse_args(arguments)
    try:
        from tests.mutation.study import Study, say_on_stderr
    except ImportError as error:
        parser.error(f"{error}; pip install -e '.[test,mutation]'")
    areas = sorted(set(options.area))
    name = "-".join([f"sample-{options.sample}-seed-{options.seed}", *areas])
    out = options.out or ROOT / "tests" / "mutation" / "results" / f"{name}.md"
    study = Study(ROOT, out, options.sample, options.seed, areas)
    if options.retry:
        study.forget_survivors()
    try:
        study.run(options.jobs, say_on_stderr)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    print(out.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
