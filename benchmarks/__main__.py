"""Run a suite, keep its JSON, draw it; or draw a JSON again.

python -m benchmarks cpu --data FOLDER --out DIR
python -m benchmarks draw DIR/cpu.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from gpustats.demo import write_images

SUITES = {
    "cpu": "benchmarks.cpu",
    "reduce": "benchmarks.reduce",
    "interpreter_lock": "benchmarks.interpreter_lock",
    "scaling": "benchmarks.scaling",
    "million": "benchmarks.million",
    "gpu": "benchmarks.gpu",
}
_DEMO_IMAGES, _TINY_IMAGES = 400, 12


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="suite", required=True)
    for name in SUITES:
        command = commands.add_parser(name)
        command.add_argument("--data", type=Path, help="folder of images; without it, synthetic ones are made")
        command.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder for JSON and tables")
        command.add_argument("--tiny", action="store_true", help="once over little data, to see that everything runs")
        if name == "million":
            command.add_argument("--files", type=int, default=1_000_000, help="how many files to link")
        if name == "scaling":
            command.add_argument("--million", action="store_true", help="run the million-file suite instead")
            command.add_argument("--files", type=int, default=1_000_000, help="how many files to link with --million")
    drawing = commands.add_parser("draw", help="tables and plots from the JSON of a suite")
    drawing.add_argument("json", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    if options.suite == "draw":
        for path in options.json:
            print(*report.draw(path, SUITES), sep="\n")
        return 0
    settings: dict[str, Any] = {"tiny": options.tiny}
    suite = options.suite
    if getattr(options, "million", False):
        suite = "million"
    if suite == "million":
        settings["files"] = options.files
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        data = options.data
        if data is None:
            data = Path(temporary)
            write_images(data, _TINY_IMAGES if options.tiny else _DEMO_IMAGES)
        elif not data.is_dir():
            parser.error(f"--data: {data} is no folder")
        document = {
            "suite": suite,
            "command": f"python -m benchmarks {suite}" + (" --data FOLDER" if options.data else ""),
            "machine": machine.facts(),
            "result": importlib.import_module(SUITES[suite]).run(data, options.out, **settings),
        }
    target = options.out / f"{suite}.json"
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(target, *report.draw(target, SUITES), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
