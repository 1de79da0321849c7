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
    assert "images from array 'arr_0' (1), array 'arr_1' (1), array 'arr_10' (1), array 'arr_11' (1), ..." in " ".join(
        repr(stats).split()
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


def hugging_face(features: dict[str, Any], columns: dict[str, Any]) -> Any:
    datasets = need("datasets")
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def lists_of_images() -> Any:
    datasets = need("datasets")
    rows = [PHOTOS[:3], PHOTOS[3:4], PHOTOS[4:4], PHOTOS[4:50]]
    feature = getattr(datasets, "List", datasets.Sequence)(datasets.Image())
    images = [[{"bytes": png(pixels), "path": None} for pixels in row] for row in rows]
    label = datasets.ClassLabel(names=list("abcd"))
    return hugging_face({"images": feature, "label": label}, {"images": images, "label": [0, 1, 2, 3]})


def test_lists_of_images_in_a_column(tmp_path: Path) -> None:
    data = lists_of_images()
    check(compute(data), PHOTOS, {"column 'images'": 50})
    found = contents(data)
    assert found.keys[:4] == ["row/0/0", "row/0/1", "row/0/2", "row/1/0"]
    assert found.groups == ["a"] * 3 + ["b"] + ["d"] * 46
    check(compute(data.to_iterable_dataset()), PHOTOS, {"column 'images'": 50})
    data.to_parquet(str(tmp_path / "a.parquet"))
    check(compute(tmp_path / "a.parquet"), PHOTOS, {"column 'images'": 50})
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    parquet.write_table(arrow.table({"x": [[png(PHOTOS[0])], None, [png(PHOTOS[1]), None]]}), tmp_path / "b.parquet")
    found = contents(tmp_path / "b.parquet")
    assert found.keys == ["b.parquet/0/0", "b.parquet/2/0"]
    assert found.failures == [("b.parquet/1", "missing"), ("b.parquet/2/1", "missing")]


@pytest.mark.parametrize("planes", [False, True])
def test_pixels_in_a_column(planes: bool, tmp_path: Path) -> None:
    datasets = need("datasets")
    pixels = PHOTOS.transpose(0, 3, 1, 2) if planes else PHOTOS
    feature = datasets.Array3D(pixels.shape[1:], "uint8")
    data = hugging_face({"x": feature, "label": datasets.Value("int64")}, {"x": pixels.tolist(), "label": [*range(50)]})
    check(compute(data), PHOTOS, {"column 'x'": 50})
    assert contents(data).groups == [str(number) for number in range(50)]
    data.to_parquet(str(tmp_path / "a.parquet"))
    check(compute(tmp_path / "a.parquet"), PHOTOS, {"column 'x'": 50})
    with_none = hugging_face({"x": feature}, {"x": [pixels[0].tolist(), None, pixels[1].tolist()]})
    found = contents(with_none)
    assert [image for *_, image in found.images] == PHOTOS[:2].tolist()
    assert found.failures == [("row/1", "missing")]


def test_pixels_in_a_column_whose_axes_leave_a_choice() -> None:
    datasets = need("datasets")
    data = hugging_face({"x": datasets.Array3D((3, 4, 3), "uint8")}, {"x": PHOTOS[:5, :3, :4].tolist()})
    with pytest.raises(gpustats.DataError, match="the column 'x': two axes could be the channels"):
        compute(data)
    check(compute(data, layout="HWC"), PHOTOS[:5, :3, :4], {"column 'x'": 5})
    tables = {"embedding": datasets.Array2D((4, 6), "float32"), "x": datasets.Value("binary")}
    rows = {"embedding": np.zeros((50, 4, 6)).tolist(), "x": [png(pixels) for pixels in PHOTOS]}
    data = hugging_face(tables, rows)
    check(compute(data), PHOTOS, {"column 'x'": 50})
    assert compute(data, column="embedding").n_images == 50


def test_tensors_of_arrow(tmp_path: Path) -> None:
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    column = arrow.FixedShapeTensorArray.from_numpy_ndarray(PHOTOS)
    parquet.write_table(arrow.table({"id": range(50), "pixels": column}), tmp_path / "a.parquet")
    check(compute(tmp_path / "a.parquet"), PHOTOS, {"column 'pixels'": 50})


def test_what_save_to_disk_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = need("datasets")
    data = lists_of_images()
    data.save_to_disk(str(tmp_path / "saved"))
    check(compute(tmp_path / "saved"), PHOTOS, {"column 'images'": 50})
    check(compute([tmp_path / "saved"]), PHOTOS, {"column 'images'": 50})
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(gpustats.DataError, match=r"holds several splits: give one of .*both/test, .*both/train"):
        compute(tmp_path / "both")
    check(compute(tmp_path / "both" / "train"), PHOTOS, {"column 'images'": 50})
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(gpustats.DataError, match=r"saved: datasets cannot read it: "):
        compute(tmp_path / "saved")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(gpustats.DataError, match="needs the package datasets; install it with: pip install datasets"):
        compute(tmp_path / "both" / "train")


PLANES = RNG.integers(0, 60000, (2, 3, 4, 12, 10), np.uint16)


def ome(folder: Path, version: int, data: Any, axes: Any) -> Path:
    zarr = need("zarr")
    root = zarr.open_group(str(folder), mode="w", zarr_format=version)
    for level in range(2):
        part = data[..., :: level + 1, :: level + 1]
        root.create_array(f"s{level}", shape=part.shape, chunks=part.shape, dtype=part.dtype)[...] = part
    scales = [{"datasets": [{"path": "s0"}, {"path": "s1"}], **({"axes": axes} if axes else {})}]
    root.attrs.update({"multiscales": scales} if version == 2 else {"ome": {"multiscales": scales}})
    return folder


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(version: int, tmp_path: Path) -> None:
    names = [{"name": name, "type": "space"} for name in "tczyx"]
    for axes in (names, list("tczyx"), None):
        stats = compute(ome(tmp_path / "a.zarr", version, PLANES, axes))
        assert stats.n_images == 8
        assert stats.mean == pytest.approx(PLANES.mean((0, 2, 3, 4)) / 65535, rel=1e-12)
        assert stats.std == pytest.approx(PLANES.std((0, 2, 3, 4)) / 65535, rel=1e-12)
        assert stats.runs[0]["images_from"] == {"array 's0'": 8}
    found = contents(tmp_path / "a.zarr")
    assert found.keys == [f"a.zarr/s0/{t}/{z}" for t in range(2) for z in range(4)]
    assert found.images[5][2] == PLANES[1, :, 1].transpose(1, 2, 0).tolist()
    assert contents(f"{tmp_path}/a.zarr::s1", layout="auto").failures == [("a.zarr", "unsupported")], "five axes"
    found = contents(ome(tmp_path / "b.zarr", version, PLANES[0, :, 0], list("cyx")))
    assert (found.keys, found.images[0][2]) == (["b.zarr/s0"], PLANES[0, :, 0].transpose(1, 2, 0).tolist())
    found = contents(ome(tmp_path / "b.zarr", version, PLANES[0, 0], list("zyx")))
    assert [image for *_, image in found.images] == PLANES[0, 0].tolist()
    assert contents(tmp_path / "b.zarr", max_bytes=12 * 10 * 2).failures == [("b.zarr", "too_large")], "a chunk"


def test_ome_zarr_that_is_wrong(tmp_path: Path) -> None:
    for axes, message in [
        (list("zyx"), "an array of shape (2, 3, 4, 12, 10) has not the axes z, y, x"),
        (list("tczab"), "an array of shape (2, 3, 4, 12, 10) has not the axes t, c, z, a, b"),
        ([{"type": "space"}] * 5, "the multiscales of OME-Zarr are damaged: KeyError('name')"),
    ]:
        assert contents(ome(tmp_path / "a.zarr", 3, PLANES, axes)).messages == [message]
    metadata = tmp_path / "a.zarr" / "zarr.json"
    ome(tmp_path / "a.zarr", 3, PLANES, None)
    metadata.write_text(metadata.read_text().replace('"s0"', '"../s0"'))
    assert contents(tmp_path / "a.zarr").messages == ["the multiscales of OME-Zarr name an array outside of the store"]
