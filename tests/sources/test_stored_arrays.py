"""Files of pixels: idx, CIFAR, NumPy, HDF5 and Zarr, with what each must refuse."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpustats import DataError
from gpustats.failures import ImageError
from gpustats.sources import open_source
from tests.sources.packing import Contents, contents, need

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 8, 6), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
PLANES = np.ascontiguousarray(COLOR.transpose(0, 3, 1, 2))


def whole(found: Contents, key: str, images: NDArray[Any] = COLOR, groups: list[str] | None = None) -> bool:
    expected = [(f"{key}/{i}", groups[i] if groups else "", image.tolist()) for i, image in enumerate(images)]
    assert found == (expected, [], [], {})
    return True


def idx(array: NDArray[Any], code: int = 8, count: int | None = None) -> bytes:
    shape = (len(array) if count is None else count, *array.shape[1:])
    return bytes((0, 0, code, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


@pytest.mark.parametrize("code", [8, 9, 11, 12, 13, 14])
def test_the_types_of_idx(code: int, tmp_path: Path) -> None:
    dtype = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[code]
    array = (IMAGES.astype("i4") - 100).astype(dtype) if code > 8 else IMAGES
    (tmp_path / "x.idx").write_bytes(idx(array, code))
    assert whole(contents(tmp_path / "x.idx"), "x.idx", array)


def test_the_axes_of_idx(tmp_path: Path) -> None:
    path = tmp_path / "x.idx"
    path.write_bytes(idx(IMAGES[0]))
    assert contents(path).images == [("x.idx/0", "", IMAGES[0].tolist())]
    for array in (COLOR, PLANES):
        path.write_bytes(idx(array))
        assert whole(contents(path), "x.idx")
    path.write_bytes(idx(COLOR[0]))
    assert contents(path, layout="HWC").images == [("x.idx/0", "", COLOR[0].tolist())]
    assert len(contents(path).images) == 8, "three axes are images of one channel, whatever their sizes"
    path.write_bytes(idx(IMAGES[0, 0]))
    found = contents(path)
    assert (found.failures, found.messages) == (
        [("x.idx", "unsupported")],
        ["the file holds numbers of shape (6,): labels, not images"],
    )
    path.write_bytes(idx(np.zeros((2, 3, 3, 3, 3), np.uint8)))
    assert contents(path).failures == [("x.idx", "unsupported")]


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_idx_files_of_many_images(count: int, tmp_path: Path) -> None:
    array = RNG.integers(0, 256, (count, 2, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(idx(array))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    groups = [str(label) for label in labels]
    assert whole(contents(path), path.name, array, groups)
    path.write_bytes(idx(array)[:-1])
    found = contents(path)
    assert found.images == [(f"{path.name}/{i}", groups[i], array[i].tolist()) for i in range(count - 1)]
    assert (found.failures, found.messages) == (
        [(path.name, "truncated")],
        [f"the file ends after {count - 1:,} of {count:,} images"],
    )
    path.write_bytes(idx(array) + b"x")
    found = contents(path)
    assert len(found.images) == count
    assert (found.failures, found.messages) == (
        [(path.name, "corrupt")],
        [f"the file goes on after the {count:,} images of its header"],
    )


def test_headers_of_idx(tmp_path: Path) -> None:
    path = tmp_path / "x.idx"
    good = idx(IMAGES)
    for data, reason, message in [
        (b"", "corrupt", "this is no idx file: the magic number is wrong"),
        (good[:3], "corrupt", "this is no idx file: the magic number is wrong"),
        (b"\1" + good[1:], "corrupt", "this is no idx file: the magic number is wrong"),
        (b"\0\1" + good[2:], "corrupt", "this is no idx file: the magic number is wrong"),
        (b"\0\0\x0a" + good[3:], "corrupt", "this is no idx file: the magic number is wrong"),
        (good[:15], "truncated", "the file ends within its header"),
        (idx(IMAGES[:, :0]), "corrupt", "the header gives a shape of (5, 0, 6): images without pixels"),
        (idx(IMAGES[:0]), None, ""),
    ]:
        path.write_bytes(data)
        found = contents(path)
        assert found.failures == ([("x.idx", reason)] if reason else [])
        assert found.messages == ([message] if reason else [])
    path.write_bytes(good)
    assert contents(path, max_bytes=48 * 256).failures == []
    assert contents(path, max_bytes=48 * 256 - 1).failures == [("x.idx", "too_large")]


def test_compressed_idx(tmp_path: Path) -> None:
    path = tmp_path / "x-images-idx3-ubyte.gz"
    packed = gzip.compress(idx(IMAGES))
    (tmp_path / "x-labels-idx1-ubyte").write_bytes(idx(np.arange(5, dtype=np.uint8)))
    path.write_bytes(packed)
    assert whole(contents(path), path.name, IMAGES, list("01234"))
    for data in (packed[:-9], packed[:10] + b"\xff" + packed[11:], packed[:2] + b"\0" + packed[3:]):
        path.write_bytes(data)
        found = contents(path)
        assert found.failures == [(path.name, "corrupt")]
        assert found.messages[0].startswith("the compressed file is damaged: ")


def test_labels_beside_idx(tmp_path: Path) -> None:
    path = tmp_path / "a-images-idx3-ubyte"
    labels = tmp_path / "a-labels-idx1-ubyte"
    path.write_bytes(idx(IMAGES))
    assert whole(contents(path), path.name, IMAGES)
    values = np.array([3, -1, 2, 300, 0], ">i4")
    (tmp_path / f"{labels.name}.gz").write_bytes(gzip.compress(idx(values, 12)))
    assert whole(contents(path), path.name, IMAGES, [str(value) for value in values])
    labels.write_bytes(idx(np.arange(5, dtype=np.uint8)))
    assert whole(contents(path), path.name, IMAGES, list("01234")), "the plain one comes first"
    for damaged, message in [
        (idx(np.arange(6, dtype=np.uint8)), "they are of shape (6,), for 5 images"),
        (idx(IMAGES), "they are of shape (5, 8, 6), for 5 images"),
        (b"", "this is no idx file: the magic number is wrong"),
        (idx(np.arange(5, dtype=np.uint8))[:-1], ""),
        (gzip.compress(idx(np.arange(5, dtype=np.uint8)))[:-4], ""),
    ]:
        labels.write_bytes(damaged)
        found = contents(path)
        assert found.groups == [""] * 5
        assert found.failures == [(f"{path.name}: labels", "corrupt")]
        assert found.messages[0].startswith("the labels in a-labels-idx1-ubyte cannot be read, so the images have no")
        assert message in found.messages[0]


def cifar(folder: Path, batch: Any, protocol: int = 2) -> Contents:
    (folder / "data_batch_1").write_bytes(pickle.dumps(batch, protocol))
    return contents(folder / "data_batch_1")


PIXELS = RNG.integers(0, 256, (3, 3072), dtype=np.uint8)
CIFAR = PIXELS.reshape(3, 3, 32, 32).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("data", [b"data", "data"])
@pytest.mark.parametrize("label", [b"labels", b"fine_labels", "labels", "fine_labels"])
def test_cifar(label: Any, data: Any, protocol: int, tmp_path: Path) -> None:
    batch = {data: PIXELS, label: [7, 0, 99], b"coarse_labels": [1, 1, 1], b"filenames": [b"a", b"b", b"c"]}
    assert whole(cifar(tmp_path, batch, protocol), "data_batch_1", CIFAR, ["7", "0", "99"])


def test_cifar_of_other_orders(tmp_path: Path) -> None:
    for pixels in (np.asfortranarray(PIXELS), PIXELS[::-1][::-1]):
        for protocol in (2, 5):
            assert whole(cifar(tmp_path, {b"data": pixels}, protocol), "data_batch_1", CIFAR)


@pytest.mark.parametrize(("name", "labels"), [("data_batch_1.bin", 1), ("test_batch.bin", 1), ("train.bin", 2)])
def test_binary_cifar(name: str, labels: int, tmp_path: Path) -> None:
    fine = np.array([[7], [0], [99]], np.uint8)
    records = np.hstack([np.zeros((3, labels - 1), np.uint8), fine, PIXELS])
    (tmp_path / name).write_bytes(records.tobytes())
    assert whole(contents(tmp_path / name), name, CIFAR, ["7", "0", "99"])
    for damaged in (b"", records.tobytes()[:-1], records.tobytes() + b"x"):
        (tmp_path / name).write_bytes(damaged)
        found = contents(tmp_path / name)
        assert (found.images, found.failures) == ([], [(name, "corrupt")])


def test_folders_of_binary_cifar(tmp_path: Path) -> None:
    ten, hundred = tmp_path / "root" / "cifar-10-batches-bin", tmp_path / "cifar-100-binary"
    for folder, labels, names in (
        (ten, 1, ("data_batch_1", "data_batch_2", "test_batch")),
        (hundred, 2, ("train", "test")),
    ):
        folder.mkdir(parents=True)
        for name in names:
            records = np.hstack([np.full((3, labels), len(name), np.uint8), PIXELS])
            (folder / f"{name}.bin").write_bytes(records.tobytes())
    (ten / "batches.meta.txt").write_text("airplane")
    (hundred / "fine_label_names.txt").write_text("apple")
    assert [key for key, _, _ in contents(ten).images] == [f"data_batch_{n}.bin/{i}" for n in (1, 2) for i in range(3)]
    assert len(contents(tmp_path / "root").images) == 6
    assert [key for key, _, _ in contents(hundred).images] == [f"train.bin/{i}" for i in range(3)]


@pytest.mark.parametrize("labels", [None, [1, 2], [1, 2, 3, 4], "abc", {1: 2, 3: 4, 5: 6}])
def test_cifar_without_a_label_for_each_image(labels: Any, tmp_path: Path) -> None:
    assert whole(cifar(tmp_path, {b"data": PIXELS, b"labels": labels}), "data_batch_1", CIFAR)


@pytest.mark.parametrize(
    "batch",
    [
        {b"data": PIXELS.astype(np.int16)},
        {b"data": PIXELS[0]},
        {b"data": PIXELS[:, :3071]},
        {b"data": PIXELS.reshape(3, 3, 1024)},
        {b"data": PIXELS.tolist()},
        {b"other": PIXELS},
        [PIXELS],
        None,
    ],
)
def test_pickles_that_are_no_cifar(batch: Any, tmp_path: Path) -> None:
    found = cifar(tmp_path, batch)
    assert found.failures == [("data_batch_1", "unsupported")]
    assert found.messages == ["the pickle is no CIFAR batch (no 'data' of 3,072 bytes an image)"]


def test_arrays_in_pickles_keep_their_type(tmp_path: Path) -> None:
    from gpustats.sources.arrays.cifar import load_plain

    for dtype in ("u1", "<u2", ">u2", "<f8", ">i4", "?"):
        for array in (np.arange(6).astype(dtype), np.asfortranarray(np.arange(6).astype(dtype).reshape(2, 3))):
            for protocol in range(6):
                again = load_plain(pickle.dumps(array, protocol))
                assert again.dtype == pickle.loads(pickle.dumps(array, protocol)).dtype  # noqa: S301
                assert np.array_equal(again, array), (dtype, protocol)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (np.array(["x"]), "unsupported", "an array of type U"),
        (np.array([1j]), "unsupported", "an array of type c16"),
        (np.array([None]), "unsupported", "an array of"),
        (len, "unsupported", "the pickle names "),
        (os.path.join, "unsupported", "only plain data and NumPy arrays are read"),
    ],
)
def test_what_pickles_may_not_hold(value: Any, reason: str, message: str, protocol: int, tmp_path: Path) -> None:
    found = cifar(tmp_path, {b"data": value}, protocol)
    assert found.failures == [("data_batch_1", reason)]
    assert message in found.messages[0]


@pytest.mark.parametrize(
    "name",
    [
        "os.encode", "os._reconstruct", "os._frombuffer", "os.ndarray", "os.dtype", "_codecs.decode", "numpy.load",
        "numpy.core.multiarray.scalar", "numpy._core.numeric.array", "numpy.core.numeric.ndarray", "builtins.eval",
    ],
)  # fmt: skip
def test_a_pickle_may_name_nothing_but_arrays(name: str) -> None:
    """Module and name count together. The pickle is made by hand: GLOBAL, then the end."""
    from gpustats.sources.arrays.cifar import load_plain

    module, _, attribute = name.rpartition(".")
    with pytest.raises(ImageError, match=f"the pickle names {name}: only plain data and NumPy arrays are read"):
        load_plain(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n.")


def test_an_array_in_a_pickle_that_is_smaller_than_it_claims(tmp_path: Path) -> None:
    raw = pickle.dumps({b"data": PIXELS}, 2)
    assert b"M\x00\x0c" in raw, "3072"
    (tmp_path / "data_batch_1").write_bytes(raw.replace(b"M\x00\x0c", b"M\x01\x0c", 1))
    found = contents(tmp_path / "data_batch_1")
    assert found.failures == [("data_batch_1", "corrupt")]
    assert found.messages == ["an array in the pickle is not of the size it claims"]
    (tmp_path / "data_batch_1").write_bytes(raw[:-5])
    found = contents(tmp_path / "data_batch_1")
    assert found.failures == [("data_batch_1", "corrupt")]
    assert found.messages[0].startswith("a damaged pickle: ")


def test_the_largest_cifar_file(tmp_path: Path) -> None:
    data = pickle.dumps({b"data": PIXELS}, 2)
    (tmp_path / "data_batch_1").write_bytes(data)
    assert len(contents(tmp_path / "data_batch_1", max_bytes=len(data)).images) == 3
    found = contents(tmp_path / "data_batch_1", max_bytes=len(data) - 1)
    assert (found.images, found.failures) == ([], [("data_batch_1", "too_large")])


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("array", [COLOR, PLANES], ids=["NHWC", "NCHW"])
def test_npy(array: NDArray[Any], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    assert whole(contents(tmp_path / "a.npy"), "a.npy")
    np.save(tmp_path / "a.npy", np.asfortranarray(array))
    assert whole(contents(tmp_path / "a.npy"), "a.npy")
    np.save(tmp_path / "a.npy", COLOR[0])
    assert contents(tmp_path / "a.npy").images == [("a.npy", "", COLOR[0].tolist())]
    np.save(tmp_path / "a.npy", IMAGES[:, :, :4])
    assert whole(contents(tmp_path / "a.npy", layout="NHW"), "a.npy", IMAGES[:, :, :4])
    np.save(tmp_path / "a.npy", np.arange(5))
    assert contents(tmp_path / "a.npy").failures == [("a.npy", "unsupported")]


def test_npz(tmp_path: Path) -> None:
    path = npz(tmp_path / "A.NPZ.npz", é=COLOR, one=COLOR[0], labels=np.arange(5), scalar=np.array(3))
    found = contents(path)
    assert found.keys == [*(f"A.NPZ.npz/é/{i}" for i in range(5)), "A.NPZ.npz/one"]
    assert [image for _, _, image in found.images] == [*COLOR.tolist(), COLOR[0].tolist()]
    assert (found.failures, found.skipped) == ([], {"non_image": 2})
    found = contents(path, column="é")
    assert (found.keys, found.skipped) == ([f"A.NPZ.npz/é/{i}" for i in range(5)], {})
    found = contents(path, column="labels")
    assert found.failures == [("A.NPZ.npz", "unsupported")]
    assert found.messages == ["the array 'labels' has shape (5,), not images"]
    found = contents(path, column="x")
    assert found.messages == ["there is no array 'x'; there are: é, one, labels, scalar"]


@pytest.mark.parametrize("labels", [(50,), (50, 1), (50, 10)])
def test_labels_of_an_npz_are_no_image(labels: tuple[int, ...], tmp_path: Path) -> None:
    images = np.arange(50 * 28 * 28).reshape(50, 28, 28).astype(np.uint8)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.ones(labels, np.uint8))
    found = contents(tmp_path / "a.npz")
    assert found.keys == [f"a.npz/train_images/{i}" for i in range(50)]
    assert (found.failures, found.skipped) == ([], {"non_image": 1})
    found = contents(tmp_path / "a.npz", column="train_labels")
    assert len(found.images) == (1 if len(labels) == 2 else 0), "what is asked for is read"


def test_an_npz_of_images_with_two_axes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.ones((4, 5), np.uint8), two=np.ones((6, 5), np.uint8), label=np.ones(3))
    found = contents(tmp_path / "a.npz")
    assert (found.keys, found.skipped) == (["a.npz/one", "a.npz/two"], {"non_image": 1})


def test_npz_arrays_that_are_refused(tmp_path: Path) -> None:
    found = contents(npz(tmp_path / "a.npz", a=np.asfortranarray(COLOR)))
    assert (found.failures, found.messages) == (
        [("a.npz", "unsupported")],
        ["a.npz/a: arrays in Fortran order are read from .npy files only"],
    )
    np.savez(tmp_path / "a.npz", a=np.array([[None]]))
    assert contents(tmp_path / "a.npz").messages == ["a.npz/a: arrays of Python objects are not read"]
    path = npz(tmp_path / "a.npz", a=COLOR)
    assert len(contents(path, max_bytes=144).images) == 5
    assert contents(path, max_bytes=143).failures == [("a.npz", "too_large")]


def member(shape: str, data: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version[0] == 1 else "<I", len(text)) + text + data


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (9, 9)])
def test_versions_of_npy(version: tuple[int, int], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", member("(5, 8, 6, 3)", COLOR.tobytes(), version))
    found = contents(tmp_path / "a.npz")
    if version[0] < 3:
        assert whole(found, "a.npz/a")
    else:
        assert found.failures == [("a.npz", "unsupported")]
        assert found.messages == [f"version {version} of the NumPy format is for records, not images"]


def test_npz_members_that_are_cut_off(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", member("(5, 8, 6, 3)", COLOR.tobytes()[:-200]))
    found = contents(tmp_path / "a.npz")
    assert (found.failures, found.messages) == (
        [("a.npz", "truncated")],
        ["a.npz/a: the header claims more than the file holds"],
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:  # the header counts, too
        archive.writestr("a.npy", member("(5, 8, 6, 3)", COLOR.tobytes()[:-1]))
    found = contents(tmp_path / "a.npz")
    assert (found.failures, found.messages) == ([("a.npz", "truncated")], ["the file ends within an array"])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", member("(8, 6, 3)", COLOR[0].tobytes()[:-1]))
    assert contents(tmp_path / "a.npz").failures == [("a.npz", "truncated")]


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("data", [b"", b"x", b"\x93NUMPY", b"\x93NUMPY\1\0\x05\0{'a'}", b"PK\5\6" + bytes(4)])
def test_files_that_are_no_numpy(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    found = contents(tmp_path / name)
    assert found.failures == [(name, "corrupt")]
    assert found.messages[0].startswith("not a whole NumPy file of images: ")


def test_npy_behind_a_url(tmp_path: Path) -> None:
    memory = need("fsspec").filesystem("memory")
    file = io.BytesIO()
    np.save(file, COLOR)
    memory.pipe_file("/arrays/a.npy", file.getvalue())
    assert whole(contents("memory://arrays/a.npy"), "a.npy")
    memory.pipe_file("/arrays/a.npy", file.getvalue()[:-1])
    found = contents("memory://arrays/a.npy")
    assert found.failures == [("a.npy", "truncated")]


def test_hdf5(tmp_path: Path) -> None:
    h5py = need("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("é/images", data=COLOR, chunks=(2, 8, 6, 3))
        file.create_dataset("labels", data=np.arange(5))
        file.create_dataset("table", data=IMAGES[0])
    assert whole(contents(tmp_path / "a.h5"), "a.h5/é/images")
    assert whole(contents(f"{tmp_path / 'a.h5'}::é/images"), "a.h5/é/images")
    assert contents(f"{tmp_path / 'a.h5'}::table").images == [("a.h5/table", "", IMAGES[0].tolist())]
    assert whole(contents(f"{tmp_path / 'a.h5'}::é"), "a.h5/é/images"), "a group with one dataset of images"
    found = contents(f"{tmp_path / 'a.h5'}::gone")
    assert (found.failures, found.messages) == (
        [("a.h5", "missing")],
        ["there is no dataset 'gone'; there are: labels (5,), table (8, 6), é/images (5, 8, 6, 3)"],
    )
    found = contents(f"{tmp_path / 'a.h5'}::labels")
    assert found.failures == [("a.h5", "unsupported")]


def test_hdf5_of_encoded_images(tmp_path: Path) -> None:
    h5py = need("h5py")
    values = [b"first", b"", b"\xff\x00third"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("jpegs", (3,), h5py.vlen_dtype(np.uint8))
        for i, value in enumerate(values):
            data[i] = np.frombuffer(value, np.uint8)
        file.create_dataset("texts", (2,), h5py.string_dtype())
        file.create_dataset("ragged", (2,), h5py.vlen_dtype(np.int32))
    assert contents(tmp_path / "a.h5").images == [(f"a.h5/jpegs/{i}", "", value) for i, value in enumerate(values)]


def test_hdf5_files_where_the_user_must_choose(tmp_path: Path) -> None:
    h5py = need("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("labels", data=np.arange(5))
    found = contents(tmp_path / "a.h5")
    assert found.failures == [("a.h5", "unsupported")]
    assert found.messages == ["no dataset can hold images: labels (5,); choose with a.h5::NAME"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(25):
            file.create_dataset(f"d{i:02d}", data=IMAGES)
    found = contents(tmp_path / "a.h5")
    assert found.messages[0].startswith("several datasets may hold images: d00 (5, 8, 6), ")
    assert "d19" in found.messages[0]
    assert "d20" not in found.messages[0]
    with h5py.File(tmp_path / "a.h5", "w"):
        pass
    assert contents(tmp_path / "a.h5").messages == ["no dataset can hold images: none; choose with a.h5::NAME"]
    (tmp_path / "a.h5").write_bytes(b"x" * 600)
    with pytest.raises(DataError, match="not an HDF5 file"):
        open_source(tmp_path / "a.h5")


@pytest.mark.parametrize("format", [2, 3])
def test_zarr(format: int, tmp_path: Path) -> None:
    zarr = need("zarr")
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=format)
    root.create_array("deep/images", shape=COLOR.shape, chunks=(2, 8, 6, 3), dtype="u1")[:] = COLOR
    assert whole(contents(tmp_path / "a.zarr"), "a.zarr/deep/images")
    assert whole(contents(f"{tmp_path / 'a.zarr'}::deep/images"), "a.zarr/deep/images")
    assert whole(contents(f"{tmp_path / 'a.zarr'}::/deep/images/"), "a.zarr/deep/images")
    assert whole(contents(tmp_path / "a.zarr" / "deep" / "images"), "images")
    for name in ("gone", "deep"):
        found = contents(f"{tmp_path / 'a.zarr'}::{name}")
        assert (found.failures, found.messages) == (
            [("a.zarr", "missing")],
            ["there is no array of that name"],
        )
    assert contents(tmp_path / "a.zarr", max_bytes=288).failures == []
    assert contents(tmp_path / "a.zarr", max_bytes=287).failures == [("a.zarr", "too_large")]
    root.create_array("labels", shape=(5,), chunks=(2,), dtype="i4")[:] = np.arange(5)
    assert whole(contents(tmp_path / "a.zarr"), "a.zarr/deep/images"), "labels are no images"
    root.create_array("more", shape=(5, 4, 4), chunks=(2, 4, 4), dtype="u1")
    found = contents(tmp_path / "a.zarr")
    assert (found.failures, found.messages) == (
        [("a.zarr", "unsupported")],
        ["several arrays may hold images: deep/images (5, 8, 6, 3), more (5, 4, 4); choose with a.zarr::NAME"],
    )
    for name in ("../x", "a/../../x", ".."):
        with pytest.raises(DataError, match=r"may not hold '\.\.'"):
            open_source(f"{tmp_path / 'a.zarr'}::{name}")


def test_an_empty_zarr_store(tmp_path: Path) -> None:
    need("zarr").open_group(str(tmp_path / "a.zarr"), mode="w")
    assert contents(tmp_path / "a.zarr").messages == ["the store holds no arrays"]
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    found = contents(tmp_path / "a.zarr")
    assert (found.failures, found.messages) == ([("a.zarr", "corrupt")], ["zarr.json is no JSON"])
    (tmp_path / "a.zarr" / "zarr.json").write_text("[1]")
    assert contents(tmp_path / "a.zarr").failures == [("a.zarr", "unsupported")]


def test_a_damaged_chunk_of_zarr(tmp_path: Path) -> None:
    zarr = need("zarr")
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=COLOR.shape, chunks=(1, 8, 6, 3), dtype="u1")
    array[:] = COLOR
    chunk = next(path for path in (tmp_path / "a.zarr" / "c" / "3").rglob("*") if path.is_file())
    chunk.write_bytes(b"damage")
    found = contents(tmp_path / "a.zarr")
    assert found.failures == [("a.zarr", "corrupt")]
    assert found.messages[0].startswith("Zarr: ")


@pytest.mark.parametrize(
    "codecs",
    [
        [{"name": "numcodecs.pickle"}],
        [{"name": "bytes"}, {"name": "evil"}],
        [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "evil"}], "index_codecs": []}}],
        [{"name": "sharding_indexed", "configuration": {"codecs": [], "index_codecs": [{"name": "evil"}]}}],
        [[{"name": "evil"}]],
    ],
)
def test_codecs_of_zarr_3(codecs: list[Any], tmp_path: Path) -> None:
    need("zarr")
    (tmp_path / "a.zarr").mkdir()
    meta = {"zarr_format": 3, "node_type": "array", "codecs": codecs}
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps(meta))
    found = contents(tmp_path / "a.zarr")
    assert found.failures == [("a.zarr", "unsupported")]
    assert "is not one of those read here" in found.messages[0]


@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_codecs_of_zarr_2(place: str, tmp_path: Path) -> None:
    need("zarr")
    (tmp_path / "a.zarr").mkdir()
    meta = {"zarr_format": 2, "compressor": None, "filters": None}
    entry = {"id": "evil" + "x" * 100}
    (tmp_path / "a.zarr" / ".zarray").write_text(
        json.dumps(meta | {place: entry if place == "compressor" else [entry]})
    )
    found = contents(tmp_path / "a.zarr")
    assert found.failures == [("a.zarr", "unsupported")]
    assert found.messages == [f"the codec 'evil{'x' * 36}' is not one of those read here"]


def test_an_archive_that_is_called_npy(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", a=COLOR).rename(tmp_path / "a.npy")
    found = contents(tmp_path / "a.npy")
    assert found.failures == [("a.npy", "corrupt")]
