"""Faults of the command line, of interrupts and of what the machine offers."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_COMPUTE = "gpustats/cli/compute.py"
_DEMO = "gpustats/cli/demo.py"
_PARSE = "gpustats/cli/options.py"
_OUTPUT = "gpustats/cli/output.py"
_OPTIONS = "tests/test_cli_options.py::"
_HASH = _OPTIONS + "test_a_touched_file_is_read_again_by_mtime_and_not_by_its_content"
_INTERRUPTS = "tests/robust/test_interrupts.py::"
_WRONG = "tests/test_wrong_inputs.py::test_"
_RESOURCES = "tests/test_resources.py::"

FAULTS = [
    Fault(
        _PARSE,
        "float(text[:-1]) / 100",
        "float(text[:-1])",
        _OPTIONS + "test_max_failures_as_a_count_and_as_a_share",
    ),
    Fault(
        _PARSE,
        "        if text.isdecimal():\n            return int(text)\n",
        "",
        _OPTIONS + "test_max_failures_as_a_count_and_as_a_share",
    ),
    Fault(
        _PARSE,
        'for name in text.split(",")',
        "for name in (text,)",
        _OPTIONS + "test_statistics_one_by_one_and_separated_by_commas",
    ),
    Fault(
        _PARSE,
        "options[name] = json.loads(value)",
        "options[name] = value",
        _OPTIONS + "test_storage_options_reach_the_file_system_by_name_and_type",
    ),
    Fault(
        _PARSE,
        'text.partition("=")',
        'text.rpartition("=")',
        _OPTIONS + "test_storage_options_reach_the_file_system_by_name_and_type",
    ),
    Fault(
        _PARSE,
        "return options or None",
        "return options",
        _OPTIONS + "test_storage_options_reach_the_file_system_by_name_and_type",
    ),
    Fault(
        _PARSE,
        "return paths[0] if given",
        "return paths[0] if paths",
        _OPTIONS + "test_one_path_and_several",
    ),
    Fault(_PARSE, '"--workers",\n', '"--workers",\n        expose_value=False,\n', _OPTIONS + "test_workers"),
    Fault(
        _PARSE,
        '        "--storage-option",\n        "storage_options",\n',
        '        "--storage-option",\n        "storage_options",\n        expose_value=False,\n',
        _OPTIONS + "test_storage_options_reach_the_file_system_by_name_and_type",
    ),
    Fault(_COMPUTE, 'default="skip"', 'default="raise"', _OPTIONS + "test_on_error"),
    Fault(_COMPUTE, 'default="mtime"', 'default="hash"', _HASH),
    Fault(_COMPUTE, 'default="auto", help="The device', 'default="cpu", help="The device', _OPTIONS + "test_device"),
    Fault("gpustats/cli/options.py", "default=512_000_000", "default=12", _OPTIONS + "test_max_pixels"),
    Fault(_OUTPUT, "code = EXIT_FAILURES", "code = EXIT_ERROR", _OPTIONS + "test_on_error"),
    Fault(
        _OUTPUT,
        "stats, code = interrupt.partial, EXIT_INTERRUPTED",
        "stats, code = interrupt.partial, EXIT_ERROR",
        _OPTIONS + "test_an_interrupt_shows_what_there_is",
    ),
    Fault(
        _OUTPUT,
        '(path == "-" or descriptor_of(path) == _STDOUT)',
        "descriptor_of(path) == _STDOUT",
        _OPTIONS + "test_json_to_a_file_beside_the_table_and_to_standard_output_alone",
    ),
    Fault("gpustats/result/stats.py", "unit = self.scaled(1)", "unit = self", _OPTIONS + "test_show"),
    Fault(
        _OUTPUT,
        "            problem = error",
        "            fail(error)",
        "tests/test_saving.py::test_what_cannot_be_saved_is_printed",
    ),
    Fault(
        _PARSE,
        "            check_target(path)\n",
        "            str(path)\n",
        "tests/test_saving.py::test_a_path_that_cannot_be_written_is_found_before_the_run",
    ),
    Fault(_OUTPUT, "EXIT_USAGE if isinstance(error, OptionError) else code", "code", _WRONG + "a_mistake_is_one_line"),
    Fault(
        "gpustats/run.py",
        "        if not read:\n            raise nothing_read",
        "        if read is None:\n            raise nothing_read",
        _WRONG + "in_python_the_error_carries_the_failures",
    ),
    Fault(
        "gpustats/sources/base.py",
        "    if samples and not seen():\n        raise refuse()\n",
        "",
        _WRONG + "a_group_that_comes_late_in_a_shard_is_found",
    ),
    Fault(
        "gpustats/engines/worker.py",
        "decode.whole_images_only(), spoken(options):",
        "decode.whole_images_only():",
        _WRONG + "an_isolated_decoder_uses_the_words_of_the_command_line",
    ),
    Fault(
        "gpustats/failures.py",
        "key=lambda item: (-item[1], item[0])",
        "key=lambda item: (item[1], item[0])",
        _WRONG + "the_three_commonest_reasons",
    ),
    Fault(_OUTPUT, "FAILURES_SHOWN = 20", "FAILURES_SHOWN = 21", _OPTIONS + "test_twenty_failures_are_listed"),
    Fault(_OUTPUT, "    if not quiet:\n", "    if True:\n", _OPTIONS + "test_quiet"),
    Fault(_DEMO, "if folder.exists():", "if not folder.exists():", _OPTIONS + "test_demo"),
    Fault(_DEMO, "write_images(folder, count)", "write_images(folder, 300)", _OPTIONS + "test_demo"),
    Fault(
        "gpustats/limits/interrupts.py",
        "if self._holding and self._signals == 1:",
        "if self._holding:",
        _INTERRUPTS + "test_a_step_is_whole_and_the_second_signal_is_not_held_back",
    ),
    Fault(
        "gpustats/limits/interrupts.py",
        "            self._pending = False\n            raise",
        "            raise",
        _INTERRUPTS + "test_a_signal_that_was_held_back_is_raised_once",
    ),
    Fault(
        "gpustats/limits/interrupts.py",
        "        finally:\n            self._holding = outer\n",
        "        finally:\n            pass\n",
        _INTERRUPTS + "test_outside_a_step_the_first_signal_is_raised_at_once",
    ),
    Fault(
        "gpustats/limits/interrupts.py",
        "and signal.getsignal(signal.SIGINT) is signal.default_int_handler",
        "",
        _INTERRUPTS + "test_a_handler_of_the_program_is_left_alone",
    ),
    Fault(
        "gpustats/limits/interrupts.py",
        "if callable(handler):",
        "if not callable(handler):",
        _OPTIONS + "test_sigterm_does_what_the_handler_of_ctrl_c_does",
    ),
    Fault(
        "gpustats/limits/machine.py",
        "math.ceil(quota / period)",
        "quota // period",
        _RESOURCES + "test_a_quota_is_rounded_up_and_bounds_the_affinity",
    ),
    Fault(
        "gpustats/limits/machine.py",
        "return int(line.split()[1]) * 1024",
        "return int(line.split()[1])",
        _RESOURCES + "test_plain_machine",
    ),
    Fault(
        "gpustats/limits/machine.py",
        "min(available, max(limit - used, 0))",
        "max(limit - used, 0)",
        _RESOURCES + "test_the_tightest_memory_limit_counts",
    ),
    Fault(
        "gpustats/limits/machine.py",
        "(folder, *folder.parents)",
        "(folder,)",
        _RESOURCES + "test_folders_of_a_cgroup_and_its_parents",
    ),
]
