"""The figures of README and docs/speed.md, written from the committed JSON of the suites: nobody types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cpu import LIMIT, OURS
from benchmarks.million import settled_rss
from benchmarks.report import Table, markdown, spread
from gpustats.statistics import ALWAYS

__all__ = ["PAGES", "main", "replaced", "results_folder"]

ROOT = Path(__file__).resolve().parents[1]
_BEGIN = "<!-- Written by: python -m benchmarks figures "
_END = "<!-- End of what is written. -->"


def main(results: Path) -> int:
    """Rewrite the block of each page from `cpu.json` in a folder of the repository; return the exit status."""
    folder = results.resolve().relative_to(ROOT).as_posix()
    for name in PAGES:
        path = ROOT / name
        path.write_text(replaced(name, path.read_text(encoding="utf-8"), folder), encoding="utf-8")
        print(path)
    return 0


def results_folder(text: str) -> str:
    """Return the folder that the block of `text` was written from, relative to the repository."""
    return text.partition(_BEGIN)[2].partition(" -->")[0]


def replaced(name: str, text: str, folder: str) -> str:
    """Return the `text` of a page with its block written anew from the JSON in `folder`.

    Raises
    ------
    ValueError
        Where `text` has no block.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{name} has no lines {_BEGIN!r} and {_END!r}: the figures have no place")
    return f"{before}{_BEGIN}{folder} -->\n{PAGES[name](folder)}\n{_END}{after}"


def _summary(folder: str) -> str:
    """Return one sentence with the machine and the ratios that matter."""
    document = json.loads((ROOT / folder / "cpu.json").read_text(encoding="utf-8"))
    machine, peers = document["machine"], document["result"]["peers"]
    rows = {key: row for key, row in peers["rows"].items() if "images_per_s" in row}
    faster = {key: row["gpustats_is_faster_by"]["median"] for key, row in rows.items() if key != OURS}
    others = "".join(f", {faster[key]:.1f} times {words}" for key, words in _PEERS.items() if key in faster)
    return (
        f"{rows[OURS]['images_per_s']['median']:,.0f} JPEGs of ImageNet a second on {machine['usable_cores']} cores "
        f"({machine['cpu']}): {faster[LIMIT]:.2f} of the rate of the JPEG decoder alone{others}\n"
        "([all figures](docs/speed.md))."
    )


_PEERS = {"opencv": "OpenCV in threads", "torch_strong": "a PyTorch DataLoader", "pillow_numpy": "Pillow and NumPy"}
"""The peers that README names, and how."""


def _page(folder: str) -> str:
    """Return Markdown with the machine, the peers, the limit and the plot."""
    document = json.loads((ROOT / folder / "cpu.json").read_text(encoding="utf-8"))
    machine, result = document["machine"], document["result"]
    to = f"../{folder}"
    peers, limits = result["peers"], result["limits"]
    rows = [(key, row) for key, row in peers["rows"].items() if "images_per_s" in row]
    rows.sort(key=lambda item: -item[1]["images_per_s"]["median"])
    of_limit = limits["rows"][LIMIT]
    table = Table(
        "",
        ("", "images/s", "gpustats is faster by", "the limit is faster by"),
        [
            (
                row["name"] + ("" if row.get("right", True) else " (its answer is wrong)"),
                spread(row["images_per_s"]),
                "" if key == OURS else spread(row["gpustats_is_faster_by"], 2),
                "" if key == LIMIT or "limit_is_faster_by" not in row else spread(row["limit_is_faster_by"], 2),
            )
            for key, row in rows
        ],
    )
    lines = [
        f"{peers['files']} JPEGs in the page cache; {machine['cpu']}, {machine['usable_cores']} cores, "
        f"{machine['python']}, {machine['date'][:10]}. Median (smallest to largest) of {peers['rounds']} interleaved "
        f"rounds, ratios within a round; from [cpu.json]({to}/cpu.json).",
        "",
        *markdown(table),
        "The limit is simplejpeg reading and decoding on the same threads, the pixels thrown away. On "
        f"{limits['files']:,} JPEGs, in {limits['rounds']} rounds, gpustats reaches "
        f"{spread(of_limit['gpustats_is_faster_by'], 2)} of it.",
        "",
        f"![{peers['files']} JPEGs end to end]({to}/cpu.png)",
    ]
    said = [line(result, f"{to}/{suite}.md") for suite, line in _LINES.items() if (result := _result(folder, suite))]
    return "\n".join([*lines, *([""] if said else []), *said])


def _result(folder: str, suite: str) -> dict[str, Any]:
    """Return what a suite measured, or nothing where it was not run."""
    path = ROOT / folder / f"{suite}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["result"]) if path.is_file() else {}


def _million(result: dict[str, Any], link: str) -> str:
    low, high = settled_rss(result)
    return (
        f"- **{result['images']:,} files** ({result['distinct_images']:,} images under many names): "
        f"{result['seconds']:,.0f} seconds, {result['images'] / result['seconds']:,.0f} images/s, at most "
        f"{result['peak_rss_mb']:,.0f} MB of memory, which after a tenth of the time stays within {low:,.0f} to "
        f"{high:,.0f} MB ([million]({link}))."
    )


def _sources(result: dict[str, Any], link: str) -> str:
    rows = {name: row["rate_against_folder"] for name, row in result["rows"].items() if name != "folder"}
    rates = "; ".join(f"{name}: {rate['median']:.2f}" for name, rate in rows.items())
    return f"- **Containers**, as a share of the folder's rate. {rates} ([sources]({link}))."


def _reduce(result: dict[str, Any], link: str) -> str:
    row = result["rows"][0]
    size = " x ".join(str(length) for length in row["shape"])
    rates = {name: rate["median"] for name, rate in row["megapixels_per_s"].items()}
    kernel = rates[f"gpustats, {ALWAYS} alone"]
    faster = "".join(
        f", {kernel / rates[name]:,.0f} times {short}"
        for name, short in (("NumPy mean + std", "NumPy"), ("OpenCV meanStdDev", "OpenCV"))
        if name in rates
    )
    milliseconds = row["shape"][0] * row["shape"][1] / 1e3 * (1 / rates["gpustats"] - 1 / kernel)
    return (
        f"- **The reduction alone**, {size} {row['dtype']}, one thread: {kernel:,.0f} megapixels/s{faster}; "
        f"{milliseconds:.2f} ms more for the exact mean and std of this one array ([reduce]({link}))."
    )


_LINES: dict[str, Callable[[dict[str, Any], str], str]] = {"million": _million, "sources": _sources, "reduce": _reduce}
"""A line for each suite beside cpu that was run."""

PAGES: dict[str, Callable[[str], str]] = {"README.md": _summary, "docs/speed.md": _page}
"""The pages with figures, and what writes the block of each."""
