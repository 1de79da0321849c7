"""Pixels that are left out by a mask, by alpha, or by a tag of the file. NumPy on the valid pixels is the reference."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import gpustats
from gpustats.decode import modes
from gpustats.decode.decoder import Decoder
from gpustats.decode.depth import gdal_nodata
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget
from tests.images import encoded, photo

SIZES = ((20, 31), (33, 17), (8, 9))


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, progress=False, workers=2, **options)


def check(stats: gpustats.Stats, images: list[Any], counts: list[Any]) -> None:
    """Hold that the pixels that count, an array (H, W) for each image, are measured and no others."""
    values = np.concatenate([image[count] for image, count in zip(images, counts, strict=True)]).astype(np.int64)
    moments = stats.totals["moments"]
    assert moments["n"] == [len(values)] * values.shape[1]
    assert moments["sum"] == values.sum(axis=0).tolist()
    assert moments["sumsq"] == (values**2).sum(axis=0).tolist()
    assert (moments["min"], moments["max"]) == (values.min(axis=0).tolist(), values.max(axis=0).tolist())


@pytest.fixture
def images() -> list[Any]:
    return [np.asarray(photo(*size, seed=i)) for i, size in enumerate(SIZES)]


@pytest.fixture
def counts() -> list[Any]:
    return [np.random.default_rng(i).random(size) < 0.6 for i, size in enumerate(SIZES)]


@pytest.fixture
def folders(tmp_path: Path, images: list[Any], counts: list[Any]) -> tuple[Path, Path]:
    """Images, and masks of other endings, in folders and folders below them."""
    for i, (image, count) in enumerate(zip(images, counts, strict=True)):
        place = "ab"[i % 2]
        for name in ("images", "masks"):
            (tmp_path / name / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / place / f"{i}.1.png")
        ending = ("png", "tif", "bmp")[i]
        Image.fromarray(count.astype(np.uint8) * 255).save(tmp_path / "masks" / place / f"{i}.1.{ending}")
    return tmp_path / "images", tmp_path / "masks"


@pytest.mark.parametrize("written", [str, Path, lambda path: f"{path}/", lambda path: f"{path.parent}/./{path.name}"])
def test_a_folder_of_masks(
    folders: tuple[Path, Path], images: list[Any], counts: list[Any], written: Callable[[Path], Any]
) -> None:
    data, masks = folders
    stats = compute(written(data), mask=written(masks))
    check(stats, images, counts)
    assert stats.definition.mask == "folder"
    assert "are valid" in str(stats)
    assert compute(data).definition.mask == "none"


def test_a_function_of_the_key(folders: tuple[Path, Path], images: list[Any], counts: list[Any]) -> None:
    data, _ = folders
    stats = compute(data, mask=lambda key: counts[int(Path(key).name[0])])
    check(stats, images, counts)
    assert stats.definition.mask == "function"
    for convert in (lambda v: v.astype(np.uint8) * 7, lambda v: v[:, :, None], lambda v: v.tolist(), np.float32):
        assert compute(data, mask=lambda key, c=convert: c(counts[int(Path(key).name[0])])).totals == stats.totals
    everything = [np.ones(count.shape, bool) for count in counts]
    check(compute(data, mask=lambda key: None), images, everything)


def test_a_mask_for_each_channel(folders: tuple[Path, Path], images: list[Any]) -> None:
    data, _ = folders
    stats = compute(data, mask=lambda key: images[int(Path(key).name[0])] > 100)
    moments = stats.totals["moments"]
    for channel in range(3):
        values = np.concatenate([image[:, :, channel].ravel() for image in images])
        values = values[values > 100].astype(np.int64)
        assert (moments["n"][channel], moments["sum"][channel]) == (len(values), values.sum())


def test_masks_of_arrays(images: list[Any]) -> None:
    grey = np.stack([photo.mean(axis=2).astype(np.uint8) for photo in images[:1] * 3])
    left = np.zeros(grey.shape[1:], bool)
    left[:, :5] = True
    check(compute(grey, layout="NHW", mask=lambda key: left), [grey[0][:, :, None]] * 3, [left] * 3)
    high = int(np.median(grey))
    masked = np.ma.MaskedArray(grey, grey > high)
    stats = compute(list(masked), layout="HW", mask=lambda key: left)
    check(stats, [grey[0][:, :, None]] * 3, [left & (grey[0] <= high)] * 3)


def test_masks_turned_and_cropped(tmp_path: Path, images: list[Any]) -> None:
    """A mask has the size of the image as it is shown, before the crop."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(images[0]), "PNG", exif=exif))
    turned = np.rot90(images[0], -1)
    mask = turned[:, :, 0] > 90
    stats = compute(tmp_path, exif="turn", crop=10, mask=lambda key: mask)
    top, left = (round((side - 10) / 2) for side in turned.shape[:2])
    check(stats, [turned[top : top + 10, left : left + 10]], [mask[top : top + 10, left : left + 10]])


def test_masks_that_do_not_fit_are_failures(folders: tuple[Path, Path], counts: list[Any]) -> None:
    data, masks = folders
    (masks / "a" / "0.1.png").unlink()
    Image.fromarray(counts[0]).save(masks / "b" / "1.1.tif")
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(data, mask=masks)
    messages = {Path(failure.key).name: (failure.reason, failure.message) for failure in stats.failures}
    assert messages == {
        "0.1.png": ("missing", f"mask: there is no 0.1.png, .tif or the like in {masks / 'a'}"),
        "1.1.png": ("unsupported", "mask: 1.1.tif is larger than the image"),
    }
    assert stats.n_images == 1


@pytest.mark.parametrize(
    ("mask", "reason", "words"),
    [
        (Image.new("L", (31, 20)), "unsupported", "a channel has no valid pixel"),
        (Image.new("L", (310, 200)), "unsupported", "mask: 0.png is larger than the image"),
        (Image.new("L", (30, 20)), "unsupported", "mask: it has the shape 20 x 30, and the image 20 x 31 x 3"),
        (Image.new("RGBA", (31, 20)), "unsupported", "mask: 0.png has 4 channels; a mask is grey or RGB"),
        (b"no image", "not_an_image", "mask: the first bytes are those of no image format"),
    ],
)
def test_what_is_wrong_with_a_mask(tmp_path: Path, mask: Any, reason: str, words: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "masks").mkdir()
    photo(20, 31).save(tmp_path / "data" / "0.jpg")
    (tmp_path / "masks" / "0.png").write_bytes(mask if isinstance(mask, bytes) else encoded(mask, "PNG"))
    with pytest.raises(gpustats.AllImagesFailed) as caught:
        compute(tmp_path / "data", mask=tmp_path / "masks")
    (failure,) = caught.value.partial.failures
    assert failure.reason == reason
    assert failure.message.startswith(words)
    (tmp_path / "masks" / "0.bmp").touch()
    with pytest.raises(gpustats.AllImagesFailed, match=r"0.png and 0.bmp are both there"):
        compute(tmp_path / "data", mask=tmp_path / "masks")


def test_functions_that_fail(folders: tuple[Path, Path]) -> None:
    def raises(key: str) -> Any:
        raise KeyError(key)

    for function, words in [(raises, "mask: KeyError"), (lambda key: np.ones(3), "mask: it has the shape 3, and")]:
        with pytest.raises(gpustats.AllImagesFailed, match=words):
            compute(folders[0], mask=function)


def test_a_palette_of_a_mask(tmp_path: Path, images: list[Any]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(images[0]).save(tmp_path / "data" / "0.png")
    classes = Image.fromarray((images[0][:, :, 0] // 100).astype(np.uint8), "P")
    classes.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    classes.save(tmp_path / "masks" / "0.png")
    check(compute(tmp_path / "data", mask=tmp_path / "masks"), images[:1], [images[0][:, :, 0] >= 100])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask": 3}, "mask should be a folder or a function of the key, got 3"),
        ({"mask": "gone"}, "mask='gone': there is no such folder"),
        ({"mask": "."}, "which goes with one folder of images"),
        ({"mask": len, "resize": 9}, "mask leaves pixels out, and an image with such pixels cannot be resized"),
        ({"mask": len, "isolate": True}, "mask is not for isolate=True"),
        ({"mask": len, "checkpoint": "x"}, "mask is not for checkpoint"),
        ({"alpha": "keep"}, "alpha should be 'drop' or 'mask', got 'keep'"),
        ({"alpha": "mask", "mode": "native"}, "takes alpha out of the pixels, and mode='native' measures it"),
        ({"alpha": "mask", "recipe": "clip"}, "alpha='mask' leaves pixels out"),
        ({"nodata": "tag", "mode": "L"}, "nodata='tag' compares what is stored, and mode='L' changes it"),
        ({"nodata": "label"}, "or 'tag', got 'label'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises((gpustats.OptionError, gpustats.DataError), match=words):
        compute([np.zeros((8, 9, 3), np.uint8)], **options)


def test_masks_are_for_the_cpu() -> None:
    for options in ({"mask": len}, {"alpha": "mask"}, {"nodata": "tag"}):
        with pytest.raises(gpustats.DeviceError, match="on the CPU"):
            compute([np.zeros((8, 9, 3), np.uint8)], device="gpu", **options)


def transparent() -> Image.Image:
    image = photo(33, 41).convert("RGBA")
    alpha = np.random.default_rng(0).choice(np.array([0, 1, 128, 255], np.uint8), (33, 41))
    image.putalpha(Image.fromarray(alpha))
    return image


def palette_with_transparency() -> Image.Image:
    image = photo(33, 41).quantize(9)
    image.info["transparency"] = 3
    return image


def associated() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(transparent()), photometric="rgb", extrasamples=["assocalpha"])
    return file.getvalue()


ALPHAS = {
    "PNG RGBA": encoded(transparent(), "PNG"),
    "PNG grey": encoded(transparent().convert("LA"), "PNG"),
    "PNG palette": encoded(palette_with_transparency(), "PNG"),
    "PNG palette, many": encoded(photo(33, 41).quantize(200), "PNG", transparency=bytes(range(200))),
    "PNG colour": encoded(photo(33, 41), "PNG", transparency=photo(33, 41).getpixel((3, 3))),
    "PNG without": encoded(photo(33, 41), "PNG"),
    "GIF": encoded(palette_with_transparency(), "GIF"),
    "WebP": encoded(transparent(), "WEBP", lossless=True, exact=True),
    "TIFF": encoded(transparent(), "TIFF"),
    "TIFF associated": associated(),
    "JPEG 2000": encoded(transparent(), "JPEG2000"),
    "BMP": encoded(transparent(), "BMP"),
    "JPEG": encoded(photo(33, 41)),
}


@pytest.mark.parametrize("name", ALPHAS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_alpha(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ALPHAS[name]
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
        image.info.pop("transparency", None)
        pixels = np.asarray(image.convert(mode)).reshape(33, 41, -1)
    assert (alpha == 0).any() == (name not in ("PNG without", "JPEG", "BMP"))
    for strip in (1 << 17, 5 * 41):
        monkeypatch.setattr(modes, "_STRIP_PIXELS", strip)
        stats = compute(data, mode=mode, alpha="mask")
        check(stats, [pixels], [alpha > 0])
        assert stats.definition.alpha == "mask"
    check(compute(data, mode=mode), [pixels], [np.ones(alpha.shape, bool)])


def test_alpha_in_processes_of_their_own() -> None:
    for data in (ALPHAS["PNG RGBA"], ALPHAS["PNG without"]):
        options = {"alpha": "mask"}
        assert compute(data, isolate=True, **options).totals == compute(data, **options).totals


def test_an_image_that_is_transparent_all_over() -> None:
    with pytest.raises(gpustats.AllImagesFailed, match="a channel has no valid pixel"):
        compute(encoded(Image.new("RGBA", (9, 8)), "PNG"), alpha="mask")


def geotiff(array: Any, nodata: str | None, **options: Any) -> bytes:
    file = io.BytesIO()
    extra = [] if nodata is None else [(42113, "s", len(nodata) + 1, nodata, True)]
    tifffile.imwrite(file, array, extratags=extra, **options)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("big", [False, True])
def test_the_tag_of_gdal(dtype: str, big: bool) -> None:
    array = (np.arange(20 * 30) % 100).reshape(20, 30).astype(dtype)
    for text, value in (
        ("7", 7),
        ("7.0 ", 7),
        ("-9999", None),
        ("nan", None),
        ("", None),
        ("none", None),
        (None, None),
    ):
        data = geotiff(array, text, bigtiff=big)
        stats = compute(data, mode="native", nodata="tag")
        counts = np.ones(array.shape, bool) if value is None else array != value
        values = array[counts].astype(np.float64)
        assert stats.totals["moments"]["n"] == [len(values)]
        np.testing.assert_allclose(
            stats.mean * {"uint8": 255, "uint16": 65535}.get(dtype, 1), values.mean(), rtol=1e-12
        )
        assert compute(data, mode="native", crop=(20, 30)).totals["moments"]["n"] == [array.size]
        assert stats.definition.nodata_tag


def test_the_tag_counts_for_each_file(tmp_path: Path) -> None:
    arrays = [np.full((4, 5, 3), 9, np.uint8), np.full((4, 5, 3), 8, np.uint8), np.full((4, 5, 3), 6, np.uint8)]
    for i, array in enumerate(arrays):
        array[0] = 4 + i
        (tmp_path / f"{i}.tif").write_bytes(geotiff(array, str(4 + i) if i < 2 else None, photometric="rgb"))
    photo(20, 30).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").unlink()
    counts = [np.ones((4, 5), bool) for _ in arrays]
    counts[0][0] = counts[1][0] = False
    for options in ({}, {"isolate": True}, {"checkpoint": tmp_path / "c.gpustats"}):
        check(compute(tmp_path, nodata="tag", **options), arrays, counts)


def test_what_the_tag_is_read_from() -> None:
    array = np.zeros((4, 5), np.uint8)
    assert gdal_nodata(geotiff(array, "-32768")) == -32768
    for data in (b"", b"II*\0", geotiff(array, "x"), geotiff(array, None), b"II*\0" + bytes(99)):
        assert gdal_nodata(data) is None
    for other in (geotiff(array, "0", photometric="miniswhite"), geotiff(array > 0, "0")):
        with pytest.raises(ImageError, match="with a GDAL_NODATA tag and a palette, inverted grey"):
            gdal_nodata(other)
    compute(encoded(photo(8, 8).quantize(4), "TIFF"), nodata="tag")


def test_memory_for_a_mask_is_asked_for() -> None:
    data = encoded(photo(40, 50), "PNG")
    for options, pixel in (({}, 7), ({"beside": 20}, 23), ({"alpha_masks": True}, 19), ({"nodata_tag": True}, 19)):
        for spare in (0, -1):
            budget = MemoryBudget(1 << 30, 1)
            budget.share, budget.common = 1, 40 * 50 * pixel + spare
            decoder = Decoder(10**6, budget, **options)
            if spare:
                with pytest.raises(Exception, match="decoding takes about"):
                    decoder.decode(data)
            else:
                decoder.decode(data)


def test_definitions_that_are_not_ours() -> None:
    stats = compute([np.zeros((8, 9, 3), np.uint8)])
    data = stats.to_dict()
    for name, wrong in (("alpha", "keep"), ("mask", "x"), ("nodata_tag", "yes")):
        with pytest.raises(gpustats.DataError, match="'definition' should hold"):
            gpustats.Stats.from_dict(data | {"definition": data["definition"] | {name: wrong}})
    assert not {"alpha", "mask", "nodata_tag"} & data["definition"].keys(), "what nobody asked for is not written"
    for options in ({"nodata": "tag"}, {"alpha": "mask"}, {"mask": lambda key: None}):
        other = compute([np.zeros((8, 9, 3), np.uint8)], **options)
        again = gpustats.Stats.from_dict(other.to_dict())
        assert again.definition == other.definition != stats.definition
        with pytest.raises(gpustats.MergeError, match="different definitions"):
            gpustats.merge([stats, again])
