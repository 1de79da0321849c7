"""The GPU engine: DALI decodes, a kernel reduces the pixels in place, and the CPU engine takes what the GPU should not.

Threads: readers fill a `Feed`; one thread drives DALI and the reductions; the CPU engine works beside it on
everything that was screened out or whose batch failed. All of them emit rows, and rows add up whoever made them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, replace
from typing import Any

from gpustats.engines import dali
from gpustats.engines.base import Outcome
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.feed import Feed, Stopped
from gpustats.engines.gpu_batch import KIND, BatchReducer
from gpustats.engines.mailbox import Mailbox
from gpustats.engines.preflight import BATCH, try_gpu
from gpustats.engines.session import Counters, Session
from gpustats.engines.spot_check import SpotCheck
from gpustats.engines.tuning import Tuning
from gpustats.errors import DeviceLost, GpustatsError, first_line
from gpustats.sources import Batch
from gpustats.statistics import ALWAYS, for_kind
from gpustats.wording import option

__all__ = ["GpuEngine"]

log = logging.getLogger("gpustats")

_REBUILDS_IN_A_ROW = 3


class GpuEngine:
    """Measures JPEGs with DALI and a reducer, everything else with the CPU engine.

    Parameters
    ----------
    tuning : Tuning
        Batch limits, threads, prefetch.
    cpu : CpuEngine
        Decodes what the GPU does not take, and every image of a batch that failed.
    reducer : BatchReducer
        Reduces a decoded batch: the CUDA kernels, or their stand-in on the host.
    decode_device : {"mixed", "cpu"}
        Where DALI decodes. ``"cpu"`` is for tests on machines without a GPU.
    device_id : int or None
        CUDA device of the pipeline.
    device_name : str
        For the provenance.
    max_pixels, max_bytes : int
        Limits of an image and of a file.
    memory : int
        Bytes of encoded images that may be held; the memory of the CPU engine's decoders is not part of it.
    statistics : tuple of str
        What the reducer measures, and what reads files.
    required : bool
        Whether the GPU was asked for: a run in which it stops working then ends with `DeviceLost`. Otherwise the CPU
        goes on alone.
    """

    def __init__(
        self,
        *,
        tuning: Tuning,
        cpu: CpuEngine,
        reducer: BatchReducer,
        decode_device: dali.DecodeDevice,
        device_id: int | None,
        device_name: str,
        max_pixels: int,
        max_bytes: int,
        memory: int,
        statistics: tuple[str, ...] = (ALWAYS,),
        required: bool = False,
    ) -> None:
        self._tuning = tuning
        self._cpu = cpu
        self._reducer = reducer
        self._decode_device = decode_device
        self._device_id = device_id
        self._device_name = device_name
        self._max_pixels = max_pixels
        self.max_bytes = max_bytes
        self._memory = memory
        self._statistics = for_kind(statistics, KIND)
        self._required = required
        self._spot_check = SpotCheck(max_pixels)
        self._counters = Counters()
        self._given_up: str | None = None

    def problem(self) -> str | None:
        """Try the GPU on a few images; return what does not work, None where everything does."""
        tuning = replace(self._tuning, batch_size=BATCH, prefetch=1)
        return try_gpu(lambda source: self._build(source, tuning), self._reducer)

    def _build(self, source: Callable[[], dali.Fed], tuning: Tuning) -> Any:
        return dali.build_pipeline(source, tuning, self._decode_device, self._device_id)

    def report(self) -> dict[str, Any]:
        """Return the provenance of what was measured so far."""
        report = self._cpu.report()
        counts = {name: round(value, 3) for name, value in asdict(self._counters).items()}
        images = counts.pop("images")
        decoder = f"dali-{'nvjpeg' if self._decode_device == 'mixed' else 'cpu'}"
        return {
            **report,
            "engine": "gpu" if self._decode_device == "mixed" else "gpu (decoding on the CPU)",
            "device": self._device_name,
            "decoders": {decoder: dali.dali_version(), **report["decoders"]},
            "images_by_decoder": {decoder: images, **report["images_by_decoder"]},
            "spot_check": self._spot_check.report(),
            **counts,
            **({"gpu_given_up": self._given_up} if self._given_up else {}),
        }

    def outcomes(self, batches: Iterator[Batch]) -> Generator[Outcome, None, None]:
        """Yield outcomes of the GPU and of the CPU as they come."""
        feed = Feed(batches, self._tuning, max_pixels=self._max_pixels, max_bytes=self.max_bytes, memory=self._memory)
        results: Mailbox[Outcome | BaseException] = Mailbox(senders=2, limit=64)

        def emit(outcome: Outcome) -> None:
            if feed.stopped:
                raise Stopped
            results.send(outcome)

        def run(drive: Callable[[Feed, Callable[[Outcome], None]], None]) -> None:
            try:
                drive(feed, emit)
            except Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
                results.send(error)
            finally:
                results.leave()

        threads = [
            threading.Thread(target=run, args=(drive,), name=f"gpustats-{name}", daemon=True)
            for name, drive in (("on-gpu", self._drive), ("on-cpu", self._drive_cpu))
        ]
        for thread in threads:
            thread.start()
        threads += feed.start()
        try:
            for result in results.receive():
                if isinstance(result, BaseException):
                    raise result
                yield result
            if feed.error is not None:
                raise feed.error
        finally:
            feed.stop()
            results.close()
            for thread in threads:
                thread.join()

    def _drive_cpu(self, feed: Feed, emit: Callable[[Outcome], None]) -> None:
        """Run the CPU engine over what the GPU does not take, until nothing more can come."""
        outcomes = self._cpu.outcomes(feed.for_cpu(steal=self._tuning.cpu_workers > 0))
        try:
            for outcome in outcomes:
                feed.done_by_cpu(outcome)
                emit(outcome)
        finally:
            outcomes.close()

    def _drive(self, feed: Feed, emit: Callable[[Outcome], None]) -> None:
        """Run pipelines until the feed is empty, then say that the CPU gets no more from here."""
        self._run_pipelines(feed, emit)
        feed.close_cpu()

    def _run_pipelines(self, feed: Feed, emit: Callable[[Outcome], None]) -> None:
        """Run pipelines until the feed is empty; a pipeline that breaks is rebuilt."""
        session = Session(
            feed=feed,
            emit=emit,
            reducer=self._reducer,
            build=lambda source: self._build(source, self._tuning),
            counters=self._counters,
            spot_check=self._spot_check,
            statistics=self._statistics,
        )
        fruitless = 0
        try:
            while not session.finished:
                before = self._counters.images
                try:
                    session.run()
                except (Stopped, GpustatsError):
                    raise
                except Exception as error:  # noqa: BLE001 - of DALI, CuPy or the driver: no image may be lost by any
                    helped = session.abandon(error)
                    fruitless = 0 if helped or self._counters.images > before else fruitless + 1
                    if dali.is_sticky(error):
                        session.keep_for_ever()
                    if dali.is_sticky(error) or fruitless >= _REBUILDS_IN_A_ROW:
                        self._give_up(session, first_line(error))
                        return
                    self._counters.pipelines_rebuilt += 1
                    log.warning("gpustats: the GPU pipeline is rebuilt after: %s", first_line(error))
        finally:
            session.close()

    def _give_up(self, session: Session, reason: str) -> None:
        """Leave the rest to the CPU, or end the run where the GPU was asked for."""
        self._given_up = reason
        if self._required:
            raise DeviceLost(
                f"the GPU stopped working: {reason}; the numbers are those of the images read until then. Compute "
                f"again; with {option('checkpoint')} what was read is kept, and with "
                f"{option('device', 'auto')} the CPU goes on alone"
            )
        log.warning("gpustats: the GPU is given up, the CPU goes on alone")
        session.give_up()
