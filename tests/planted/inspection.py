"""Faults in what `inspect` says."""

from __future__ import annotations

from tests.planted import Fault

_WALK = "gpustats/inspection/walk.py"
_ESTIMATE = "gpustats/inspection/estimate.py"
_TESTS = "tests/inspection/test_inspect.py::"

FAULTS = [
    Fault(_WALK, "        self.images -= 1\n", "", _TESTS + "test_missing_files_are_listed"),
    Fault(_WALK, "        self.groups[group] -= 1\n", "", _TESTS + "test_missing_files_are_listed"),
    Fault(
        _WALK,
        "            if time.monotonic() > until or",
        "            if",
        _TESTS + "test_the_time_is_bounded",
    ),
    Fault(
        _WALK,
        "return next(iter(entries), None) is None",
        "return False",
        _TESTS + "test_the_very_last_image_may_come_when_time_is_up",
    ),
    Fault(
        _WALK,
        " or (self.images >= FIRST and not self.source.lists)",
        "",
        _TESTS + "test_objects_that_know_their_length",
    ),
    Fault(
        _WALK,
        "if path is None or path in self._containers",
        "if path is None",
        _TESTS + "test_tables_are_counted_by_their_footers",
    ),
    Fault(
        _WALK,
        "if enough() and entry.count is not None",
        "if entry.count is not None",
        _TESTS + "test_tables_are_counted_by_their_footers",
    ),
    Fault(
        "gpustats/sources/tables/parquet.py",
        "sum(rows[start:stop]) if one_each else None",
        "sum(rows[start:stop])",
        _TESTS + "test_a_row_with_several_images_is_not_counted_as_one",
    ),
    Fault(
        _ESTIMATE,
        "if chosen and (pixels + area > _TIMED_PIXELS or",
        "if chosen and (",
        _TESTS + "test_nothing_is_decoded_but_a_few",
    ),
    Fault(
        _ESTIMATE,
        "            except ImageError:  # the header is longer, or not at the beginning\n                pass\n",
        "            except ImageError as error:\n                return error\n",
        _TESTS + "test_headers_that_are_long_or_at_the_end",
    ),
]
