"""``python -m tests.planted [AREA ...]``: which planted faults do the tests notice?"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.planted.runner import areas, problem, report


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 1 where a fault survives or an entry is stale."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=main.__doc__)
    parser.add_argument("area", nargs="*", help="the modules of tests/planted to take; all by default")
    parser.add_argument("--match", metavar="TEXT", default="", help="only faults with this text in path, text or test")
    parser.add_argument("--list", action="store_true", help="check and list the entries without planting them")
    options = parser.parse_args(arguments)
    found = areas()
    if unknown := set(options.area) - set(found):
        parser.error(f"no area {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    chosen = {
        area: [fault for fault in faults if any(options.match in text for text in fault)]
        for area, faults in found.items()
        if not options.area or area in options.area
    }
    if not any(chosen.values()):
        parser.error("no fault is chosen")
    if options.list:
        stale = 0
        for area, faults in chosen.items():
            for fault in faults:
                wrong = problem(fault)
                stale += wrong is not None
                print(f"{area:12}  {fault.path}  <- {fault.test}" + (f"\n    {wrong}" if wrong else ""))
        print(f"{sum(map(len, chosen.values()))} faults, {stale} to be mended")
        return 1 if stale else 0
    with tempfile.TemporaryDirectory(prefix="gpustats-planted-") as folder:
        return report(chosen, Path(folder) / "copy")


if __name__ == "__main__":
    sys.exit(main())
