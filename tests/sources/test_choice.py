"""Which column, array, dataset or feature is the image: one candidate is taken and named, several are an error."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.failures import ImageError
from gpustats.sources.choice import choose_one, listed
from tests.sources.packing import contents, need

RNG = np.random.default_rng(18)
PHOTOS = RNG.integers(0, 256, (50, 12, 10, 3), np.uint8)
GREYS = RNG.integers(0, 256, (50, 28, 28), np.uint8)
MASKS = np.zeros((50, 12, 10, 1), np.uint8)


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, device="cpu", progress=False, **options)


def check(stats: gpustats.Stats, pixels: Any, images_from: dict[str, int]) -> None:
    """Compare with NumPy's numbers."""
    axes = tuple(range(3)) if pixels.ndim == 4 else (0, 1, 2)[: pixels.ndim]
    assert stats.n_images == len(pixels)
    assert stats.mean == pytest.approx(np.atleast_1d(pixels.mean(axes)) / 255, rel=1e-12)
    assert stats.std == pytest.approx(np.atleast_1d(pixels.std(axes)) / 255, rel=1e-12)
    assert stats.runs[0].get("images_from", {}) == images_from


USUAL = (("image", "img"), ("jpg", "png"))


def test_the_rule() -> None:
    def chosen(*names: str) -> str | None:
        return choose_one(dict.fromkeys(names, "(x)"), what="columns", choose_with="column=", usual=USUAL)

    assert chosen() is None
    assert chosen("anything") == "anything"
    assert chosen("a", "IMG", "jpg") == "IMG"
    assert chosen("a", "b", "Png") == "Png"
    for names in (["image", "img", "a"], ["jpg", "png"], ["image", "IMAGE"]):
        with pytest.raises(ImageError) as caught:
            chosen(*names)
        wanted = ", ".join(f"{name} (x)" for name in names if name != "a")
        assert str(caught.value) == f"several columns may hold images: {wanted}; choose with column="
    with pytest.raises(ImageError, match="a, b; choose with x"):
        choose_one({"a": "", "b": ""}, what="features", choose_with="x")
    many = listed({f"n{number}\x1b": (number,) for number in range(21)})
    assert many.startswith("n0\\x1b (0,), n1")
    assert many.endswith("n19\\x1b (19,), ...")
    assert listed({}) == "none"


def test_the_layout_of_medmnist(tmp_path: Path) -> None:
    arrays = {f"{part}_{what}": value for part in ("train", "val", "test") for what, value in
              (("images", PHOTOS), ("labels", np.zeros((50, 1), np.uint8)))}  # fmt: skip
    np.savez(tmp_path / "a.npz", **{name: value for name, value in arrays.items() if "train" in name})
    check(compute(tmp_path / "a.npz"), PHOTOS, {"array 'train_images'": 50})
    np.savez(tmp_path / "a.npz", **arrays)
    found = contents(tmp_path / "a.npz")
    assert (found.keys, found.failures) == ([], [("a.npz", "unsupported")])
    assert found.messages == [
        "several arrays may hold images: train_images (50, 12, 10, 3), val_images (50, 12, 10, 3), "
        "test_images (50, 12, 10, 3); choose with column=, or read all with column='*'"
    ]
    check(compute(tmp_path / "a.npz", column="val_images"), PHOTOS, {"array 'val_images'": 50})
    check(
        compute(tmp_path / "a.npz", column="*"),
        np.concatenate([PHOTOS] * 3),
        {f"array '{part}_images'": 50 for part in ("test", "train", "val")},
    )


def test_an_npz_with_an_array_for_each_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", *PHOTOS[:30], labels=np.arange(30))
    stats = compute(tmp_path / "a.npz")
    check(stats, PHOTOS[:30], {f"array 'arr_{number}'": 1 for number in (0, 1, 2, *range(10, 27))})
    assert "images from array 'arr_0' (1), array 'arr_1' (1), array 'arr_10' (1), array 'arr_11' (1), ..." in repr(
        stats
    )


@pytest.mark.parametrize("others", [{"labels": (50,)}, {"features": (50, 7, 7, 512)}, {"boxes": (50, 9, 5)}])
def test_hdf5_by_type_and_shape(others: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    with need("h5py").File(tmp_path / "a.h5", "w") as file:
        file["x/photos"] = PHOTOS
        for name, shape in others.items():
            file[name] = np.zeros(shape, np.float32)
    check(compute(tmp_path / "a.h5"), PHOTOS, {"dataset 'x/photos'": 50})


def test_hdf5_with_masks_asks(tmp_path: Path) -> None:
    with need("h5py").File(tmp_path / "a.h5", "w") as file:
        file["photos"], file["masks"] = PHOTOS, MASKS
    found = contents(tmp_path / "a.h5")
    assert found.messages == [
        "several datasets may hold images: masks (50, 12, 10, 1), photos (50, 12, 10, 3); choose with a.h5::NAME"
    ]
    check(compute(f"{tmp_path}/a.h5::photos"), PHOTOS, {"dataset 'photos'": 50})


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("group", ["", "bioscan_dataset/"])
def test_hdf5_with_a_dataset_for_each_image(group: str, void: bool, tmp_path: Path) -> None:
    with need("h5py").File(tmp_path / "a.h5", "w") as file:
        for number, pixels in enumerate(PHOTOS):
            data = png(pixels)
            file[f"{group}{number:03d}"] = np.void(data) if void else np.frombuffer(data, np.uint8)
        file[f"{group}label"] = np.zeros(7, np.uint8)
        file[f"{group}damaged.jpg"] = np.frombuffer(b"no image", np.uint8)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(tmp_path / "a.h5")
    check(stats, PHOTOS, {"group '/'": 51})
    assert stats.skipped == {"non_image": 1}
    assert [(failure.key, failure.reason) for failure in stats.failures] == [
        (f"a.h5/{group}damaged.jpg", "not_an_image")
    ]
    found = contents(tmp_path / "a.h5")
    assert found.keys[0] == f"a.h5/{group}000"
    assert set(found.groups) == {group.rstrip("/")}
    assert len(contents(tmp_path / "a.h5", max_bytes=10).failures) == 50
    if group:
        assert len(contents(f"{tmp_path}/a.h5::bioscan_dataset").keys) == 51


def test_hdf5_of_bytes_that_are_no_images(tmp_path: Path) -> None:
    with need("h5py").File(tmp_path / "a.h5", "w") as file:
        file["a"], file["b"] = np.zeros(7, np.uint8), np.zeros(8, np.uint8)
    assert contents(tmp_path / "a.h5").messages == [
        "no dataset can hold images: a (7,), b (8,); choose with a.h5::NAME"
    ]


def test_columns_of_parquet(tmp_path: Path) -> None:
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    encoded = [png(pixels) for pixels in PHOTOS]
    masks = [png(pixels[..., 0]) for pixels in MASKS]

    def written(**columns: Any) -> Path:
        parquet.write_table(arrow.table(columns), tmp_path / "a.parquet", row_group_size=20)
        return tmp_path / "a.parquet"

    struct = [{"bytes": data, "path": None} for data in encoded]
    check(compute(written(mask=masks, image=encoded)), PHOTOS, {"column 'image'": 50})
    check(compute(written(data=masks, photo_of_it=struct)), PHOTOS, {"column 'photo_of_it'": 50})
    check(compute(written(bytes=masks, jpg=encoded)), PHOTOS, {"column 'jpg'": 50})
    for columns, names in [({"jpg": encoded, "png": masks}, "jpg (binary), png (binary)"),
                           ({"a": struct, "b": struct}, "a (struct<bytes: binary, path: null>), b (")]:  # fmt: skip
        found = contents(written(**columns))
        assert found.failures == [("a.parquet", "unsupported")]
        assert found.messages[0].startswith(f"several columns may hold images: {names}")
    check(compute(written(jpg=encoded, png=masks), column="jpg"), PHOTOS, {"column 'jpg'": 50})


def test_columns_of_manifests_and_hugging_face(tmp_path: Path) -> None:
    for number, pixels in enumerate(PHOTOS):
        (tmp_path / f"{number}.png").write_bytes(png(pixels))
    text = "label,file_name\n" + "".join(f"{number % 3},{number}.png\n" for number in range(50))
    (tmp_path / "m.csv").write_text(text)
    check(compute(tmp_path / "m.csv"), PHOTOS, {"column 'file_name'": 50})
    datasets = need("datasets")
    data = datasets.Dataset.from_dict({"picture": [png(pixels) for pixels in PHOTOS], "mask": [b"x"] * 50})
    check(compute(data), PHOTOS, {"column 'picture'": 50})


def test_arrays_of_zarr(tmp_path: Path) -> None:
    root = need("zarr").open_group(str(tmp_path / "a.zarr"), mode="w")
    for name, array in (("photos", PHOTOS), ("labels", np.arange(50)), ("boxes", np.zeros((50, 9, 5)))):
        root.create_array(name, shape=array.shape, chunks=array.shape, dtype=array.dtype)[...] = array
    check(compute(tmp_path / "a.zarr"), PHOTOS, {"array 'photos'": 50})


def test_a_folder_has_nothing_to_choose(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(PHOTOS[0]))
    assert "images_from" not in compute(tmp_path).runs[0]
    np.save(tmp_path / "a.npy", GREYS)
    assert "images_from" not in compute(tmp_path / "a.npy").runs[0]
