"""Faults of the GPU engine, with its tests that need no GPU."""

from __future__ import annotations

from tests.planted import Fault

_SESSION = "gpustats/engines/session.py"
_FEED = "gpustats/engines/feed.py"
_LOST = "tests/gpu/test_nothing_is_lost.py"
_READER = "tests/engines/test_batch_reader.py"
_PREFLIGHT = "tests/gpu/test_preflight.py"
_MEMORY = "tests/gpu/test_memory.py"

FAULTS = [
    Fault(  # batches are matched by order alone
        _SESSION,
        "        number = int(found[0, 0])\n",
        "        number = next(iter(self._inside))\n        found = self._inside[number].serials\n",
        f"{_LOST}::test_batches_in_another_order_than_they_were_fed_in",
    ),
    Fault(  # a batch that never came out is forgotten
        _SESSION,
        "        if self._inside:\n            raise RuntimeError",
        "        if False:\n            raise RuntimeError",
        f"{_LOST}::test_batches_in_another_order_than_they_were_fed_in",
    ),
    Fault(  # only the first image says which batch it is
        _SESSION,
        "if fed is not None and not np.array_equal(found, fed.serials)",
        "if fed is not None and len(found) != len(fed.serials)",
        f"{_LOST}::test_batches_in_another_order_than_they_were_fed_in",
    ),
    Fault(  # a batch is let go before its launch has succeeded
        _SESSION,
        "            self._launch(self._inside[number].batch, pixels)\n            del self._inside[number]\n",
        "            self._launch(self._inside.pop(number).batch, pixels)\n",
        f"{_LOST}::test_an_exception_at_any_call",
    ),
    Fault(  # a pipeline that is built anew forgets what was in the last one
        _SESSION,
        "        self._feeding = False\n        self._pipeline = None",
        "        self._feeding = False\n        self._inside = {}\n        self._again.clear()\n"
        "        self._pipeline = None",
        f"{_LOST}::test_an_exception_at_any_call",
    ),
    Fault(  # a stopped run lets pixels go while a kernel reads them
        "gpustats/engines/gpu.py",
        "            session.close()\n",
        "            pass\n",
        f"{_LOST}::test_pixels_of_a_stopped_run_stay_until_their_kernel_is_done",
    ),
    Fault(  # an error of the CPU's thread ends it without a word
        "gpustats/engines/gpu.py",
        "            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it\n"
        "                results.send(error)\n",
        "            except BaseException:  # noqa: BLE001\n                pass\n",
        "tests/gpu/test_engine.py::test_an_error_of_any_thread_reaches_the_caller",
    ),
    Fault(  # threads that wait for room are not told that the run is over
        "gpustats/engines/gpu.py",
        "            results.close()\n",
        "",
        "tests/gpu/test_engine.py::test_a_caller_that_does_not_read_stops_the_engine_when_it_closes",
    ),
    Fault(  # what the CPU has in its queue is not counted
        _FEED,
        "            rest.add([key], [group], [data], taken)\n",
        "            self._held.release(taken)\n            rest.add([key], [group], [data])\n",
        f"{_MEMORY}::test_bytes_held_while_decoders_stand_still",
    ),
    Fault(  # more batches are in flight than share the memory
        _FEED,
        "(memory - memory // 4) // in_flight",
        "(memory - memory // 4) // 4",
        f"{_MEMORY}::test_bytes_held_while_decoders_stand_still",
    ),
    Fault(  # an image that an arena has no room for is written behind its end
        "gpustats/engines/batch_reader.py",
        "limits[MAX_IMAGES] or start + size > limits[MAX_BYTES]:",
        "limits[MAX_IMAGES]:",
        f"{_READER}::test_nothing_is_written_behind_the_limit_of_an_arena",
    ),
    Fault(  # a file that an arena has no room for is written behind its end
        "gpustats/engines/batch_reader.py",
        "        if start + size > limits[MAX_BYTES]:\n            _close(file)\n            return i\n",
        "",
        f"{_READER}::test_nothing_is_written_behind_the_limit_of_an_arena",
    ),
    Fault(  # descriptors are left open
        "gpustats/engines/batch_reader.py",
        "            got += _fill(file, arena.ctypes.data + start + got, size - got)\n        _close(file)\n",
        "            got += _fill(file, arena.ctypes.data + start + got, size - got)\n",
        f"{_READER}::test_no_descriptor_stays_open",
    ),
    Fault(  # a batch has more pixels than it should
        "gpustats/engines/batch_reader.py",
        "if count and pixels > limits[MAX_PIXELS]:",
        "if count > 1 and pixels > limits[MAX_PIXELS]:",
        "tests/engines/test_feed.py::test_bytes_of_pixels_bound_a_batch",
    ),
    Fault(  # an arena goes back while an image of it waits for the CPU
        _SESSION,
        "        if not unwritten:\n            self._feed.recycle(batch)\n",
        "        self._feed.recycle(batch)\n",
        f"{_READER}::test_an_arena_is_used_again_only_when_nobody_needs_it",
    ),
    Fault(  # half a batch gives back the arena that the other half is in
        _FEED,
        "        if batch.whole:\n            self._spare",
        "        if True:\n            self._spare",
        f"{_READER}::test_an_arena_is_used_again_only_when_nobody_needs_it",
    ),
    Fault(  # Adobe's marker is not looked at: RGB is decoded as YCbCr
        "gpustats/engines/screen.py",
        "            if components == 3 and transform != -1 and transform != 1:",
        "            if components == 3 and transform == 2:",
        f"{_READER}::test_the_screen_agrees_with_libjpeg",
    ),
    Fault(  # components called RGB are decoded as YCbCr
        "gpustats/engines/screen.py",
        "data[body + 6] == 82 and",
        "data[body + 6] == 83 and",
        f"{_READER}::test_the_screen_agrees_with_libjpeg",
    ),
    Fault(  # a file of a few bytes may keep the decoder busy for hours
        "gpustats/engines/screen.py",
        "return scans > MAX_SCANS and scans * pixels > SCAN_WORK",
        "return False",
        f"{_READER}::test_a_file_with_too_many_scans_is_left_to_the_cpu",
    ),
    Fault(  # a reader keeps samples for the CPU while it waits for memory that they take
        _FEED,
        "            if rest is not None:\n                self._hand_over(rest)\n",
        "",
        f"{_MEMORY}::test_images_larger_than_the_limit_pass_alone",
    ),
    Fault(  # an image that is larger than the limit waits for ever
        "gpustats/limits/memory.py",
        "        size = min(size, self._limit)\n        with self._changed:\n            self._changed.wait_for(",
        "        with self._changed:\n            self._changed.wait_for(",
        f"{_MEMORY}::test_images_larger_than_the_limit_pass_alone",
    ),
    Fault(  # a lost context is used again
        "gpustats/engines/gpu.py",
        "if dali.is_sticky(error) or fruitless >= _REBUILDS_IN_A_ROW:",
        "if fruitless >= _REBUILDS_IN_A_ROW:",
        f"{_PREFLIGHT}::test_a_lost_cuda_context_is_not_tried_again",
    ),
    Fault(  # what belongs to a lost context is destroyed, which ends the process
        "gpustats/engines/gpu.py",
        "                        session.keep_for_ever()\n",
        "                        pass\n",
        f"{_PREFLIGHT}::test_a_lost_context_is_never_destroyed",
    ),
    Fault(  # the CPU goes on where the GPU was asked for
        "gpustats/engines/gpu.py",
        "        if self._required:\n",
        "        if False:\n",
        f"{_PREFLIGHT}::test_a_gpu_that_was_asked_for_and_stops_working_is_an_error_with_the_partial_result",
    ),
    Fault(  # the partial result of a lost GPU is lost too
        "gpustats/run.py",
        "                error.partial = self._result(complete=False)\n",
        "                pass\n",
        f"{_PREFLIGHT}::test_a_gpu_that_was_asked_for_and_stops_working_is_an_error_with_the_partial_result",
    ),
    Fault(  # the command line forgets it
        "gpustats/cli/output.py",
        "    except (TooManyFailures, DeviceLost) as error:\n",
        "    except TooManyFailures as error:\n",
        f"{_PREFLIGHT}::test_the_command_line_prints_the_partial_result",
    ),
    Fault(  # only the first test image is compared
        "gpustats/engines/preflight.py",
        "for i in range(len(batch))]\n    except",
        "for i in range(1)]\n    except",
        f"{_PREFLIGHT}::test_wrong_pixels_of_any_image_are_noticed",
    ),
    Fault(  # the GPU is taken without a trial
        "gpustats/engines/device.py",
        "return engine.problem() or engine",
        "return engine",
        "tests/engines/test_choice.py::test_a_gpu_that_fails_its_trial",
    ),
    Fault(  # the result does not say why it is the CPU
        "gpustats/engines/device.py",
        "gpu_not_used=problem",
        "gpu_not_used=None",
        f"{_PREFLIGHT}::test_the_result_says_why_the_gpu_was_not_used",
    ),
    Fault(  # arrays are read while their values are still being made
        "gpustats/engines/device_arrays.py",
        "        device.synchronize()\n",
        "        pass\n",
        "tests/gpu/test_device_arrays.py::test_values_that_are_still_being_made_are_waited_for",
    ),
    Fault(  # buffers are used again while a kernel that nobody asks about writes into them
        "gpustats/cuda/launcher.py",
        "if pending() is None and slot.event.done]",
        "if pending() is None]",
        "tests/kernels/test_kernel_reducer.py::test_a_failed_launch_does_not_lose_its_buffers",
    ),
    Fault(  # buffers of a launch that nobody asks about are never used again
        "gpustats/cuda/launcher.py",
        "                self._reclaim()\n",
        "",
        "tests/kernels/test_kernel_reducer.py::test_a_result_nobody_asked_for_gives_its_buffers_back_when_they_are_free",
    ),
    Fault(  # a batch is emitted again after an error behind its emission
        _SESSION,
        "        self._reducing.popleft()\n        self._emit(outcome)\n",
        "        self._emit(outcome)\n",
        f"{_LOST}::test_an_exception_at_any_call",
    ),
]
