"""Planted faults: images of several kinds, each with a result of its own."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_ALONE = "test_each_result_is_that_of_its_images_alone"
_SAVED = "test_results_are_saved_together"


def _fault(module: str, old: str, new: str, test: str) -> Fault:
    return Fault(f"gpustats/{module}.py", old, new, f"tests/test_kinds.py::{test}")


FAULTS = [
    _fault(
        "statistics/builder",
        "kind = self._like.kind_of(pixels, value_range)",
        "kind = None",
        "test_room_for_images_of_a_kind",
    ),
    _fault("statistics/builder", "self._make(_OF_ONE_KIND)", "self._make(1 << 9)", "test_room_for_images_of_a_kind"),
    _fault("statistics/builder", "(*self._done, *(builder", "(*self._done[1:], *(builder", _ALONE),
    _fault("statistics/base", 'f" to {self.value_range!r}"', '""', _ALONE),
    _fault("engines/base", "        failures = []\n", "", "test_failures_are_told_once"),
    _fault("engines/cpu", "                        by_decoder = Counter()\n", "", "test_decoders_are_counted_once"),
    _fault("engines/cpu", "parts if self._separate else [Rows.joined(parts)]", "[Rows.joined(parts)]", _ALONE),
    _fault("run", "outcome.rows.kind if self._separate else None", "None", _ALONE),
    _fault(
        "run", "FailureLog() if self._separate else self._failures", "self._failures", "test_failures_are_told_once"
    ),
    _fault("run", "{} if self._separate else dict(", "dict(", "test_failures_are_told_once"),
    _fault("run", "for name in sorted(found)", "for name in found", _ALONE),
    _fault("run", "dict(self._source.skipped), complete)", "{}, complete)", "test_failures_are_told_once"),
    _fault("run", "self._read += len(", "self._read = len(", "test_a_limit_of_failures_is_about_all_images"),
    _fault("run", "or self._bytes_waiting >= _BYTES_WAITING", "", "test_rows_of_many_kinds_do_not_pile_up"),
    _fault("run", "self._rows_waiting >= _ROWS_WAITING or", "", "test_rows_of_many_kinds_do_not_pile_up"),
    _fault("api", 'if given and kinds == "separate":', "if False:", "test_what_it_does_not_go_with"),
    _fault("api", "if kinds not in KINDS:", "if False:", "test_what_it_does_not_go_with"),
    _fault("api", "        per_image=per_image not in (None, False),\n", "", "test_what_it_does_not_go_with"),
    _fault("result/kinds", "stats.totals.kind.name != n", "False", "test_files_that_are_damaged"),
    _fault("result/kinds", "or not isinstance(complete, bool)", "", "test_files_that_are_damaged"),
    _fault("result/kinds", "return Kinds(scaled, self.failures,", "return Kinds(scaled, None,", _SAVED),
    _fault("result/stored", "if found == FORMAT_OF_KINDS and form == FORMAT:", "if False:", _SAVED),
    _fault("result/text", "if isinstance(failed, int) and failed", "if failed == 1", "test_failures_are_told_once"),
    _fault("cli/output", 'problems.append(f"{name}: {error}")', "pass", "test_text_to_paste_that_one_kind_cannot_have"),
    _fault("cli/show", "if isinstance(stats, Kinds):", "if False:", "test_the_command_line"),
]
