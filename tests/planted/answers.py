"""Faults of exports, presets, comparisons and the verification of published values."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_EXPORTS = "gpustats/result/exports.py"
_BUILDERS = "gpustats/result/builders.py"
_NORMALIZATION = "gpustats/result/normalization.py"
_TESTS = "tests/answers/test_exports.py::"
_OPTIONS = "tests/test_cli_options.py::"

FAULTS = [
    Fault(_EXPORTS, "DIGITS = 9", "DIGITS = 7", _TESTS + "test_numbers_in_texts_are_near_enough_for_float32"),
    Fault(_EXPORTS, '        order="BGR",\n', "", _TESTS + "test_images_are_normalized"),
    Fault(
        _EXPORTS,
        "    std={std},\\n    to_rgb={swap}",
        "    std={variance},\\n    to_rgb={swap}",
        _TESTS + "test_images_are_normalized",
    ),
    Fault(
        _EXPORTS, "variance={variance}", "variance={std}", _TESTS + "test_formulas_of_libraries_that_may_not_be_here"
    ),
    Fault(_EXPORTS, "and kind.max_value != 255", "and kind.max_value == 0", _TESTS + "test_images_of_16_bits"),
    Fault(_EXPORTS, "name.lower(), EXPORTS", "name, EXPORTS", _TESTS + "test_an_unknown_name_suggests_the_nearest"),
    Fault(_EXPORTS, 'or (bgr and export.order != "BGR")', "or bgr", _TESTS + "test_another_scale_and_order"),
    Fault(
        _EXPORTS,
        "        if numbers.notes:\n",
        "        if False:\n",
        _TESTS + "test_an_interrupted_run_and_failed_images_are_said",
    ),
    Fault(_EXPORTS, "(kind.max_value or 1) if", "255 if", _TESTS + "test_images_of_16_bits"),
    Fault(
        _BUILDERS, "shown([1 / whole])", "shown([whole])", _TESTS + "test_formulas_of_libraries_that_may_not_be_here"
    ),
    Fault(
        _BUILDERS,
        '"rescale": not numbers.kind.is_float',
        '"rescale": True',
        _TESTS + "test_float_images_are_taken_as_they_are",
    ),
    Fault(_NORMALIZATION, "if not value > 0:", "if value < 0:", _TESTS + "test_results_that_cannot_serve"),
    Fault(_NORMALIZATION, "getattr(self, name)[::-1]", "getattr(self, name)", _TESTS + "test_another_scale_and_order"),
    Fault(
        "gpustats/cli/output.py",
        "        shown.check()\n",
        "",
        _OPTIONS + "test_options_of_what_is_printed_that_make_no_sense",
    ),
    Fault(
        "gpustats/cli/output.py",
        "        stats = stats.scaled(shown.scale)\n",
        "        pass\n",
        _OPTIONS + "test_the_text_to_paste_and_the_form_of_the_table",
    ),
]
