"""Datasets and loaders of other libraries with the real packages: ``pip install -e '.[test,loaders]'``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import gpustats
from tests.sources.real_chunks import COUNT, IMAGES, LITDATA, MDS, write_litdata, write_mds

pytestmark = [
    pytest.mark.filterwarnings("default"),  # what these packages warn of is their affair
    pytest.mark.filterwarnings("error::gpustats.ImagesFailedWarning"),
]
PLANES = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))


def need(module: str) -> Any:
    return pytest.importorskip(module, reason=f"{module} is not installed: pip install '.[loaders]'")


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, device="cpu", progress=False, **options)


def check(data: Any, scale: float = 255, place: str | None = "", **options: Any) -> gpustats.Stats:
    """Compare with NumPy's numbers; `place` is where the result says that the images are from."""
    stats = compute(data, **options)
    pixels = IMAGES.reshape(-1, 3) / scale
    assert (stats.n_images, stats.channels) == (COUNT, ("R", "G", "B"))
    assert stats.mean == pytest.approx(pixels.mean(0), rel=1e-6 if not stats.exact else 1e-12)
    assert stats.std == pytest.approx(pixels.std(0), rel=1e-6 if not stats.exact else 1e-12)
    if place != "":
        assert stats.runs[0].get("images_from") == (place and {place: COUNT})
    return stats


class Pair(NamedTuple):
    picture: Any
    label: int


@dataclass
class Record:
    image: Any
    label: int


class Items:
    """A dataset of PyTorch's kind, which needs no base class."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def tensor(index: int) -> Any:
    return need("torch").from_numpy(PLANES[index])


def nested(index: int) -> Any:
    return {"observation": {"images": {"top": tensor(index)}}, "action": need("torch").zeros(4), "label": index}


ITEMS: dict[str, tuple[Callable[[int], Any], str | None]] = {
    "tensors": (tensor, None),
    "tuples": (lambda i: (tensor(i), i), None),
    "named tuples": (lambda i: Pair(tensor(i), i), "entry 'picture'"),
    "dicts": (lambda i: {"image": tensor(i), "label": i}, "entry 'image'"),
    "dicts in dicts": (nested, "entry 'observation.images.top'"),
    "keys with dots": (lambda i: {"observation.images.top": tensor(i), "task": "x"}, "entry 'observation.images.top'"),
    "pixel_values": (lambda i: {"pixel_values": tensor(i), "labels": i}, "entry 'pixel_values'"),
    "images and masks": (lambda i: (tensor(i), tensor(i)[0] > 3), ""),
    "images and vectors": (lambda i: (tensor(i), need("torch").zeros(3)), ""),
    "detection": (lambda i: (tensor(i), {"boxes": need("torch").zeros(2, 4)}), None),
}

COLLATE: dict[str, Any] = {"default": None, "lists": list, "zipped": lambda batch: tuple(zip(*batch, strict=True))}


@pytest.mark.parametrize("collate", COLLATE)
@pytest.mark.parametrize("items", ITEMS)
def test_loaders_of_pytorch(items: str, collate: str) -> None:
    data = need("torch.utils.data")
    make, place = ITEMS[items]
    check(Items(make), place="" if items.startswith("images and") else place)
    if collate == "zipped" and "tuples" not in items and items != "detection":
        return
    if items == "named tuples" and collate == "zipped":
        place = None
    check(data.DataLoader(Items(make), batch_size=5, collate_fn=COLLATE[collate]), place=place)


def record(index: int) -> Record:
    return Record(tensor(index), index)


def records_together(batch: list[Record]) -> Record:
    return Record(need("torch").stack([entry.image for entry in batch]), [entry.label for entry in batch])  # type: ignore[arg-type]


def test_dataclasses_and_functions() -> None:
    data = need("torch.utils.data")
    for collate in (list, records_together):
        check(data.DataLoader(Items(record), batch_size=5, collate_fn=collate), place="entry 'image'")
    loader = data.DataLoader(
        Items(record), batch_size=5, collate_fn=lambda b: SimpleNamespace(x=records_together(b).image)
    )
    check(loader, column=lambda batch: batch.x)


def test_images_of_different_sizes() -> None:
    data = need("torch.utils.data")
    cut = [PLANES[index][:, : 5 + index % 3] for index in range(COUNT)]
    dataset = Items(lambda index: (need("torch").from_numpy(cut[index]), index))
    pixels = np.concatenate([image.reshape(3, -1) for image in cut], axis=1) / 255
    for collate in ("lists", "zipped"):
        stats = compute(data.DataLoader(dataset, batch_size=5, collate_fn=COLLATE[collate]))
        assert stats.n_images == COUNT
        assert stats.mean == pytest.approx(pixels.mean(1), rel=1e-12)
        assert sorted(stats.height_range) == [5, 7]


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_what_they_raise(workers: int) -> None:
    data = need("torch.utils.data")
    options = {"batch_size": 5, "num_workers": workers, "multiprocessing_context": "fork" if workers else None}
    check(data.DataLoader(Items(ITEMS["tuples"][0]), **options), place=None)

    def broken(index: int) -> Any:
        if index == 7:
            raise ValueError("broken item")
        return tensor(index)

    with pytest.raises(gpustats.SourceStopped, match=r"raised ValueError after 5 images: .*broken item; the par") as e:
        compute(data.DataLoader(Items(broken), **options))
    assert "\n" not in str(e.value)
    assert e.value.partial.totals == compute(list(PLANES[:5])).totals
    with pytest.warns(gpustats.ImagesFailedWarning, match="1 of 12 .*: 7: unreadable: ValueError: broken item"):
        assert compute(Items(broken)).n_images == COUNT - 1


def test_what_range_was_seen() -> None:
    data = need("torch.utils.data")
    unit = data.DataLoader(Items(lambda i: (tensor(i).float() / 255, i)), batch_size=5)
    assert "floats as they are, from 0 to 1 (not bit-exact)" in check(unit).to_text()
    as_floats = data.DataLoader(Items(lambda i: (tensor(i).float(), i)), batch_size=5)
    assert "values of 8 bits as floats: stats.mean / 255" in check(as_floats, scale=1).to_text()
    normalized = data.DataLoader(Items(lambda i: (tensor(i).float() / 70 - 1.8, i)), batch_size=5)
    assert "seem to be normalized already" in " ".join(compute(normalized).to_text().split())


def test_other_datasets_of_pytorch() -> None:
    torch, data = need("torch"), need("torch.utils.data")
    whole = data.TensorDataset(torch.from_numpy(PLANES), torch.arange(COUNT))
    for dataset in (
        whole,
        data.Subset(whole, range(COUNT)),
        data.ConcatDataset([data.Subset(whole, range(5)), data.Subset(whole, range(5, COUNT))]),
        data.DataLoader(whole, batch_size=5, shuffle=True),
    ):
        check(dataset, place=None)

    class Endless(data.IterableDataset):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[Any]:
            return itertools.cycle(PLANES)

    check(itertools.islice(Endless(), COUNT))
    views = data.DataLoader(Items(lambda i: ((tensor(i), tensor(i) + 1), i)), batch_size=5)
    with pytest.raises(
        gpustats.DataError, match=r"several entries may be images: 0.0 \(Tensor of shape \(5, 3, 9, 7\)"
    ):
        compute(views)
    check(views, column="0.0")
    sizes = torch.nested.nested_tensor([torch.ones(3, 4, 4), torch.zeros(3, 5, 4)])
    for given in (sizes, [sizes]):
        assert compute(given).mean == pytest.approx([4 / 9] * 3)
    with pytest.raises(gpustats.DataError, match="element 0 is tuple; expected an array"):
        compute(iter([(sizes, 3)]))


def shared_work(torch: Any) -> Any:
    class Tensors(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
        def __init__(self, share: bool, shuffled: bool = False) -> None:
            self.share, self.shuffled = share, shuffled

        def __iter__(self) -> Iterator[Any]:
            worker = torch.utils.data.get_worker_info()
            places = list(range(COUNT))
            if self.shuffled:
                places = torch.randperm(COUNT).tolist()
            if self.share:
                places = places[worker.id :: worker.num_workers]
            return (tensor(place) for place in places)

    return Tensors


@pytest.mark.parametrize("loader", ["torch.utils.data.DataLoader", "torchdata.stateful_dataloader.StatefulDataLoader"])
def test_workers_that_do_not_share_their_work(loader: str) -> None:
    torch = need("torch")
    module, _, name = loader.rpartition(".")
    make, dataset = getattr(need(module), name), shared_work(torch)
    options: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": "fork"}
    check(make(dataset(share=True), batch_size=4, **options), place=None)
    for shuffled, size in itertools.product((False, True), (4, 1, None)):
        with pytest.raises(gpustats.SourceStopped, match="its 2 workers yield the same images"):
            compute(make(dataset(share=False, shuffled=shuffled), batch_size=size, **options))
    assert compute(make(dataset(share=False), batch_size=4, **options), repeats="count").n_images == 2 * COUNT


def test_samplers_are_named() -> None:
    data = need("torch.utils.data")
    items = Items(tensor)

    def remarks(**options: Any) -> Any:
        return compute(data.DataLoader(items, **options)).runs[0].get("remarks", [])

    assert remarks() == remarks(shuffle=True) == remarks(batch_size=None) == []
    assert remarks(sampler=data.WeightedRandomSampler([1.0] * COUNT, 30)) == [
        "WeightedRandomSampler: 30 draws with replacement from 12 items"
    ]
    assert remarks(sampler=data.RandomSampler(items, replacement=True)) == [
        "RandomSampler: 12 draws with replacement from 12 items"
    ]
    assert remarks(sampler=data.SubsetRandomSampler([1, 2])) == ["SubsetRandomSampler: 2 of 12 items"]
    share = "DistributedSampler: {} of 12 items, the share of rank 0 of 5"
    assert remarks(sampler=data.DistributedSampler(items, 5, 0)) == [
        share.format(3) + "; 3 items of all shares are there twice, to fill them"
    ]
    assert remarks(sampler=data.DistributedSampler(items, 5, 0, drop_last=True)) == [
        share.format(2) + "; 2 items are in no share"
    ]
    assert compute(data.DataLoader(items, batch_size=5, drop_last=True)).skipped == {"dropped_last": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, image in enumerate(IMAGES):
        path = tmp_path / "classes" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "classes"


def test_datasets_of_torchvision_are_read_by_their_files(folder: Path) -> None:
    datasets, transforms, data = need("torchvision.datasets"), need("torchvision.transforms"), need("torch.utils.data")
    plain = datasets.ImageFolder(folder)
    read = [0]

    class Counting(datasets.ImageFolder):  # type: ignore[misc, name-defined]
        def __getitem__(self, index: int) -> Any:
            read[0] += 1
            return super().__getitem__(index)

    stats = check(plain, place="files of 'ImageFolder'", group_by="label")
    assert {name: len(group.failures) + group.n_images for name, group in stats.groups.items()} == {"0": 6, "1": 6}
    check(data.ConcatDataset([data.Subset(plain, range(5)), data.Subset(plain, range(5, COUNT))]), place=None or "")
    assert compute(data.Subset(plain, [0, 0, 1])).n_images == 3
    check(Counting(folder), place=None)  # its own items may be anything
    assert read[0] == COUNT
    check(datasets.ImageFolder(folder, loader=Image.open), place=None)
    unit = check(datasets.ImageFolder(folder, transform=transforms.ToTensor()), place="transform of 'ImageFolder'")
    assert "images from transform of 'ImageFolder'" in unit.to_text()
    check(data.DataLoader(datasets.ImageFolder(folder, transform=transforms.PILToTensor()), batch_size=5), place=None)
    moved = datasets.ImageFolder(folder)
    moved.samples = [moved.samples[-1], *moved.samples[:-1]]  # the list is read by __getitem__ too
    check(moved, place="files of 'ImageFolder'")


def test_arrays_of_torchvision() -> None:
    datasets = need("torchvision.datasets")
    cifar = datasets.CIFAR10.__new__(datasets.CIFAR10)
    cifar.data, cifar.targets, cifar.transform, cifar.target_transform = IMAGES, list(range(COUNT)), None, None
    check(cifar, place=None)


def test_webdataset(tmp_path: Path) -> None:
    need("torch")
    webdataset = need("webdataset")
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as sink:
        for number, image in enumerate(IMAGES):
            sink.write({"__key__": f"{number:03}", "png": image, "cls": number % 3})

    def pipe() -> Any:
        return webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)

    check(pipe(), place="entry 'png'")
    check(pipe().decode("pil"), place="entry 'png'")
    check(pipe().decode("torchrgb8").to_tuple("png", "cls").batched(5), place=None)
    check(webdataset.WebLoader(pipe().decode("rgb8").to_tuple("png", "cls").batched(5), batch_size=None), place=None)
    with pytest.raises(gpustats.DataError, match=r"WebDataset never ends; give a part of it: itertools.islice"):
        compute(pipe().repeat())
    check(itertools.islice(pipe().decode("pil").repeat(), COUNT))

    def drawn(**options: Any) -> Any:
        return webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False, **options).decode("torchrgb8")

    for endless in (drawn(resampled=True), webdataset.WebLoader(drawn(resampled=True).to_tuple("png"))):
        with pytest.raises(gpustats.DataError, match="never ends; give a part of it"):
            compute(endless)
    stats = compute(drawn(resampled=True).with_epoch(30))
    assert stats.n_images == 30
    assert stats.runs[0]["remarks"][0] == "ResampledShards: shards are drawn with replacement"
    alone = drawn(workersplitter=None).to_tuple("png", "cls")
    with pytest.raises(gpustats.SourceStopped, match="its 2 workers yield the same images"):
        compute(webdataset.WebLoader(alone.shuffle(10).batched(4), batch_size=None, num_workers=2))


def test_ray() -> None:
    ray = need("ray")
    data = need("ray.data")
    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        rows = data.from_items([{"image": image, "label": number} for number, image in enumerate(IMAGES)])
        for given in (rows, rows.map(lambda row: row), rows.iterator(), rows.iter_batches(batch_size=5)):
            check(given, place="entry 'image'")
        stats = check(rows, column="image", group_by="label")
        assert len(stats.groups) == COUNT
    finally:
        ray.shutdown()


def test_grain() -> None:
    grain = need("grain")
    items = grain.MapDataset.source([{"image": image, "label": number} for number, image in enumerate(IMAGES)])
    for data in (items, items.batch(5), items.to_iter_dataset(), items.to_iter_dataset().batch(5)):
        check(data, place="entry 'image'")
    sampler = grain.samplers.IndexSampler(COUNT, shard_options=grain.sharding.NoSharding(), num_epochs=1)
    check(grain.DataLoader(data_source=list(IMAGES), sampler=sampler, operations=[grain.transforms.Batch(5)]))
    for data in (items.batch(5, drop_remainder=True), items.batch(5, drop_remainder=True).map(lambda batch: batch)):
        assert compute(data).skipped == {"dropped_last": 2}
    remainder = compute(items.to_iter_dataset().batch(5, drop_remainder=True))
    assert "up to 4" in remainder.runs[0]["remarks"][0]
    with pytest.raises(gpustats.DataError, match="RepeatMapDataset never ends"):
        compute(items.repeat())


def test_torchdata() -> None:
    nodes, stateful = need("torchdata.nodes"), need("torchdata.stateful_dataloader")
    wrapped = [(tensor(number), number) for number in range(COUNT)]
    check(nodes.Loader(nodes.IterableWrapper(wrapped)), place=None)
    check(nodes.Loader(nodes.Batcher(nodes.IterableWrapper(wrapped), 5, drop_last=False)), place=None)
    check(stateful.StatefulDataLoader(Items(ITEMS["dicts"][0]), batch_size=5), place="entry 'image'")


def test_tensorflow_and_keras(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    tensorflow, keras = need("tensorflow"), need("keras")
    slices = tensorflow.data.Dataset.from_tensor_slices
    pairs = slices((IMAGES, np.arange(COUNT)))
    for data in (pairs, pairs.batch(5), pairs.batch(5).as_numpy_iterator()):
        check(data, place=None)
    check(slices({"image": IMAGES, "label": np.arange(COUNT)}).batch(5), place="entry 'image'")
    for endless in (pairs.repeat(), pairs.repeat().batch(5)):
        with pytest.raises(gpustats.DataError, match="never ends; give a part of it"):
            compute(endless)
    assert compute(pairs.repeat().take(30)).n_images == 30
    assert "no image came only once" in compute(pairs.repeat(2)).runs[0]["remarks"][0]
    assert compute(pairs.batch(5, drop_remainder=True).prefetch(2)).skipped == {"dropped_last": 2}

    class Batches(keras.utils.PyDataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return IMAGES[4 * index : 4 * index + 4], np.arange(4)

    check(Batches(), place=None)
    assert gpustats.inspect(Batches()).images == COUNT
    from_folder = keras.utils.image_dataset_from_directory(
        folder, image_size=(9, 7), interpolation="nearest", shuffle=False, batch_size=5
    )
    check(from_folder)


@pytest.mark.parametrize("name", [name for name in MDS if name != "mds_lists"])
def test_streaming_of_mosaicml(name: str, tmp_path: Path) -> None:
    streaming = need("streaming")
    write_mds(name, tmp_path / "mds")
    check(tmp_path / "mds")  # its files, as this version writes them
    data = streaming.StreamingDataset(local=str(tmp_path / "mds"), batch_size=1, shuffle=False, allow_unsafe_types=True)
    check(data, column=next(iter(MDS[name][0])) if name.startswith("mds_bytes") else None)


@pytest.mark.parametrize("name", LITDATA)
def test_litdata(name: str, tmp_path: Path) -> None:
    litdata = need("litdata")
    write_litdata(name, tmp_path / "out")
    check(tmp_path / "out")
    check(litdata.StreamingDataset(str(tmp_path / "out")))


def test_lerobot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    need("lerobot")
    lerobot = need("lerobot.datasets.lerobot_dataset")
    data = need("torch.utils.data")
    top = "observation.images.top"
    features = {
        top: {"dtype": "image", "shape": (9, 7, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    }
    root = tmp_path / "robot"
    writer = lerobot.LeRobotDataset.create("me/x", fps=10, root=root, features=features, use_videos=False)
    for number, image in enumerate(IMAGES):
        writer.add_frame({top: image, "action": np.zeros(2, np.float32), "task": "x"})
        if number in (4, COUNT - 1):
            writer.save_episode()
    getattr(writer, "finalize", lambda: None)()
    check(root, place=f"column '{top}'")  # the Parquet files of episodes and tasks are no images
    read = lerobot.LeRobotDataset("me/x", root=root)
    check(read, place=f"entry '{top}'")
    check(data.DataLoader(read, batch_size=5), column=top, place=f"entry '{top}'")


def test_hugging_face_as_pytorch_has_it() -> None:
    datasets, data = need("datasets"), need("torch.utils.data")
    stored = datasets.Dataset.from_dict({"image": [Image.fromarray(image) for image in IMAGES], "label": range(COUNT)})
    check(stored.with_format("torch"))
    check(data.DataLoader(stored.with_format("torch"), batch_size=5), place="entry 'image'")
    assert os.environ.get("HF_ENDPOINT") is None
