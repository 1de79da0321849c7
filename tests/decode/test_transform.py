"""Resize, center crop and EXIF turn: bit for bit what torchvision and Pillow make of the same files."""

from __future__ import annotations

import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

import gpustats
from gpustats.decode.decoder import Decoder
from gpustats.decode.transform import INTERPOLATIONS, RECIPES, Transform, transform_of, turned
from gpustats.definition import Definition
from gpustats.engines.isolated import IsolatedEngine
from gpustats.errors import DataError, DeviceError
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from gpustats.sources import Batch
from tests.images import encoded, photo, write_photos

SIZES = [(1, 1), (1, 300), (300, 1), (40, 60), (60, 40), (224, 224), (256, 300), (257, 255), (375, 500)]


def sums(stats: gpustats.Stats) -> dict[str, list[int]]:
    """Return the integers that everything is derived from."""
    return stats.totals["moments"]


def as_torchvision_does(image: Image.Image, size: int, crop: int, interpolation: str) -> NDArray[np.uint8]:
    """Resize the shorter side and cut out the center, by the formulas in torchvision's documentation."""
    width, height = image.size
    to = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    image = image.resize(to, Image.Resampling[interpolation.upper()])
    left, top = round((image.width - crop) / 2.0), round((image.height - crop) / 2.0)
    return np.asarray(image.crop((left, top, left + crop, top + crop)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_pixels_are_those_of_pillow(size: tuple[int, int], interpolation: str) -> None:
    image = photo(*size, seed=size[0])
    pixels = Transform((51,), interpolation, (37, 37)).apply(np.asarray(image), 1 << 20)
    assert np.array_equal(pixels, as_torchvision_does(image, 51, 37, interpolation))


@pytest.mark.parametrize("recipe", RECIPES)
def test_pixels_are_those_of_torchvision(recipe: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    mine = RECIPES[recipe]
    theirs = transforms.Compose(
        [
            transforms.Resize(mine.resize[0], transforms.InterpolationMode(mine.interpolation)),
            transforms.CenterCrop(mine.crop),
        ]
    )
    for number, size in enumerate(SIZES):
        image = photo(*size, seed=number)
        assert np.array_equal(mine.apply(np.asarray(image), 1 << 30), np.asarray(theirs(image)))


def test_a_run_measures_what_the_recipe_makes_of_each_image(tmp_path: Path) -> None:
    paths = write_photos(tmp_path / "photos", 20)
    stats = gpustats.compute(tmp_path / "photos", recipe="torchvision-imagenet", progress=False)
    values = np.stack([as_torchvision_does(Image.open(path).convert("RGB"), 256, 224, "bilinear") for path in paths])
    assert sums(stats)["sum"] == values.sum(axis=(0, 1, 2), dtype=np.int64).tolist()
    assert sums(stats)["sumsq"] == (values.astype(np.int64) ** 2).sum(axis=(0, 1, 2)).tolist()
    assert stats.n_pixels == values[..., 0].size
    assert stats.definition.transform == "resize 256 bilinear, center crop 224x224"
    assert "transform: resize 256 bilinear, center crop 224x224" in str(stats)
    again = gpustats.compute(tmp_path / "photos", resize=256, crop=224, isolate=True, workers=1, progress=False)
    assert again.totals == stats.totals


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_are_turned_as_pillow_turns_them(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(20, 33), kind, exif=exif)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(data)
    stats = gpustats.compute(path, exif="turn", crop=(9, 7), progress=False)
    with Image.open(io.BytesIO(data)) as image:
        whole = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    top, left = round((whole.shape[0] - 9) / 2), round((whole.shape[1] - 7) / 2)
    part = whole[top : top + 9, left : left + 7].astype(np.int64)
    assert sums(stats)["sum"] == part.sum(axis=(0, 1)).tolist()
    assert stats.definition.exif_transpose


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(orientation: int) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    with Image.open(file) as image:
        assert np.array_equal(turned(pixels, orientation), np.asarray(ImageOps.exif_transpose(image)))


def test_metadata_that_cannot_be_read_are_a_failure_where_they_matter(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    head = data.index(b"IDAT") - 4
    damaged = b"XX\0*\xff\xff\xff\xff"
    chunk = b"eXIf" + damaged
    broken = data[:head] + len(damaged).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[head:]
    (tmp_path / "a.png").write_bytes(broken)
    (tmp_path / "b.png").write_bytes(data)
    plain = gpustats.compute(tmp_path, progress=False)
    assert plain.n_images == 2
    with pytest.warns(gpustats.ImagesFailedWarning):
        asked = gpustats.compute(tmp_path, exif="turn", progress=False)
    assert [(f.key, f.reason) for f in asked.failures] == [("a.png", "corrupt")]
    assert "EXIF" in next(iter(asked.failures)).message


@given(
    st.builds(
        Transform,
        st.one_of(st.just(()), st.tuples(st.integers(1, 999)), st.tuples(st.integers(1, 999), st.integers(1, 999))),
        st.just("bilinear"),
        st.one_of(st.just(()), st.tuples(st.integers(1, 999), st.integers(1, 999))),
    )
)
def test_the_text_of_a_transform_says_all(transform: Transform) -> None:
    assert Transform.parse(str(transform)) == transform


@pytest.mark.parametrize(
    "text", ["", "resize", "resize 256", "resize 256 cubic", "center crop 224", "resize 1x2x3 box"]
)
def test_other_text_is_no_transform(text: str) -> None:
    with pytest.raises(ValueError, match="is no transform"):
        Transform.parse(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resize": 0}, "resize should be a length in pixels"),
        ({"resize": -3}, "got -3"),
        ({"resize": 1.5}, "got 1.5"),
        ({"resize": True}, "got True"),
        ({"resize": (1, 2, 3)}, "resize should be"),
        ({"resize": "256"}, "resize should be"),
        ({"crop": 1 << 24}, "crop should be"),
        ({"resize": 224, "crop": 256}, "crop of 256x256 is larger than the image after resize to 224"),
        ({"resize": (224, 300), "crop": (100, 301)}, "larger than the image after resize to 224x300"),
        ({"crop": 224, "crop_pct": 0}, "crop_pct should be above 0"),
        ({"crop": 224, "crop_pct": 1.1}, "at most 1"),
        ({"crop": 224, "crop_pct": "0.9"}, "got '0.9'"),
        ({"crop_pct": 0.9}, "give one length as crop"),
        ({"crop": (224, 200), "crop_pct": 0.9}, "give one length as crop"),
        ({"crop": 224, "crop_pct": 0.9, "resize": 256}, "no resize"),
        ({"interpolation": "bicubic"}, "give resize, too"),
        ({"resize": 224, "interpolation": "cubic"}, "one of nearest, box, bilinear"),
        ({"recipe": "imagenet"}, "recipe should be one of torchvision-imagenet"),
        ({"recipe": "clip", "crop": 20}, "give either the recipe or these"),
        ({"exif": True}, "exif should be 'ignore' or 'turn'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_photos(tmp_path, 1)
    with pytest.raises(ValueError, match=re.escape(words)):
        gpustats.compute(tmp_path, progress=False, **options)


def test_crop_pct_is_that_of_timm() -> None:
    assert transform_of(crop=224, crop_pct=0.875, interpolation="bicubic") == RECIPES["timm-imagenet"]
    assert transform_of(crop=224, crop_pct=0.9).resize == (248,)
    assert transform_of(crop=(20, 30)) == Transform((), "bilinear", (20, 30))
    assert transform_of() == Transform()


def test_an_image_that_is_smaller_than_the_crop_fails_by_name(tmp_path: Path) -> None:
    photo(100, 80).save(tmp_path / "small.png")
    photo(100, 100).save(tmp_path / "exact.png")
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(tmp_path, crop=100, progress=False)
    (failure,) = stats.failures
    assert (failure.key, failure.reason) == ("small.png", "unsupported")
    assert "80 x 100 pixels, less than the crop of 100 x 100" in failure.message
    assert stats.n_images == 1


def test_arrays_are_cropped_with_any_type_and_resized_as_bytes(tmp_path: Path) -> None:
    deep = np.arange(2 * 6 * 8, dtype=np.uint16).reshape(2, 6, 8, 1) * 600
    cropped = gpustats.compute(deep, layout="NHWC", crop=(2, 4), progress=False)
    assert sums(cropped)["sum"] == [int(deep[:, 2:4, 2:6].sum())]
    grey = np.stack([np.asarray(photo(60, 80, seed).convert("L")) for seed in range(3)])
    resized = gpustats.compute(grey, layout="NHW", resize=32, progress=False)
    wanted = sum(int(np.asarray(Image.fromarray(image).resize((42, 32), 2), np.int64).sum()) for image in grey)
    assert sums(resized)["sum"] == [wanted]
    with pytest.raises(DataError, match="only uint8 images with 1 or 3 channels are resized"):
        gpustats.compute(deep, layout="NHWC", resize=3, on_error="raise", progress=False)


def test_a_resize_that_would_not_fit_into_memory_is_refused() -> None:
    strip = np.zeros((1, 60_000, 3), np.uint8)
    with pytest.raises(ImageError, match="the resize gives 15360000 x 256") as caught:
        Transform((256,), "bilinear", ()).apply(strip, 512_000_000)
    assert caught.value.reason == "too_large"
    data = encoded(Image.fromarray(strip[:, :30_000]), "PNG")
    transform = Transform((4000,))
    with pytest.raises(ImageError, match=r"more than the .* MB") as caught:
        Decoder(1 << 40, MemoryBudget(1 << 30, 1), transform).decode(data)
    assert caught.value.reason == "too_large"


def test_memory_is_asked_for_the_transform_too() -> None:
    asked: list[int] = []

    class Budget(MemoryBudget):
        def reserve(self, size: int) -> int:
            asked.append(size)
            return super().reserve(size)

    image = photo(900, 1200)
    transform = Transform((800,), "bilinear", (700, 700))
    for data in (encoded(image), encoded(image, "PNG")):
        decoder = Decoder(1 << 30, Budget(1 << 30, 1), transform)
        decoder.decode(data)
        assert max(asked) >= 7 * 900 * 1200 + 4 * 900 * 1066 + 4 * 800 * 1066
        asked.clear()


def test_a_separate_process_asks_for_the_memory_too(tmp_path: Path) -> None:
    """3 megapixels fit into the 24 MB that 32 MB leave for an image as they are, and not with what a resize takes."""
    photo(1500, 2000).save(tmp_path / "a.jpg")
    for resize, images in ((None, 1), (1200, 0)):
        engine = IsolatedEngine(
            Definition(transform=str(transform_of(resize))), workers=1, max_pixels=1 << 30, memory=32 << 20
        )
        (outcome,) = engine.outcomes(iter([Batch(["a.jpg"], [""], [str(tmp_path / "a.jpg")])]))
        assert (len(outcome.rows), [f.reason for f in outcome.failures]) == (images, ["too_large"] * (1 - images))


def test_results_of_different_transforms_do_not_mix(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    plain = gpustats.compute(tmp_path / "photos", progress=False)
    resized = gpustats.compute(tmp_path / "photos", resize=20, progress=False, checkpoint=tmp_path / "kept")
    with pytest.raises(ValueError, match="transform"):
        plain + resized
    with pytest.raises(DataError, match="transform"):
        gpustats.compute(tmp_path / "photos", resize=21, progress=False, checkpoint=tmp_path / "kept")
    resized.save(tmp_path / "saved.json")
    assert json.loads((tmp_path / "saved.json").read_text())["definition"]["transform"] == "resize 20 bilinear"
    assert gpustats.Stats.load(tmp_path / "saved.json") + resized


def test_the_gpu_leaves_transforms_to_the_cpu(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    stats = gpustats.compute(tmp_path, resize=20, progress=False)
    assert stats.runs[0]["gpu_not_used"] == "images are transformed on the CPU (resize 20 bilinear)"
    turned_too = gpustats.compute(tmp_path, exif="turn", progress=False)
    assert "EXIF orientation on the CPU" in turned_too.runs[0]["gpu_not_used"]
    with pytest.raises(DeviceError, match="images are transformed on the CPU"):
        gpustats.compute(tmp_path, resize=20, device="gpu", progress=False)


@pytest.mark.parametrize(("recipe", "levels"), [("torchvision-imagenet", 1), ("timm-imagenet", 20)])
def test_dali_with_the_arguments_of_the_docs(recipe: str, levels: int, sample: Path) -> None:
    """DALI on the CPU, with the geometry that docs/pixels.md gives; on a GPU nobody has tried."""
    dali = pytest.importorskip("nvidia.dali", reason="DALI is not installed (it exists for Linux only)")
    fn, types = dali.fn, dali.types
    transform = transform_of(None, None, None, None, recipe)
    high, wide = transform.crop
    files = [path for path in sorted(sample.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")][:200]
    decoded = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    expected = [transform.apply(pixels, 10**9) for pixels in decoded]

    def arguments(pixels: NDArray[np.uint8]) -> tuple[float, ...]:
        height, width = transform.size(*pixels.shape[:2])
        top, left = round((height - high) / 2), round((width - wide) / 2)
        return width, height, left / max(width - wide, 1), top / max(height - high, 1)

    geometry = np.array([arguments(pixels) for pixels in decoded], np.float32)

    @dali.pipeline_def(batch_size=len(files), num_threads=2, device_id=None)
    def pipeline() -> Any:
        images = fn.external_source(source=[[np.fromfile(file, np.uint8) for file in files]])
        width, height, left, top = (fn.external_source(source=[list(column)]) for column in geometry.T)
        images = fn.decoders.image(images, adjust_orientation=False)
        kind = types.INTERP_LINEAR if transform.interpolation == "bilinear" else types.INTERP_CUBIC
        images = fn.resize(images, resize_x=width, resize_y=height, interp_type=kind, antialias=True)
        return fn.crop(images, crop=(high, wide), crop_pos_x=left, crop_pos_y=top, rounding="round")

    (found,) = pipeline().run()
    differences = np.array([np.asarray(found[i]).astype(int) - pixels for i, pixels in enumerate(expected)])
    assert 0 < np.abs(differences).max() <= levels
    assert np.abs(differences.mean(axis=(0, 1, 2))).max() < 0.01
