"""Faults of exports, presets, comparisons and the verification of published values."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_EXPORTS = "gpustats/result/exports.py"
_TABLE = "gpustats/result/export_table.py"
_BUILDERS = "gpustats/result/builders.py"
_NORMALIZATION = "gpustats/result/normalization.py"
_TESTS = "tests/answers/test_exports.py::"
_OPTIONS = "tests/test_cli_options.py::"
_COMPARISON = "gpustats/result/comparison.py"
_DISTANCES = "gpustats/result/distances.py"
_SIDES = "gpustats/result/sides.py"
_COMPARE = "tests/answers/test_compare.py::"
_VERIFY = "gpustats/datasets/verify.py"
_VERIFIED = "tests/answers/test_verify.py::"

FAULTS = [
    Fault(_EXPORTS, "DIGITS = 9", "DIGITS = 7", _TESTS + "test_numbers_in_texts_are_near_enough_for_float32"),
    Fault(_TABLE, '        order="BGR",\n', "", _TESTS + "test_images_are_normalized"),
    Fault(
        _TABLE,
        "    std={std},\\n    to_rgb={swap}",
        "    std={variance},\\n    to_rgb={swap}",
        _TESTS + "test_images_are_normalized",
    ),
    Fault(_TABLE, "variance={variance}", "variance={std}", _TESTS + "test_formulas_of_libraries_that_may_not_be_here"),
    Fault(
        _EXPORTS,
        'Kind(kind.channels, "uint8") != kind',
        'Kind(kind.channels, "uint8") == kind',
        _TESTS + "test_images_of_16_bits",
    ),
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
        '"rescale": not numbers.kind.as_is',
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
    Fault(
        _COMPARISON,
        "        std / other_std,\n",
        "        std / other_std - 1,\n",
        _COMPARE + "test_what_the_network_sees_is_what_normalized_pixels_have",
    ),
    Fault(_COMPARISON, "zip(defined[0] if", "zip(('', '') if", _COMPARE + "test_two_definitions_are_told_apart"),
    Fault(
        _COMPARISON,
        "np.abs([self.mean_shift, self.std_shift])",
        "np.array([self.mean_shift, self.std_shift])",
        _COMPARE + "test_the_shift_is_the_largest_of_all",
    ),
    Fault(
        _COMPARISON,
        "if not (other_std > 0).all():",
        "if not (std > 0).all():",
        _COMPARE + "test_what_cannot_be_compared",
    ),
    Fault(
        _DISTANCES,
        "(1 - CONFIDENCE) / 2 / len(every)",
        "(1 - CONFIDENCE) / len(every)",
        _COMPARE + "test_samples_of_one_set_are_no_different_in_95_percent",
    ),
    Fault(
        _DISTANCES,
        'stderr(name, of="population")',
        'stderr(name, of="dataset")',
        _COMPARE + "test_standard_errors",
    ),
    Fault(_DISTANCES, '"key_hash", "height_min"', '"height_min"', _COMPARE + "test_the_same_images_changed_are_found"),
    Fault(_DISTANCES, "rtol=0 if exact else 1e-9", "rtol=0", _COMPARE + "test_scales_and_orders_are_converted"),
    Fault(
        _DISTANCES,
        "    if np.isnan(every).any():\n",
        "    if False:\n",
        _COMPARE + "test_images_of_one_pixel_and_images_that_are_all_alike",
    ),
    Fault(
        _DISTANCES,
        "out=without_error, ",
        "out=np.zeros_like(error), ",
        _COMPARE + "test_images_of_one_pixel_and_images_that_are_all_alike",
    ),
    Fault(_DISTANCES, "@ np.diff(first)", "@ first[1:]", _COMPARE + "test_distances_of_histograms"),
    Fault(
        _SIDES,
        "            if top > 1:\n",
        "            if top > 1000:\n",
        _COMPARE + "test_scales_and_orders_are_converted",
    ),
    Fault(
        _SIDES,
        'values[::-1] if self.preset.order == "BGR" else values',
        "values",
        _COMPARE + "test_what_the_network_sees_is_what_normalized_pixels_have",
    ),
    Fault(_SIDES, "if path in presets or not is_file:", "if not is_file:", _COMPARE + "test_files_and_presets"),
    Fault(
        "gpustats/result/presets.py",
        "0.48215841",
        "0.48215827",
        "tests/answers/test_presets.py::test_numbers_are_those_of_the_source",
    ),
    Fault(
        "gpustats/result/verdict.py",
        "if shift <= NEAR else",
        "if shift < NEAR else",
        _COMPARE + "test_levels_and_verdicts",
    ),
    Fault(
        "gpustats/cli/compare.py",
        "if found.shift > fail_above:",
        "if found.shift >= fail_above:",
        _OPTIONS + "test_compare",
    ),
    Fault(_VERIFY, "0.5 * 10.0**-d * (1 + 1e-9)", "10.0**-d", _VERIFIED + "test_decimals_that_agree"),
    Fault(_VERIFY, "shown = stats.scaled(published.scale)", "shown = stats", _VERIFIED + "test_every_layout_agrees"),
    Fault(
        _VERIFY, "d.channels == 1 and _is_grey(stats)", "d.channels == 1", _VERIFIED + "test_what_is_no_such_dataset"
    ),
    Fault(_VERIFY, "nearest = min(names, key", "nearest = max(names, key", _VERIFIED + "test_every_layout_agrees"),
    Fault(_VERIFY, "0 if found == value else -1", "0", _VERIFIED + "test_a_wrong_integer_is_found"),
    Fault(
        "gpustats/cli/verify.py",
        "        raise SystemExit(EXIT_DIFFERS)\n",
        "        pass\n",
        _VERIFIED + "test_a_changed_copy_differs",
    ),
    Fault(
        "examples/imagenet_or_own.py",
        "own = gpustats.compute(images.numpy()",
        "own = gpustats.compute(images[:2].numpy()",
        "tests/answers/test_example.py::test_own_numbers_are_of_the_training_images",
    ),
]
