"""Small folders of MDS and LitData as the packages write them: ``python -m tests.sources.real_chunks FOLDER``.

Those in ``tests/data/chunks`` were written with mosaicml-streaming 0.13.0 and litdata 0.2.76.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COUNT = 12
IMAGES = np.random.default_rng(18).integers(0, 256, (COUNT, 9, 7, 3), np.uint8)
HERE = Path(__file__).resolve().parents[1] / "data" / "chunks"


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(IMAGES[number]).save(stream, "png")
    return stream.getvalue()


def pil(number: int) -> Any:
    return Image.fromarray(IMAGES[number])


MDS: dict[str, tuple[dict[str, str], Any, dict[str, Any]]] = {
    "mds_pil": ({"image": "pil", "label": "int"}, lambda i: {"image": pil(i), "label": i % 3}, {}),
    "mds_png_zstd": (
        {"picture": "png", "text": "str", "label": "str"},
        lambda i: {"picture": pil(i), "text": "x" * i, "label": str(i % 3)},
        {"compression": "zstd:3"},
    ),
    "mds_bytes_gz": (
        {"data": "bytes", "note": "bytes", "label": "uint8", "more": "pkl"},
        lambda i: {"data": png(i), "note": b"none", "label": np.uint8(i % 3), "more": [i]},
        {"compression": "gz", "hashes": ["sha1"]},
    ),
    "mds_array": (
        {"x": "ndarray", "label": "int"},
        lambda i: {"x": IMAGES[i], "label": i % 3},
        {"compression": "br:1"},
    ),
    "mds_fixed": (
        {"x": "ndarray:uint8:9,7,3", "label": "str_int", "embedding": "ndarray:float32"},
        lambda i: {"x": IMAGES[i], "label": i % 3, "embedding": np.zeros(4, np.float32)},
        {"compression": "bz2"},
    ),
    "mds_lists": (
        {"frames": "list[png]", "label": "int16"},
        lambda i: {"frames": [pil(2 * i), pil(2 * i + 1)], "label": np.int16(i)},
        {"compression": "snappy"},
    ),
}

LITDATA = {
    "litdata_pil": ("pil_of", {}),
    "litdata_zstd": ("pil_of", {"compression": "zstd", "compression_level": "chunk"}),
    "litdata_array": ("array_of", {}),
    "litdata_tensor": ("tensor_of", {}),
    "litdata_arrow": ("bytes_of", {}),
}


def pil_of(i: int) -> Any:
    return {"image": pil(i), "label": i % 3}


def array_of(i: int) -> Any:
    return (np.ascontiguousarray(IMAGES[i].transpose(2, 0, 1)), {"label": i % 3})


def tensor_of(i: int) -> Any:
    import torch

    return {"x": torch.from_numpy(IMAGES[i]), "ids": torch.zeros(3, dtype=torch.int64), "label": i % 3}


def bytes_of(i: int) -> Any:
    return {"image": png(i), "label": i % 3}


def write_mds(name: str, out: Path) -> None:
    from streaming import MDSWriter

    columns, make, options = MDS[name]
    with MDSWriter(out=str(out), columns=columns, size_limit=1500, **options) as writer:
        for number in range(COUNT // 2 if name == "mds_lists" else COUNT):
            writer.write(make(number))


def write_litdata(name: str, out: Path) -> None:
    from litdata import optimize

    function, options = LITDATA[name]
    inputs = list(range(COUNT))
    optimize(fn=globals()[function], inputs=inputs, output_dir=str(out), num_workers=1, chunk_size=5, **options)


if __name__ == "__main__":
    for name in (*MDS, *LITDATA):
        folder = Path(sys.argv[1]) / name
        shutil.rmtree(folder, ignore_errors=True)
        (write_mds if name in MDS else write_litdata)(name, folder)
