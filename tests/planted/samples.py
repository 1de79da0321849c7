"""Planted faults of samples: which images are drawn, their errors, and what is said of them."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_CLUSTERS = "tests/test_clusters.py::test_"
_SAMPLES = "tests/test_samples.py::test_"


def _sums(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/statistics/clusters.py", old, new, _CLUSTERS + test)


def _drawn(old: str, new: str, test: str, file: str = "gpustats/sources/sampled.py") -> Fault:
    return Fault(file, old, new, _SAMPLES + test)


FAULTS = [
    _sums("* len(n) < 1 << 64", "< 1 << 64", "products_that_fit_where_their_sum_does_not"),
    _sums("(1, 2), (2, 2), (3, 3))", "(1, 2), (2, 1), (3, 3))", "products_are_exact_up_to_64_bits"),
    _sums("[(h << 64) + w for h, w", "[(h << 63) + w for h, w", "products_are_exact_up_to_64_bits"),
    _sums("+ 3 * by**2 * ns", "+ 2 * by**2 * ns", "taking_a_value_from_every_pixel"),
    _sums("* over(k - 1, k) *", "*", "the_errors_are_those_of_the_delta_method"),
    _sums("squares / (4 * variance * n**2)", "squares / (2 * variance * n**2)", "the_jackknife_agrees"),
    _sums("if not variance:", "if False:", "images_that_are_all_the_same_have_an_error_of_zero"),
    _sums(
        "if a[0] is None or b[0] is None:",
        "if a[0] is None:",
        "floats_whose_products_are_too_large_have_no_error_and_keep_the_rest",
    ),
    _sums("images * (images - 1))", "images * images)", "the_errors_are_those_of_the_delta_method"),
    _sums('view["products"][c][6]', 'view["products"][c][0]', "an_interval_reaches_to_both_sides_by_student"),
    Fault(
        "gpustats/statistics/base.py",
        "if a is None or b is None:",
        "if a is None:",
        _CLUSTERS + "a_result_of_an_earlier_version_has_no_error",
    ),
    Fault(
        "gpustats/result/derived.py",
        "error *= math.sqrt(self.estimate.left)",
        "error *= self.estimate.left",
        _CLUSTERS + "the_correction_for_a_finite_population",
    ),
    Fault(
        "gpustats/result/estimate.py",
        "if n < 2:\n        return _between(p, n)",
        "if False:\n        return _between(p, n)",
        _CLUSTERS + "students_t",
    ),
    _drawn(
        "                worst = _cut(keep, count + 1)",
        "                worst = _cut(keep, count + 1) // 2",
        "rounds_beyond_what_is_kept_are_listed_again",
    ),
    _drawn("chosen &= ranks < np.uint64(end)", "pass", "containers"),
    _drawn(
        "        self.notes.clear()\n        self.notes.add",
        "        self.notes.add",
        "what_a_source_says_is_said_once",
    ),
    _drawn("elif not self._source.again:", "elif False:", "an_iterator_is_read_once"),
    _drawn(
        "if not self._source_failed and not self._keep:",
        "if not self._source_failed:",
        "a_checkpoint_is_shared_with_full_runs",
        "gpustats/checkpoint/resume.py",
    ),
    _drawn(
        "if len(found) > 1:",
        "if len(found) > 9:",
        "a_dataset_whose_elements_are_batches_is_refused",
        "gpustats/sources/iterables.py",
    ),
    _drawn(
        "even=all(sample.even and _alike",
        "even=all(_alike",
        "samples_of_different_shares_are_no_sample_of_the_whole",
        "gpustats/result/estimate.py",
    ),
]
