"""What a result looks like: every row and every fact, as text and as HTML, word by word."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction
from html import unescape

import numpy as np
import pytest

import gpustats
from gpustats import Stats
from gpustats.definition import Definition
from gpustats.failures import Failure, FailureLog
from gpustats.result.text import formatted, normalize_line, skipped
from gpustats.statistics.builder import RowBuilder
from gpustats.statistics.totals import Totals
from tests.rows import rows_of

IMAGES = [np.array([[[51, 0, 255], [102, 0, 255]]], np.uint8), np.array([[[0, 0, 255]], [[0, 51, 255]]], np.uint8)]


def integers(images: list[np.ndarray] = IMAGES) -> Stats:
    totals = Totals()
    totals.fold(rows_of(images))
    channels = images[0].shape[2]
    return Stats(totals, Definition(color_order={1: "L", 3: "RGB"}.get(channels, "unnamed")))


def floats() -> Stats:
    builder, totals = RowBuilder(2, ("moments",)), Totals()
    builder.add("a", "", np.array([[[0.5, 2], [1.5, 2]]]))
    builder.add("b", "", np.array([[[3.0, 4], [5.0, 4]]]))
    totals.fold(builder.rows())
    return Stats(totals, Definition(color_order="unnamed"))


def failures(count: int) -> FailureLog:
    log = FailureLog()
    for i in range(count):
        log.add(Failure(f"<{i}>\x1b.jpg", "corrupt" if i % 3 else "truncated", "<b>"))
    return log


EMPTY = """\
gpustats.Stats
  0 images, 0 pixels
  RGB, values on [0, 1], transform: none"""

ONE = """\
gpustats.Stats
  1 image, 2 pixels, 2 x 1 (width x height)
  RGB, values on [0, 1], transform: none

                                    R          G          B
  mean                      0.3000000  0.0000000  1.0000000  all pixels pooled
  std                       0.1000000  0.0000000  0.0000000  pooled, ddof=0
  per_image.mean            0.3000000  0.0000000  1.0000000  average of images
  per_image.std             0.1000000  0.0000000  0.0000000  average, ddof=0
  per_image.std_unbiased    0.1414214  0.0000000  0.0000000  average, ddof=1
  per_image.rms_std         0.1000000  0.0000000  0.0000000  root mean variance
  std_of_means              0.0000000  0.0000000  0.0000000  between images
  min                       0.2000000  0.0000000  1.0000000  smallest value
  max                       0.4000000  0.0000000  1.0000000  largest value"""

WHOLE = """\
gpustats.Stats
  2 images, 4 pixels, 1-2 x 1-2 (width x height)
  RGB, values on [0, 255], transform: resize
  read by cpu, gpu\\x1b
  pooled from 3 runs
  INCOMPLETE: the run was stopped before the end
  7 FAILED: 4 corrupt, 3 truncated
  skipped: 1 hidden name, 1,234 files that are no images

                                    R          G          B
  mean                       38.25000   12.75000  255.00000  all pixels pooled
  std                        42.28697   22.08365    0.00000  pooled, ddof=0
  per_image.mean             38.25000   12.75000  255.00000  average of images
  per_image.std              12.75000   12.75000    0.00000  average, ddof=0
  per_image.std_unbiased     18.03122   18.03122    0.00000  average, ddof=1
  per_image.rms_std          18.03122   18.03122    0.00000  root mean variance
  std_of_means               38.25000   12.75000    0.00000  between images
  min                         0.00000    0.00000  255.00000  smallest value
  max                       102.00000   51.00000  255.00000  largest value

  <0>\\x1b.jpg: truncated: <b>
  <1>\\x1b.jpg: corrupt: <b>
  <2>\\x1b.jpg: corrupt: <b>
  <3>\\x1b.jpg: truncated: <b>
  <4>\\x1b.jpg: corrupt: <b>
  ... and 2 more: stats.failures"""

FLOATS = """\
gpustats.Stats
  2 images, 4 pixels, 2 x 1 (width x height)
  unnamed, floats times 2, from 1 to 10 (not bit-exact), transform: none
  read by cpu
  1 FAILED: 1 truncated

                                    0          1
  mean                       5.000000   6.000000  all pixels pooled
  std                        3.391165   2.000000  pooled, ddof=0
  per_image.mean             5.000000   6.000000  average of images
  per_image.std              1.500000   0.000000  average, ddof=0
  per_image.std_unbiased     2.121320   0.000000  average, ddof=1
  per_image.rms_std          1.581139   0.000000  root mean variance
  std_of_means               3.000000   2.000000  between images
  min                        1.000000   4.000000  smallest value
  max                       10.000000   8.000000  largest value

  <0>\\x1b.jpg: truncated: <b>"""

SCREENS = {
    "empty": (Stats(Totals()), EMPTY),
    "one": (integers(IMAGES[:1]), ONE),
    "whole": (
        replace(
            integers().scaled(255),
            definition=Definition(transform="resize"),
            failures=failures(7),
            skipped={"non_image": 1234, "hidden": 1},
            runs=({"engine": "cpu", "device": "gpu\x1b", "seconds": 3}, {"engine": "gpu"}, {"engine": "cpu"}),
            complete=False,
        ),
        WHOLE,
    ),
    "floats": (replace(floats().scaled(2), failures=failures(1), runs=({"engine": "cpu"},)), FLOATS),
}


@pytest.mark.parametrize("screen", SCREENS)
def test_the_text(screen: str) -> None:
    stats, text = SCREENS[screen]
    assert repr(stats) == text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("screen", SCREENS)
def test_the_html_says_the_same(screen: str) -> None:
    """Facts, rows and failures are those of the text; every name from outside is escaped."""
    stats, text = SCREENS[screen]
    html = stats._repr_html_()
    facts, _, rest = text.partition("\n\n")
    title, *lines = facts.splitlines()
    start = f"<div><b>{title}</b><br>" + "<br>".join(line.strip() for line in lines)
    assert html.startswith(start + "<table><thead><tr><th></th>")
    line = stats.normalize_line()
    assert html.endswith(f"<pre>{line}</pre></div>" if line else "</div>")
    for tag in ("div", "table", "thead", "tbody", "tr", "ul", "li", "b"):
        assert html.count(f"<{tag}>") == html.count(f"</{tag}>"), tag
    rows, _, failed = rest.partition("\n\n")
    cells = [
        [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", html)
    ]
    names = list(stats.channels)
    assert cells[0] == ["", *names, ""]
    expected = []
    for row in rows.splitlines()[1:]:
        name, *numbers = row.split(maxsplit=1 + len(names))
        expected.append([name, *numbers[: len(names)], numbers[len(names)] if len(numbers) > len(names) else ""])
    assert cells[1:] == expected
    listed = [unescape(item) for item in re.findall(r"<li>(.*?)</li>", html)]
    assert listed == [line.strip() for line in failed.splitlines() if not line.startswith("  ...")]
    assert "\x1b" not in html
    assert "<0>" not in html
    assert ("<ul>" in html) == bool(failed)


def test_five_failures_are_shown_whole_and_six_are_not() -> None:
    five, six = (repr(replace(integers(), failures=failures(count))) for count in (5, 6))
    assert five.endswith("\n  <4>\\x1b.jpg: corrupt: <b>")
    assert six.endswith("\n  <4>\\x1b.jpg: corrupt: <b>\n  ... and 1 more: stats.failures")
    only = Stats(Totals(), failures=failures(1))
    assert repr(only) == EMPTY + "\n  1 FAILED: 1 truncated\n\n  <0>\\x1b.jpg: truncated: <b>"


def test_many_are_counted_with_commas() -> None:
    log = FailureLog()
    log.counts.update({"corrupt": 12345, "missing": 1000})
    log.listed.append(Failure("a", "corrupt", "b"))
    text = repr(replace(integers([np.zeros((40, 50, 1), np.uint8)] * 3), failures=log))
    assert "3 images, 6,000 pixels, 50 x 40 (width x height)" in text
    assert "13,345 FAILED: 12,345 corrupt, 1,000 missing" in text
    assert text.endswith("... and 13,340 more: stats.failures")


def test_what_was_skipped_in_words() -> None:
    assert skipped({}) == ""
    assert skipped({"non_image": 2, "linked_folder": 1, "hidden": 3000, "other_kind": 4}) == (
        "3,000 hidden names, 1 folder seen before, 2 files that are no images, 4 other kind"
    )


def test_the_line_to_paste_is_always_on_0_to_1() -> None:
    line = "transforms.Normalize(mean=[0.150000, 0.050000, 1.000000], std=[0.165831, 0.086603, 0.000000])"
    assert normalize_line(integers().mean, integers().std) == line
    assert "values on [0, 1/3]" in repr(integers().scaled(Fraction(1, 3)))


def test_numbers_of_all_sizes_stay_within_the_width() -> None:
    """Decimal points stand below one another, also of numbers that have an exponent, and nothing is cut off."""
    assert formatted([[1.0, 0.0], [0.5, 2e-7]]) == [["1.0000000", "0.0000000"], ["0.5000000", "2.00e-07 "]]
    assert formatted([[-12345.6, 1.25], [math.nan, 9.0]]) == [
        ["-12345.600", "     1.250"],
        ["   nan    ", "     9.000"],
    ]
    assert formatted([[1.5e12, -2.0]]) == [[" 1.500000e+12", "-2.000000e+00"]]
    assert formatted([[0.0]]) == [["0.0000000"]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 15, 16, 100])
@pytest.mark.parametrize("scale", [1, 255, 1e-4, 1e9])
def test_any_number_of_channels_fits_into_80_columns(channels: int, scale: float) -> None:
    stats = integers([np.arange(4 * channels, dtype=np.uint8).reshape(2, 2, channels)]).scaled(scale)
    lines = repr(stats).splitlines()
    assert max(map(len, lines)) <= 80
    shown = min(channels, 15)
    names = " ".join(line for line in lines if line.startswith(" " * 26)).split()
    assert names == list(stats.channels[:shown])
    means = [number for line in lines if line.startswith("  mean ") for number in line[26:].split()[:shown]]
    values = [float(number) for number in means if number[0].isdigit()]
    assert values == pytest.approx(stats.mean[:shown].tolist(), rel=1e-2)
    assert (f"  ... and {channels - 15} more channel" in lines[-1]) == (channels > 15)


PIXELS = np.random.default_rng(3).integers(0, 256, (5, 8, 8, 3), np.uint8)
UNIT = PIXELS / 255

RANGES = {
    "8 bits": (PIXELS, ""),
    "8 bits that are dark": (PIXELS // 100, ""),
    "unit": (UNIT, ""),
    "large": (UNIT * 1000 - 3, ""),
    "large from 0": (UNIT * 256, ""),
    "small from 0": (UNIT * 64, ""),
    "8 bits as floats": (PIXELS.astype(float), "values of 8 bits as floats: stats.mean / 255 is on [0, 1]"),
    "normalized": ((UNIT - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], "normalized already"),
    "a channel that is not normalized": (UNIT * 4 - [2, 2, 0.5], ""),
    "a channel with another std": (UNIT * [4, 4, 8] - [2, 2, 4], ""),
    "from -1 to 1": (1 - UNIT**9 * 2, "values on [-1, 1]"),
    "up to 1": (UNIT**9 * 3 - 2, ""),
    "floats cast to integers": (UNIT.astype(np.uint8), "no value is larger than 1 of 255"),
    "masks in 16 bits": ((PIXELS > 7).astype(np.uint16), "no value is larger than 1 of 65,535"),
    "black": (PIXELS * 0, ""),
    "white": (PIXELS * 0 + 1, "no value is larger than 1 of 255"),
    "8 bits in 16": (PIXELS.astype(np.uint16), "no value is larger than 255 of 65,535"),
    "9 bits in 16": (PIXELS.astype(np.uint16) + 1, ""),
    "NaN among them": (np.where(PIXELS == 3, np.nan, UNIT * 9), ""),
}


@pytest.mark.parametrize("name", RANGES)
def test_what_the_range_of_values_suggests(name: str) -> None:
    pixels, hint = RANGES[name]
    stats = gpustats.compute(pixels, progress=False)
    whole = " ".join(stats.to_text().split("\n\n")[0].split())
    facts, _, rest = whole.partition("transform: none ")
    said = "" if rest.startswith(("read by", "valid pixels")) else rest.partition(" read by")[0]
    assert hint in said
    assert bool(hint) == bool(said)
    if not stats.exact:
        assert f"floats as they are, from {np.nanmin(pixels):.4g} to {np.nanmax(pixels):.4g} (not bit-exact)" in facts
    if hint and stats.std.all():
        assert hint in " ".join(stats.export("torchvision").replace("#", "").split())
