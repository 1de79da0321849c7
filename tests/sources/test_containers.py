"""Every container of the same files gives the same integers as the files in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.sources import SourceOptions, open_source
from gpustats.statistics.totals import Totals
from tests.sources.packing import PACKERS


def integers(data: Any, **options: Any) -> dict[str, Any]:
    """All integers but the hash of the keys: keys are those of the container."""
    stats = gpustats.compute(data, progress=False, device="cpu", **options)
    assert isinstance(stats.totals, Totals)
    numbers = stats.totals.to_dict()
    del numbers["key_hash"]
    return numbers


@pytest.fixture(scope="module")
def expected(photos: Path) -> dict[str, Any]:
    return integers(photos)


@pytest.fixture(scope="module")
def files(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.jpg"))


@pytest.mark.parametrize("name", PACKERS)
def test_same_integers_as_the_folder(name: str, files: list[Path], expected: dict[str, Any], tmp_path: Path) -> None:
    data = PACKERS[name](files, tmp_path)
    assert integers(data) == expected
    if name in ("pil_images",):
        return  # consumed
    keys = [sample[0] for sample in open_source(data).samples() if isinstance(sample, tuple)]
    assert len(set(keys)) == len(files), "keys are unique"


@pytest.mark.parametrize(
    "name",
    ["tar_gnu", "tar_gz", "tar_shards", "zip_stored", "zip_deflated", "parquet", "tfrecords", "lmdb", "hf_parquet"],
)
def test_the_real_sample(name: str, sample: Path, reference: dict[str, Any], tmp_path: Path) -> None:
    numbers = integers(PACKERS[name](sorted(sample.iterdir()), tmp_path))
    assert (numbers["moments"]["sum"], numbers["moments"]["sumsq"]) == (reference["int_sum"], reference["int_sumsq"])


def groups(data: Any, **options: Any) -> list[str]:
    samples = open_source(data, SourceOptions(**options)).samples()
    return sorted({sample[1] for sample in samples if isinstance(sample, tuple)})


def test_groups(files: list[Path], tmp_path: Path) -> None:
    for i, (name, expected, options) in enumerate(
        [
            ("tar_gnu", ["a", "b"], {}),
            ("zip_stored", ["a", "b"], {}),
            ("csv_manifest", ["a", "b"], {}),
            ("json_lines", ["3"], {}),
            ("webdataset_writer", ["0", "1", "2"], {}),
            ("webdataset_writer", sorted(path.name for path in files), {"group": "json.source"}),
            ("hf_parquet", ["cat", "dog"], {}),
            ("hf_dataset", ["cat", "dog"], {}),
            ("tfrecords", ["0", "1", "2", "3"], {}),
            ("map_dataset", ["0", "1"], {}),
            ("memory_url", ["a", "b"], {}),
        ]
    ):
        out = tmp_path / str(i)
        out.mkdir()
        assert groups(PACKERS[name](files, out), **options) == expected, name


@pytest.mark.parametrize("form", ["npy", "npz", "npz_compressed", "hdf5", "zarr", "list", "iterable"])
def test_equal_crops_in_arrays(form: str, files: list[Path], tmp_path: Path) -> None:
    crops = np.stack([np.asarray(Image.open(p).convert("RGB").resize((24, 16))) for p in files])
    folder = tmp_path / "crops"
    folder.mkdir()
    for i, crop in enumerate(crops):
        Image.fromarray(crop).save(folder / f"{i:03d}.png")
    expected = integers(folder)
    assert integers(_stored(form, crops, tmp_path)) == expected
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
    assert integers(_stored(form, planes, tmp_path)) == expected, "channels first"


def _stored(form: str, array: np.ndarray[Any, Any], out: Path) -> Any:
    if form == "npy":
        np.save(out / "a.npy", array)
        return out / "a.npy"
    if form.startswith("npz"):
        save = np.savez if form == "npz" else np.savez_compressed
        save(out / "a.npz", images=array, labels=np.arange(len(array)))
        return out / "a.npz"
    if form == "hdf5":
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        with h5py.File(out / "a.h5", "w") as file:
            file.create_dataset("train/images", data=array, chunks=(4, *array.shape[1:]), compression="gzip")
        return f"{out / 'a.h5'}::train/images"
    if form == "zarr":
        zarr = pytest.importorskip("zarr", reason="zarr is not installed")
        name = f"images{array.shape[1]}"
        zarr.open_group(str(out / "a.zarr"), mode="a").create_array(
            name, shape=array.shape, chunks=(4, *array.shape[1:]), dtype=array.dtype
        )[:] = array
        return f"{out / 'a.zarr'}::{name}"
    return list(array) if form == "list" else iter(array)


def test_an_option_that_a_source_has_no_use_for(photos: Path, tmp_path: Path) -> None:
    takers = {"feature": "TFRecord", "column": "Parquet", "group": "WebDataset", "root": "manifests"}
    for option, taker in takers.items():
        with pytest.raises(ValueError, match=f"{option}= is an option for .*{taker}.* does not use it"):
            gpustats.compute(photos, **{option: "x"})
    with pytest.raises(ValueError, match="layout should be one of auto"):
        gpustats.compute(np.zeros((4, 4), np.uint8), layout="XYZ")
    with pytest.raises(ValueError, match="storage_options= is an option for URLs"):
        gpustats.compute(photos, storage_options={"key": "secret"})


def test_options_of_a_list_are_those_of_any_entry(photos: Path, files: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = PACKERS["parquet"](files, tmp_path)
    for data in ([photos, table], [table, photos], [photos, files[0], table]):
        options: dict[str, Any] = {"column": "jpg", "progress": False, "device": "cpu"}
        stats = gpustats.compute(data, **options)
        assert stats.n_images == len(files) * 2
        assert stats.skipped == ({"repeated": 1} if len(data) > 2 else {})
        with pytest.raises(ValueError, match=r"feature= is an option for TFRecord files; a list of \d does not use it"):
            gpustats.compute(data, feature="x")
    with pytest.warns(gpustats.ImagesFailedWarning, match=r"gone\.parquet: missing"):
        assert gpustats.compute([tmp_path / "gone.parquet", photos], **options).n_images == len(files)


def test_webdataset_column_chooses_among_the_images_of_a_sample(files: list[Path], tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    mask = tmp_path / "mask.png"
    Image.new("RGB", (5, 5)).save(mask)
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as sink:
        for i, path in enumerate(files):
            sink.write({"__key__": f"{i:06d}", "jpg": path.read_bytes(), "seg.png": mask.read_bytes()})
    assert integers(tmp_path / "a.tar", column="jpg") == integers(files)
    assert integers(tmp_path / "a.tar", column="seg.png")["pixels"] == 25 * len(files)
    assert integers(tmp_path / "a.tar", column="*")["images"] == 2 * len(files)
    with pytest.raises(gpustats.DataError, match=r"with jpg, seg\.png; choose with column= \(column='jpg'\)"):
        gpustats.compute(tmp_path / "a.tar", progress=False)


def test_a_folder_with_images_and_an_archive_reads_the_images(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    PACKERS["zip_stored"](sorted(photos.rglob("*.jpg")), tmp_path)
    stats = gpustats.compute(tmp_path, progress=False)
    assert stats.n_images == 1
    assert stats.skipped == {"non_image": 1}


def test_root_is_where_relative_paths_lead(photos: Path, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("path\n" + "".join(f"{f.relative_to(photos).as_posix()}\n" for f in files))
    assert integers(tmp_path / "m.tsv", root=photos) == integers(photos)
