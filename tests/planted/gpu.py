"""Faults of the GPU engine, with its tests that need no GPU."""

from __future__ import annotations

from tests.planted import Fault

_SESSION = "gpustats/engines/session.py"
_FEED = "gpustats/engines/feed.py"
_LOST = "tests/gpu/test_nothing_is_lost.py"
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
        "        self._feeding = False\n        pipeline",
        "        self._feeding = False\n        self._inside = {}\n        self._again.clear()\n        pipeline",
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
        "        rest.taken.append(taken)\n",
        "        self._held.release(taken)\n        rest.taken.append(0)\n",
        f"{_MEMORY}::test_bytes_held_while_decoders_stand_still",
    ),
    Fault(  # encoded bytes in batches for the GPU are not counted
        _FEED,
        "                or batch.encoded_bytes + len(image.data) > self._encoded_bytes\n",
        "",
        f"{_MEMORY}::test_bytes_held_while_decoders_stand_still",
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
]
