"""Faults in what is fetched ahead, repeated and listed behind URLs."""

from __future__ import annotations

from tests.planted import Fault

_AHEAD = "gpustats/sources/ahead.py"
_RETRY = "gpustats/sources/files/retry.py"
_REMOTE = "gpustats/sources/files/remote.py"
_FOLDER = "gpustats/sources/places/remote_folder.py"
_TESTS = "tests/sources/test_ahead.py::"


FAULTS = [
    Fault(_AHEAD, " or held + weight > _AHEAD_BYTES", "", _TESTS + "test_large_files_are_not_all_held"),
    Fault(
        _AHEAD,
        "        async with self._slots:\n",
        "        if True:\n",
        _TESTS + "test_the_order_and_number_of_files",
    ),
    Fault(
        _AHEAD,
        "while ahead:\n                    yield ahead.popleft()[0]\n                held = count = 0",
        "pass",
        _TESTS + "test_what_is_not_remote_passes",
    ),
    Fault(_AHEAD, "        requests.cancel()\n", "", _TESTS + "test_a_run_that_is_stopped_asks_for_no_more"),
    Fault(
        _RETRY,
        "        if self._free < 1:\n            return False\n",
        "",
        _TESTS + "test_a_budget_ends_repetitions",
    ),
    Fault(
        _RETRY,
        "min(self._free + self._share, self._most)",
        "self._free + self._share",
        _TESTS + "test_a_budget_ends_repetitions",
    ),
    Fault(
        _REMOTE,
        "pause, size = attempts.after(error), None",
        "pause = attempts.after(error)",
        _TESTS + "test_the_size_of_a_listing_may_be_out_of_date",
    ),
    Fault(
        _REMOTE,
        '    if error.reason != "missing":\n        raise error\n',
        "    raise error\n",
        _TESTS + "test_the_first_file_that_is_found",
    ),
    Fault(
        _FOLDER,
        '                yield _not_listed(self._prefix + inner.rstrip("/"), error)\n',
        "                raise\n",
        _TESTS + "test_folders_are_listed_side_by_side",
    ),
    Fault(
        _FOLDER,
        "in islice(folders, _LISTERS))",
        "in islice(folders, 1))",
        _TESTS + "test_folders_are_listed_side_by_side",
    ),
    Fault(
        "gpustats/sources/files/http.py",
        "        check_bytes(size or 0, max_bytes)\n",
        "",
        _TESTS + "test_a_body_that_is_too_large_is_not_read",
    ),
    Fault(
        "gpustats/sources/places/remote_folder.py",
        "            if found:\n",
        "            if False:\n",
        "tests/sources/test_remote.py::test_names_in_the_listing_of_a_web_server",
    ),
    Fault(
        "gpustats/sources/files/http.py",
        'link.removeprefix("./")',
        "link",
        "tests/sources/test_remote.py::test_names_in_the_listing_of_a_web_server",
    ),
    Fault(  # a request that was cancelled before it began is waited for
        _AHEAD,
        '            future.set_exception(ImageError("unreadable", "the run was stopped"))\n',
        "            pass\n",
        "tests/sources/test_ahead.py::test_requests_that_are_stopped_before_they_begin_are_waited_for_by_nobody",
    ),
    Fault(
        _AHEAD,
        "            self._usual = max(",
        "            max(",
        _TESTS + "test_files_of_sizes_that_nobody_knows_fill_the_requests",
    ),
    Fault(
        _FOLDER,
        "            self._listed[folder] = listed\n",
        "            pass\n",
        _TESTS + "test_folders_are_listed_side_by_side",
    ),
]
