"""Run one suite or all, keep the JSON, draw it; or draw a JSON again, or write the figures of README and docs from one.

python -m benchmarks cpu --data FOLDER --out DIR
python -m benchmarks all --data FOLDER --out DIR
python -m benchmarks draw DIR/cpu.json
python -m benchmarks figures DIR
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from gpustats.datasets.demo import write_images

SUITES = {
    "cpu": "benchmarks.cpu",
    "reduce": "benchmarks.reduce",
    "interpreter_lock": "benchmarks.interpreter_lock",
    "scaling": "benchmarks.scaling",
    "sources": "benchmarks.sources",
    "robust": "benchmarks.robust",
    "formats": "benchmarks.formats",
    "processes": "benchmarks.processes",
    "recipe": "benchmarks.recipe",
    "remote": "benchmarks.remote",
    "host": "benchmarks.host",
    "million": "benchmarks.million",
    "groups": "benchmarks.groups",
    "gpu": "benchmarks.gpu",
}
ALL = tuple(name for name in SUITES if name not in ("million", "groups", "gpu"))
"""What `all` runs: neither the suites of a million images nor the one that needs a GPU."""

_DEMO_IMAGES, _TINY_IMAGES = 400, 12


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    if options.suite == "draw":
        for path in options.json:
            print(*report.draw(path, SUITES), sep="\n")
        return 0
    if options.suite == "figures":
        from benchmarks import figures  # needs the decoders that a GPU machine may lack

        return figures.main(options.results)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        data = options.data
        if data is None:
            data = Path(temporary)
            write_images(data, _TINY_IMAGES if options.tiny else _DEMO_IMAGES)
        elif not data.is_dir():
            raise SystemExit(f"python -m benchmarks: --data: {data} is no folder")
        for suite in ALL if options.suite == "all" else (options.suite,):
            print(*_run(suite, data, options), sep="\n", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="suite", required=True)
    for name in (*SUITES, "all"):
        command = commands.add_parser(name, help=f"run {', '.join(ALL)}" if name == "all" else f"run the suite {name}")
        command.add_argument("--data", type=Path, help="folder of images; without it, synthetic ones are made")
        command.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder for JSON and tables")
        command.add_argument("--tiny", action="store_true", help="once over little data, to see that everything runs")
        if name == "million":
            command.add_argument("--files", type=int, default=1_000_000, help="how many files to link")
        if name == "host":
            command.add_argument("--compare", type=Path, help="another checkout of gpustats, measured in turn")
        if name == "gpu":
            command.add_argument("--minutes", type=float, default=8, help="when to end (default: %(default)s)")
            command.add_argument("--parts", nargs="+", default=[], metavar="PART", help="run only these parts")
        if name in ("cpu", "all"):
            command.add_argument(
                "--python",
                type=_peer_and_python,
                action="append",
                default=[],
                metavar="PEER=PROGRAM",
                help="run this peer with another Python, where its packages are installed",
            )
    drawing = commands.add_parser("draw", help="tables and plots from the JSON of a suite")
    drawing.add_argument("json", type=Path, nargs="+")
    writing = commands.add_parser("figures", help="rewrite the figures of README and docs from the JSON")
    writing.add_argument("results", type=Path, help="folder below benchmarks/results")
    return parser


def _peer_and_python(text: str) -> tuple[str, str]:
    peer, sign, python = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not PEER=PROGRAM")
    return peer, python


def _run(suite: str, data: Path, options: argparse.Namespace) -> list[Path]:
    """Run a suite; write and draw its document."""
    settings: dict[str, Any] = {"tiny": options.tiny}
    if suite == "million":
        settings["files"] = options.files
    if suite == "host":
        settings["compare"] = getattr(options, "compare", None)
    if suite == "cpu":
        settings["pythons"] = dict(options.python)
    document: dict[str, Any] = {
        "suite": suite,
        "command": f"python -m benchmarks {suite}" + (" --data FOLDER" if options.data else ""),
        "machine": machine.facts(),  # before the suite: the load is that at the start
    }
    target = options.out / f"{suite}.json"

    def save(result: dict[str, Any]) -> None:
        report.write_whole(target, json.dumps(document | {"result": result}, indent=1) + "\n")

    def save_and_lay_out(result: dict[str, Any]) -> None:
        save(result)
        try:
            report.draw(target, SUITES, plots=False)
        except Exception:  # noqa: BLE001 - the figures are in the JSON; a table that cannot be laid out ends no run
            traceback.print_exc()

    if suite == "gpu":
        settings |= {"minutes": options.minutes, "only": options.parts, "save": save_and_lay_out}
    result = importlib.import_module(SUITES[suite]).run(data, options.out, **settings)
    save(result)
    return [target, *report.draw(target, SUITES)]


if __name__ == "__main__":
    sys.exit(main())
