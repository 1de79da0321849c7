"""The pages of docs/ about answers: tables are those of the code. Their blocks run in `tests/test_docs.py`."""

from __future__ import annotations

import re
from pathlib import Path

from gpustats import EXPORTS, presets
from gpustats.result.verdict import FAR, NEAR

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_of_exports() -> None:
    text = (DOCS / "export.md").read_text(encoding="utf-8")
    for name, export in EXPORTS.items():
        scale = {"1": "[0, 1]", "pixel": "pixel values"}[export.scale]
        channels = " or ".join(map(str, export.channels)) or "any"
        row = f"| `{name}` | {export.what} | {export.order} | {scale} | {channels} | [source]({export.source}) |\n"
        assert row in text
    assert text.count("| [source](") == len(EXPORTS)
    assert f"for {len(EXPORTS)} of them" in text


def test_the_table_of_presets() -> None:
    text = (DOCS / "compare.md").read_text(encoding="utf-8")
    for name, entry in presets.items():
        mean, std = (", ".join(f"{x:.8g}" for x in values) for values in (entry.mean, entry.std))
        defined = f"`{entry.std_is}`" if entry.std_is else "not known" if entry.statistics else "no statistic"
        std = "none" if set(entry.std) == {1.0} else std
        row = (f"`{name}`", mean, std, f"{entry.order}, [0, {entry.scale}]", defined, f"[source]({entry.source})")
        assert f"| {' | '.join(row)} |\n" in text
    assert text.count("| [source](") == len(presets)
    assert f"| up to {NEAR} | near |" in text
    assert f"| up to {FAR} | some way off |" in text


def test_the_example_of_a_text(photos: Path) -> None:
    import gpustats

    stats = gpustats.compute(photos, progress=False)
    text, shown = (re.sub(r"[\d.]+", "0", t) for t in ((DOCS / "export.md").read_text(), stats.export("detectron2")))
    assert f"```\n{shown}\n```" in text, "but for the digits"
