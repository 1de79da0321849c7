"""The whole engine on a real device. Never run without one; see tests/conftest.py for how that is enforced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import ImagesFailedWarning, Stats
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.device import open_engine
from gpustats.engines.gpu import GpuEngine
from gpustats.sources import Batch, open_source
from gpustats.statistics.totals import Totals
from tests.gpu.test_engine import HARD, batch_of, photos_of, run

pytestmark = pytest.mark.gpu

TOLERANCE = 2e-4


def gpu_engine(**options: int | float) -> GpuEngine:
    engine = open_engine("gpu", workers=None, max_pixels=10**9, gpu_options=options)
    assert isinstance(engine, GpuEngine)
    return engine


def assert_close(ours: Stats, theirs: Stats) -> None:
    assert (ours.n_images, ours.n_pixels) == (theirs.n_images, theirs.n_pixels)
    for a, b in [(ours.mean, theirs.mean), (ours.std, theirs.std), (ours.per_image.std, theirs.per_image.std)]:
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE)


def test_close_to_the_cpu_engine(photos: Path) -> None:
    stats = gpustats.compute(photos, device="gpu")
    assert_close(stats, gpustats.compute(photos, device="cpu"))
    [record] = stats.runs
    assert record["engine"] == "gpu"
    assert record["images_by_decoder"]["dali-nvjpeg"] == 45
    assert record["spot_check"]["images"] > 0


def test_the_reference_images(sample: Path) -> None:
    assert_close(gpustats.compute(sample, device="gpu"), gpustats.compute(sample, device="cpu"))


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_the_batch_size_does_not_matter(photos: Path, batch_size: int) -> None:
    """Only where every image goes through the same decoder: the hardware engine takes a share of each batch."""
    options: dict[str, Any] = {"hw_decoder_load": 0.0}
    once = gpustats.compute(photos, device="gpu", gpu_options=options)
    again = gpustats.compute(photos, device="gpu", gpu_options=options | {"batch_size": batch_size})
    assert once.totals == again.totals


def test_hard_images_get_the_verdict_of_the_cpu_engine() -> None:
    _, failures = run(gpu_engine(), batch_of(HARD))
    _, expected = run(CpuEngine(workers=2, max_pixels=10**9, memory=1 << 30), batch_of(HARD))
    assert failures == expected


def test_an_image_of_16384_by_16384(tmp_path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").resize((16384, 16384)).convert("RGB").save(tmp_path / "large.jpg", quality=50)
    ours = gpustats.compute(tmp_path, device="gpu", gpu_options={"max_gpu_pixels": 300_000_000})
    assert_close(ours, gpustats.compute(tmp_path, device="cpu"))


def test_batches_are_not_let_go_before_their_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A race shows itself as sums that move: a slow kernel is put before every reduction, while DALI decodes on."""
    import cupy

    from gpustats.engines.cuda_reduce import CudaReducer

    spin = cupy.RawKernel(
        'extern "C" __global__ void spin(long long n) { long long t = clock64(); while (clock64() - t < n); }', "spin"
    )
    real = CudaReducer.launch

    def slow(self: CudaReducer, *arguments: Any) -> Any:
        with self._device, self._stream:
            spin((1,), (1,), (np.int64(20_000_000),))  # about 10 ms
        return real(self, *arguments)

    images = photos_of(400, size=120)

    def batches() -> Iterator[Batch]:
        for start in range(0, 400, 16):
            keys = list(images)[start : start + 16]
            yield Batch(keys, [""] * 16, [images[key] for key in keys])

    def totals() -> Totals:
        return run(gpu_engine(batch_size=16, hw_decoder_load=0.0), batches())[0]

    expected = totals()
    monkeypatch.setattr(CudaReducer, "launch", slow)
    for _ in range(3):
        assert totals() == expected


def test_a_list_with_bad_files(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no \xff\xd9")
    with pytest.warns(ImagesFailedWarning):
        stats = gpustats.compute([str(photos), str(tmp_path / "bad.jpg")], device="gpu")
    assert len(list(open_source(photos).samples())) == stats.n_images
