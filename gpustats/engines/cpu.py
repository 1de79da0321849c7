"""The CPU engine: threads that read, decode and reduce one image after the other, with no step in between."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.decode import decoder as decode
from gpustats.decode.transform import Transform
from gpustats.definition import RGB, Definition
from gpustats.engines.base import Outcome, outcomes_of
from gpustats.engines.device_arrays import is_on_device
from gpustats.engines.device_arrays import measure as measure_on_device
from gpustats.engines.mailbox import Mailbox
from gpustats.engines.masks import Masks
from gpustats.engines.originals import original
from gpustats.engines.resample import resampler_of
from gpustats.engines.shared_batches import Pool, SharedBatch
from gpustats.engines.small_files import SMALL, Found, SmallFiles
from gpustats.failures import Failure, ImageError
from gpustats.limits.memory import MemoryBudget
from gpustats.sources import Batch, load
from gpustats.sources.items import Item, Pixels
from gpustats.statistics import of_originals
from gpustats.statistics.binning import binning_of
from gpustats.statistics.builder import RowBuilder, RowBuilders
from gpustats.statistics.rows import Rows
from gpustats.wording import option

__all__ = ["CpuEngine"]

_DEFAULT = Definition()
_NOTHING = np.empty(0, np.uint8)
_TELL = 0.2  # seconds
_WAITING_BYTES = 64 << 20  # of rows with large histograms, until they are folded
_PATIENCE = 1.0  # seconds to wait for images in work when a run is stopped; later results are dropped


class CpuEngine:
    """Measures images on CPU threads.

    Each worker takes the next batch itself, so at most `workers` batches are in flight, and an image is read,
    decoded into the worker's buffer and reduced while it is still in the cache. At the end workers share what is left.

    Parameters
    ----------
    definition : Definition
        What is measured.
    workers : int
        Threads.
    max_pixels : int
        Images with more fail as ``too_large``.
    memory : int
        Bytes of file data and pixels that may be in flight.
    tell_after : float, optional
        Seconds after which a worker reports its results, even if images of its batch are left; by default a fifth.
    gpu_not_used : str, optional
        Why it is the CPU, for the provenance.
    masks : Masks, optional
        Which pixels count.
    separate : bool
        Whether images of different kinds have rows of their own; if not, they are an error.
    """

    def __init__(
        self,
        definition: Definition = _DEFAULT,
        *,
        workers: int,
        max_pixels: int,
        memory: int,
        tell_after: float | None = None,
        gpu_not_used: str | None = None,
        masks: Masks | None = None,
        separate: bool = False,
    ) -> None:
        self._separate = separate
        self._definition = definition
        self._transform = Transform.parse(definition.transform)
        self._masks = masks
        self._resampler = resampler_of(self._transform)
        self._prepares = self._transform != Transform() or masks is not None
        self._binning = binning_of(definition)
        self._of_originals = of_originals(definition.statistics)
        host_only = definition.nodata or definition.value_range or self._binning or self._of_originals
        self._only_on_host = self._prepares or bool(host_only)
        self._workers = self._threads = workers
        self._at_once = 0  # images for which a worker takes several batches where one has fewer
        self._max_pixels = max_pixels
        self.max_bytes = min(8 * max_pixels + (1 << 20), memory)  # 8 bytes a pixel: the widest uncompressed format
        self._memory = MemoryBudget(memory, workers)
        self._tell_after = _TELL if tell_after is None else tell_after
        self._by_decoder: Counter[str] = Counter()
        self._gpu_not_used = {"gpu_not_used": gpu_not_used} if gpu_not_used else {}

    def report(self) -> dict[str, Any]:
        """Return the provenance of what was measured so far."""
        return {
            "engine": "cpu",
            "device": f"cpu ({self._workers} thread{'' if self._workers == 1 else 's'})",
            "decoders": decode.versions(),
            "images_by_decoder": dict(sorted(self._by_decoder.items())),
            **self._gpu_not_used,
        }

    def outcomes(self, batches: Iterator[Batch]) -> Generator[Outcome, None, None]:
        """Yield outcomes of batches and parts of them, in the order in which workers finish."""
        results: Mailbox[tuple[Outcome, Counter[str]] | BaseException] = Mailbox(
            self._threads, 64 * self._threads, _WAITING_BYTES
        )
        pool = Pool(batches)
        stop = threading.Event()

        def work() -> None:
            decoder = self.decoder(self._memory)
            files = SmallFiles()
            batch: SharedBatch | None = None
            try:
                while not stop.is_set() and (batch := batch or pool.take(self._at_once)) is not None:
                    outcomes, by_decoder = self.measure(batch, decoder, stop, files)
                    for outcome in outcomes:
                        results.send((outcome, by_decoder), outcome.rows.ragged_bytes)
                        by_decoder = Counter()
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
                results.send(error)
            results.leave()

        threads = [threading.Thread(target=work, name=f"gpustats-cpu-{i}", daemon=True) for i in range(self._threads)]
        with decode.whole_images_only():
            for thread in threads:
                thread.start()
            try:
                for result in results.receive():
                    if isinstance(result, BaseException):
                        raise result
                    outcome, by_decoder = result
                    self._by_decoder += by_decoder
                    yield outcome
            finally:
                stop.set()
                results.close()
                deadline = time.monotonic() + _PATIENCE
                for thread in threads:
                    thread.join(max(deadline - time.monotonic(), 0))

    def decoder(self, memory: MemoryBudget) -> decode.Decoder:
        """Return a decoder for one thread, which asks for memory there."""
        return decode.Decoder(
            self._max_pixels,
            memory,
            self._transform,
            self._definition.mode,
            alpha_masks=self._definition.alpha == "mask",
            nodata_tag=self._definition.nodata_tag,
            deep=bool(self._definition.value_range),
            turn=self._definition.exif_transpose,
            beside=0 if self._masks is None else self._masks.bytes_a_pixel,
        )

    def _prepared(self, key: str, pixels: Pixels, whole: tuple[int, int] | None) -> Pixels:
        """Return the pixels of an image without those that a mask leaves out, resized and cropped."""
        if self._masks is not None:
            pixels = self._masks.apply(key, pixels)
        return self._resampler.apply(pixels, self._max_pixels, whole)

    def measure(
        self, batch: SharedBatch, decoder: decode.Decoder, stop: threading.Event, files: SmallFiles | None = None
    ) -> tuple[list[Outcome], Counter[str]]:
        """Decode and reduce samples of a batch that several workers share, until it is time to report.

        `stop` ends it after the current image. There is one outcome, or where kinds are separate one for each.
        """
        rows = RowBuilders(self._builder) if self._separate else self._builder(len(batch))
        failures, batch.failures = batch.failures, []
        by_decoder: Counter[str] = Counter()
        on_device: list[tuple[str, str, Any]] = []
        until = time.monotonic() + self._tell_after
        files = files or SmallFiles()
        with closing(files.samples(batch)) as samples:
            for (key, group, item), found in samples:
                try:
                    pixels, name, data = self._pixels(item, found, decoder, files)
                    if name == "none" and is_on_device(pixels):
                        if not self._only_on_host:
                            on_device.append((key, group, pixels))
                            continue
                        pixels = pixels.get()  # type: ignore[attr-defined]  # CuPy's
                    came = original(data, pixels, decoder.whole, decoder.color_space) if self._of_originals else None
                    if self._prepares:
                        pixels = self._prepared(key, pixels, decoder.whole)
                    rows.add(key, group, pixels, decoder.value_range, came)
                    by_decoder[name] += 1
                except ImageError as error:
                    failures.append(Failure(key, error.reason, str(error)))
                finally:
                    pixels = _NOTHING  # freed before others may take their memory
                    data = came = None
                    decoder.release()
                if time.monotonic() > until or stop.is_set():
                    break
        if not on_device:
            return self._outcomes(rows.parts(), failures), by_decoder
        parts, bad, others = measure_on_device(on_device, self._definition.statistics)
        for key, group, image in others:
            try:
                rows.add(key, group, image.get())
            except ImageError as error:
                bad.append(Failure(key, error.reason, str(error)))
        by_decoder["none"] += len(on_device) - len(bad)
        return self._outcomes([*rows.parts(), *parts], failures + bad), by_decoder

    def _builder(self, count: int) -> RowBuilder:
        definition = self._definition
        return RowBuilder(
            count, definition.statistics, definition.nodata, definition.value_range, binning=self._binning
        )

    def _outcomes(self, parts: Sequence[Rows], failures: list[Failure]) -> list[Outcome]:
        return list(outcomes_of(parts if self._separate else [Rows.joined(parts)], failures))

    def _pixels(
        self,
        item: Item,
        found: Found | None,
        decoder: decode.Decoder,
        files: SmallFiles,
    ) -> tuple[Pixels, str, bytes | NDArray[np.uint8] | None]:
        """Return the pixels of an image, which decoder made them, and the file, None where it is none."""
        if found is None:
            loaded = load(item, self.max_bytes, decoder.expect_file)
            if not isinstance(loaded, bytes):
                decode.check_size(loaded.shape[0], loaded.shape[1], self._max_pixels)
                decode.check_array(loaded, self._definition.mode)
                return loaded, "none", None
            files.in_a_row = files.in_a_row + 1 if len(loaded) <= SMALL else 0
            found = loaded, None
        data, ordinary = found
        if self._definition.color_order != RGB:
            order = option("color_order", self._definition.color_order)
            raise ImageError("unsupported", f"{order} is for arrays, and a decoder gives RGB")
        pixels, name = decoder.decode(data, ordinary)
        return pixels, name, data
