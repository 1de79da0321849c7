"""Faults of the engines, the kernels and what surrounds a launch."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_CPU = "tests/engines/test_cpu.py::"
_FEED = "tests/engines/test_feed.py::"
_LOST = "tests/gpu/test_nothing_lost.py::"
_SPOT = "tests/gpu/test_spot_check.py::"
_CHOICE = "tests/engines/test_choice.py::"
_PLAN = "tests/kernels/test_kernel_arithmetic.py::"
_REDUCER = "tests/kernels/test_kernel_reducer.py::"
_ISOLATE = "tests/robust/test_isolate.py::"
_MESSAGES = "tests/engines/test_isolated.py::"

_SMALL = "gpustats/engines/small_files.py"
_SMALL_TESTS = "tests/engines/test_small_files.py::"
_RESAMPLE = "gpustats/engines/resample.py"


def _resample(old: str, new: str, test: str) -> Fault:
    return Fault(_RESAMPLE, old, new, f"tests/engines/test_resample.py::{test}")


FAULTS = [
    _resample("a = np.abs(x), -0.5", "a = np.abs(x), -0.51", "test_photographs"),
    _resample("np.where(values < 0, -0.5, 0.5)", "0.5", "test_photographs"),
    _resample("whole[line] = np.roll(whole[line], beyond)", "pass", "test_any_size"),
    _resample("_HALF = 1 << (_BITS - 1)", "_HALF = 0", "test_photographs"),
    _resample("if sum(same) < 2 and", "if", "test_an_image_of_one_colour_tells_nothing"),
    _resample("and len(self._passes) < _MOST_SIZES", "", "test_sizes_that_are_remembered"),
    _resample("if same[1] else None", "if True else None", "test_where_neither_order_is_that_of_pillow"),
    _resample("and pixels.flags.writeable", "", "test_pixels_of_any_layout"),
    _resample("<= min(max_pixels, _MOST_PIXELS)", "<= _MOST_PIXELS", "test_limits_hold"),
    _resample("or self._left > 0 or", "or", "test_few_images_are_left_to_pillow"),
    Fault(
        "gpustats/engines/cpu.py",
        "                decode.check_size(loaded.shape[0], loaded.shape[1], self._max_pixels)\n",
        "",
        _CPU + "test_max_pixels_counts_for_arrays_and_files_alike",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "                decoder.release()\n",
        "                pass\n",
        _CPU + "test_memory_is_given_back_after_every_image_good_or_bad",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "failures, batch.failures = batch.failures, []",
        "failures, batch.failures = [], []",
        _CPU + "test_failures_of_the_source_arrive_once_also_without_an_image",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "pixels = _NOTHING",
        "pass",
        _CPU + "test_pixels_of_an_image_are_let_go_before_the_next_is_read",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "self._by_decoder += by_decoder",
        "self._by_decoder = by_decoder",
        _CPU + "test_the_report_counts_images_by_decoder_and_not_failures",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "min(8 * max_pixels + (1 << 20), memory)",
        "8 * max_pixels + (1 << 20)",
        _CPU + "test_the_limit_of_a_file_follows_from_pixels_and_memory",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "if time.monotonic() > until or stop.is_set():",
        "if stop.is_set():",
        _CPU + "test_a_worker_tells_at_once_where_it_is_asked_to_and_else_at_the_end",
    ),
    Fault(
        "gpustats/engines/mailbox.py",
        "        self._closed.set()",
        "        pass",
        "tests/engines/test_mailbox.py::test_close_lets_a_waiting_sender_go_on",
    ),
    Fault(
        "gpustats/engines/mailbox.py",
        "len(self._items) >= self._limit",
        "len(self._items) > self._limit",
        "tests/engines/test_mailbox.py::test_a_full_box_holds_its_limit_and_lets_go_on_when_one_is_taken",
    ),
    Fault(
        "gpustats/engines/mailbox.py",
        "if self._senders == 0:",
        "if self._senders <= 1:",
        "tests/engines/test_mailbox.py::test_the_reader_waits_for_every_sender",
    ),
    Fault(
        "gpustats/engines/shared_batches.py",
        "(len(self) + 1) // 2",
        "len(self) // 2",
        "tests/test_pool.py::test_whole_batches_come_first_then_halves_of_the_largest",
    ),
    Fault(
        "gpustats/engines/shared_batches.py",
        "                shared = self._half()",
        "                pass",
        _CPU + "test_an_idle_worker_takes_half_of_what_is_left",
    ),
    Fault(
        "gpustats/engines/session.py",
        "        self._take_back()\n        self._again.extendleft(reversed(lost))\n",
        "        self._take_back()\n        self._again = deque(lost)\n",
        _LOST + "test_every_image_counts_once_however_often_it_breaks",
    ),
    Fault(
        "gpustats/engines/session.py",
        "lost.append(self._reducing.popleft()[0])",
        "self._reducing.popleft()",
        "tests/gpu/test_nothing_is_lost.py::test_exceptions_at_several_calls",
    ),
    Fault(
        "gpustats/engines/session.py",
        "        for batch in self._again:\n",
        "        for batch in list(self._again)[:0]:\n",
        _LOST + "test_a_gpu_that_never_works_is_given_up_and_the_cpu_measures_all",
    ),
    Fault(
        "gpustats/engines/feed.py",
        "self._gpu_ended = batch is None",
        "self._gpu_ended = False",
        _LOST + "test_every_image_counts_once_whatever_breaks",
    ),
    Fault(
        "gpustats/engines/feed.py",
        "self._batch_bytes = max(self._batch_bytes // 2, 1)",
        "pass",
        _FEED + "test_batches_made_before_a_halving_are_too_large_after_it",
    ),
    Fault(
        "gpustats/engines/spot_check.py",
        "if max(mean, std) > TOLERANCE:",
        "if mean > TOLERANCE:",
        _SPOT + "test_another_std_with_the_same_mean_is_noticed",
    ),
    Fault(
        "gpustats/engines/spot_check.py",
        "if batch_number & (batch_number - 1) or not good.any():",
        "if batch_number > 1 or not good.any():",
        _SPOT + "test_batches_1_2_4_8_and_so_on_are_checked",
    ),
    Fault(
        "gpustats/engines/spot_check.py",
        "index = int(np.argmax(good))",
        "index = 0",
        _SPOT + "test_the_first_image_that_was_written_is_checked",
    ),
    Fault(
        "gpustats/engines/spot_check.py",
        "float(np.abs(a - b).max())",
        "float(np.abs(a - b).min())",
        _SPOT + "test_another_mean_with_the_same_std_is_noticed",
    ),
    Fault(
        "gpustats/engines/device.py",
        "if device_id >= count:",
        "if device_id > count:",
        _CHOICE + "test_a_device_that_is_there_has_no_problem",
    ),
    Fault(
        "gpustats/engines/device.py",
        "int(match[1] or 0) if match else 0",
        "0",
        _CHOICE + "test_a_gpu_that_is_asked_for_is_taken",
    ),
    Fault(
        "gpustats/engines/tuning.py",
        "type(value) is int",
        "isinstance(value, int)",
        _CHOICE + "test_each_setting_at_its_limits",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "self._total // self._workers, batch, stop",
        "self._total, batch, stop",
        _ISOLATE + "test_a_process_has_its_part_of_the_memory_and_one_alone_has_all",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "lambda: self._inside >= 0 and not self._waiting",
        "lambda: self._inside >= 0",
        _ISOLATE + "test_who_waits_to_be_alone_comes_before_those_who_come_later",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "lambda: self._inside == 0)",
        "lambda: self._inside >= 0)",
        _ISOLATE + "test_alone_is_alone",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "                self._processes[seat] = Process(self._definition, self._max_pixels, self._total)\n",
        "                return Process(self._definition, self._max_pixels, self._total)\n",
        _ISOLATE + "test_a_process_that_is_just_starting_ends_with_the_run",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "            if stop.is_set():\n                return None\n",
        "",
        _MESSAGES + "test_no_process_is_started_when_the_run_is_over",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "        elif len(batch) > _AT_STAKE:",
        "        elif False:",
        _MESSAGES + "test_a_crash_in_a_large_message_leaves_sixteen_images_to_be_done_alone",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "                if not isinstance(crash, Lost):\n                    return str(crash)",
        "                return str(crash)",
        _MESSAGES + "test_a_lost_message_is_sent_to_a_new_process_as_it_is",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "if held > _BYTES or time.monotonic() > until:",
        "if time.monotonic() > until:",
        _MESSAGES + "test_what_is_in_memory_is_sent_in_parts",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "if held > _BYTES or time.monotonic() > until:",
        "if held > _BYTES:",
        _MESSAGES + "test_what_takes_long_to_load_is_sent_in_parts",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "        batch.samples.extendleft(reversed(samples[done:]))\n",
        "",
        _MESSAGES + "test_what_is_in_memory_is_sent_in_parts",
    ),
    Fault(
        "gpustats/engines/isolated.py",
        "                left, self._processes = self._processes, {}",
        "                left = self._processes",
        _MESSAGES + "test_two_rounds_of_one_engine_start_processes_anew",
    ),
    Fault(
        "gpustats/engines/process.py",
        "            first, self._crashed = not self._crashed, True",
        "            first = self._crashed = True",
        _MESSAGES + "test_the_message_behind_one_that_kills_the_process_is_lost_and_not_the_cause",
    ),
    Fault(
        "gpustats/engines/process.py",
        "self._sent != self._received and ",
        "",
        _MESSAGES + "test_an_idle_process_is_not_taken_for_stuck",
    ),
    Fault(
        "gpustats/engines/shared_batches.py",
        "        self.failures.extend(batch.failures)\n",
        "",
        "tests/test_pool.py::test_batches_are_taken_together_until_there_are_enough_samples",
    ),
    Fault(
        "gpustats/cuda/launcher.py",
        "slot.event.record(stream)  # after",
        "pass  # after",
        _REDUCER + "test_buffers_are_given_back_behind_the_copy_of_the_result",
    ),
    Fault(
        "gpustats/cuda/launcher.py",
        "        slot.event.synchronize()\n        size",
        "        size",
        _REDUCER + "test_launches_in_flight_do_not_share_buffers",
    ),
    Fault(
        "gpustats/cuda/launcher.py",
        "1 << (want - 1).bit_length()",
        "1 << want.bit_length()",
        _REDUCER + "test_a_size_that_is_a_power_of_two_fits_exactly",
    ),
    Fault(
        "kernels/joint.cu",
        "PAIRS = CROSS ? C * (C - 1) / 2 : 0",
        "PAIRS = C * (C - 1) / 2",
        "tests/kernels/test_kernel_memory.py::test_kernels_write_inside_their_outputs",
    ),
    Fault(
        "gpustats/cuda/tiles.py",
        "ROW_PIXELS = {1: 2**30, 2: 2**20}",
        "ROW_PIXELS = {1: 2**30, 2: 2**21}",
        _PLAN + "test_sums_of_a_row_stay_below_2_to_the_53",
    ),
    Fault(
        "gpustats/cuda/tiles.py",
        "if total >= r * ROUND_BYTES * ENOUGH_TILES",
        "if total > r * ROUND_BYTES * ENOUGH_TILES",
        _PLAN + "test_tiles_are_as_large_as_2048_of_them_allow",
    ),
    Fault(
        "gpustats/cuda/tiles.py",
        "if tile_bytes % step or not step <= tile_bytes <= most:",
        "if tile_bytes % step:",
        _PLAN + "test_sizes_of_a_tile_that_a_kernel_takes",
    ),
    Fault(
        "gpustats/cuda/tiles.py",
        "(whole_pixels and not aligned)",
        "(whole_pixels and aligned)",
        _PLAN + "test_vector_loads_of_whole_pixels_need_an_address_of_whole_pixels",
    ),
    Fault(
        "gpustats/cuda/outputs.py",
        "    _check(plan, bins.sum(axis=2, dtype=np.int64) != plan.row_pixels[:, None])\n",
        "",
        _PLAN + "test_every_count_is_held_against_the_pixels",
    ),
    Fault(
        "gpustats/engines/feed.py",
        "rest = _Rest(failures=list(batch.failures))",
        "rest = _Rest()",
        _FEED + "test_failures_of_the_source_and_of_reading_are_passed_on_once",
    ),
    Fault(
        "gpustats/engines/feed.py",
        "if not rest.keys and not rest.failures:",
        "if not rest.keys:",
        _LOST + "test_failures_of_the_source_reach_the_result",
    ),
    Fault(
        "gpustats/engines/batch_reader.py",
        "0 < height * width <= limits[MAX_PIXELS_OF_IMAGE]",
        "0 < height * width < limits[MAX_PIXELS_OF_IMAGE]",
        _FEED + "test_images_too_large_for_the_gpu_go_to_the_cpu",
    ),
    Fault(_SMALL, "reversed(samples[done:])", "samples[done:]", _SMALL_TESTS + "test_what_was_not_used_goes_back"),
    Fault(_SMALL, "found.count(None) > len(found) // 2", "False", _SMALL_TESTS + "test_mostly_large_files_end_it"),
    Fault(
        _SMALL,
        "SmallFiles._read_before >= self._enough and",
        "",
        _SMALL_TESTS + "test_a_process_with_few_small_files_does_not_load_it",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "files.in_a_row + 1 if len(loaded) <= SMALL else 0",
        "files.in_a_row + 1",
        _SMALL_TESTS + "test_one_large_file_begins_the_count_anew",
    ),
    Fault(
        "gpustats/engines/batch_reader.py",
        "0 < size <= len(arena) - used",
        "0 < size <= len(arena)",
        _SMALL_TESTS + "test_files_that_do_not_fit_together_are_read_alone",
    ),
    Fault(
        "gpustats/decode/decoder.py",
        "pixels > min(self.max_pixels, self._buffer.nbytes // 3)",
        "pixels > self._buffer.nbytes // 3",
        _SMALL_TESTS + "test_same_rows_and_failures_as_one_by_one",
    ),
]
