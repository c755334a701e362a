"""Files that are damaged on purpose: each is read, or refused with an error of this package.

No process ends, hangs or takes more memory than it is told to have, and no other file is read. A
small number of files runs in `make test`, and 200 of each format in `make test-long`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nrrd
import numpy as np
import pytest
import tensorstore
import tifffile
from PIL import Image

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.hostile import Mutate, mutated, mutated_text, mutations, read_all
from tests.support.n5 import write_n5

ZYX = np.random.default_rng(0).integers(0, 9, (8, 24, 32), np.uint8)

Write = Callable[[Path], None]


def h5(**options: Any) -> Write:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            data = file.create_dataset("group/main", data=ZYX, **options)
            data.attrs.update(resolution=[40, 4, 4], offset=[0, 8, 8])
            file["main"] = h5py.SoftLink("/group/main")

    return write


def tif(**options: Any) -> Write:
    return lambda path: tifffile.imwrite(path, ZYX, photometric="minisblack", **options)


def nrrd_file(encoding: str) -> Write:
    header = {"encoding": encoding, "space directions": np.diag([4.0, 4, 40])}
    return lambda path: nrrd.write(str(path), ZYX.T, header)


FILES: dict[str, tuple[str, str, Mutate, list[Write]]] = {
    "h5": (
        "load-h5",
        "file_name",
        mutated,
        [h5(), h5(chunks=(4, 8, 16), compression="gzip", shuffle=True), h5(compression="lzf")],
    ),
    "nrrd": ("load-nrrd", "file_name", mutated_text, [*map(nrrd_file, ("raw", "gzip", "ascii"))]),
    "tif": (
        "load-tif",
        "file_name",
        mutated,
        [
            tif(),
            tif(compression="zlib", tile=(16, 16)),
            tif(ome=True, compression="lzw", metadata={"axes": "ZYX", "PhysicalSizeZ": 0.04}),
            tif(imagej=True, metadata={"axes": "ZYX", "spacing": 0.04, "unit": "um"}),
            tif(compression="jpeg", tile=(16, 16), metadata=None),
        ],
    ),
    "png": (
        "load-png",
        "path",
        mutated,
        [
            lambda path: Image.fromarray(ZYX[0]).save(path),
            lambda path: Image.fromarray(ZYX[0].astype(np.uint16) * 999).save(path),
        ],
    ),
    "npy": (
        "load-npy",
        "file_name",
        mutated_text,
        [lambda path: np.save(path, ZYX), lambda path: np.save(path, np.ones((5, 3)))],
    ),
}
SHARDS = {
    "name": "sharding_indexed",
    "configuration": {"chunk_shape": [4, 8, 16], "codecs": [{"name": "zstd", "configuration": {}}]},
}


def zarr(driver: str, **metadata: Any) -> Write:
    def write(folder: Path) -> None:
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/"}}
        spec["metadata"] = {"shape": ZYX.shape, **metadata}
        tensorstore.open(spec, create=True, dtype=tensorstore.uint8).result()[...] = ZYX

    return write


STORES: dict[str, list[tuple[Write, str]]] = {
    "zarr2": [
        (zarr("zarr", chunks=[4, 8, 16], compressor={"id": "blosc"}), ".zarray"),
        (zarr("zarr", chunks=[4, 8, 16], compressor={"id": "zlib", "level": 1}), "0.0.0"),
    ],
    "zarr3": [
        (zarr("zarr3", codecs=[{"name": "gzip", "configuration": {"level": 1}}]), "zarr.json"),
        (zarr("zarr3", codecs=[SHARDS]), "zarr.json"),
        (zarr("zarr3", codecs=[SHARDS]), "c/0/0/0"),
    ],
    "n5": [
        (lambda folder: write_n5(folder, ZYX.T, {"resolution": [4, 4, 40]}), "attributes.json"),
        (lambda folder: write_n5(folder, ZYX.T), "0/0/0"),
    ],
}


def check(cases: list[dict[str, Any]], folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"TOPSECRET" * 1000)
    outcomes = list(read_all(cases, folder))
    assert len(outcomes) == len(cases)
    faults = [f"{outcome.case[:400]}\n    {f}" for outcome in outcomes for f in outcome.faults]
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:20])


Case = dict[str, Any]


def file_cases(folder: Path, ending: str, count: int) -> list[Case]:
    op, option, mutate, writers = FILES[ending]
    cases = []
    for number, write in enumerate(writers):
        (part := folder / ending / str(number)).mkdir(parents=True)
        write(part / f"whole.{ending}")
        content = (part / f"whole.{ending}").read_bytes()
        share = -(-count // len(writers))
        for i, damaged in enumerate(mutations(share, number, content, mutate)):
            path = part / f"{i}.{ending}"
            path.write_bytes(damaged)
            cases.append({"op": op, "options": {option: str(path)}})
    return cases


def store_cases(folder: Path, kind: str, count: int) -> list[Case]:
    folder, cases = folder / kind, []
    share = -(-count // len(STORES[kind]))
    for number, (write, name) in enumerate(STORES[kind]):
        write(folder / str(number))
        content = (folder / str(number) / name).read_bytes()
        mutate = mutated_text if name.endswith(("json", ".zarray")) else mutated
        for i, damaged in enumerate(mutations(share, number, content, mutate)):
            store = folder / f"{number}-{i}"
            write(store)
            (store / name).write_bytes(damaged)
            cases.append({"op": "load-zarr", "options": {"store": str(store)}})
    return cases


def info_cases(folder: Path, encoding: str, count: int) -> list[Case]:
    cases, path = [], folder / f"infos-{encoding}" / "whole"
    box = BoundingBox.sized((0, 0, 0), ZYX.shape)
    array = ZYX.astype("uint32") if encoding == "compressed_segmentation" else ZYX
    create_volume(
        f"file://{path}", bounds=box, voxel_size=(40, 4, 4), block_size=Vec3(8, 24, 32),
        dtype=str(array.dtype), encoding=encoding, max_mip=1,
    )  # fmt: skip
    info = json.loads((path / "info").read_text())
    shards = {"@type": "neuroglancer_uint64_sharded_v1", "hash": "identity"}
    bits = {"preshift_bits": 1, "minishard_bits": 2, "shard_bits": 3}
    info |= {"mesh": "mesh", "skeletons": "skeletons", "segment_properties": "p"}
    info["scales"][1]["sharding"] = shards | bits
    PrecomputedVolume(f"file://{path}").write(box, array)
    content = json.dumps(info, indent=1).encode()
    for i, damaged in enumerate(mutations(count, INFOS.index(encoding), content, mutated_text)):
        (copy := path.parent / str(i)).mkdir()
        (copy / info["scales"][0]["key"]).symlink_to(path / info["scales"][0]["key"])
        (copy / "info").write_bytes(damaged)
        cases.append({"op": "load-precomputed", "options": {"volume_path": f"file://{copy}"}})
    return cases


def block_cases(folder: Path, encoding: str, count: int) -> list[Case]:
    cases, whole = [], folder / f"blocks-{encoding}" / "whole"
    box, path, dtype = BoundingBox.sized((0, 0, 0), ZYX.shape), f"file://{whole}", BLOCKS[encoding]
    create_volume(
        path, bounds=box, voxel_size=(40, 4, 4), block_size=box.size, dtype=dtype, encoding=encoding
    )
    PrecomputedVolume(path).write(box, ZYX.astype(dtype))
    (block,) = (whole / "4_4_40").iterdir()
    for i, damaged in enumerate(mutations(count, 0, block.read_bytes(), mutated)):
        (copy := whole.parent / str(i) / "4_4_40").mkdir(parents=True)
        (copy.parent / "info").write_bytes((whole / "info").read_bytes())
        (copy / (block.name + (".gz" if i % 3 == 2 else ""))).write_bytes(damaged)
        options = {"volume_path": f"file://{copy.parent}"}
        cases.append({"op": "load-precomputed", "options": options})
    return cases


INFOS = ("raw", "compressed_segmentation", "png")
BLOCKS = {
    "raw": "uint8", "png": "uint8", "jpeg": "uint8", "jxl": "uint8",
    "compressed_segmentation": "uint32", "compresso": "uint32", "crackle": "uint32",
    "fpzip": "float32", "npz": "uint16",
}  # fmt: skip
KINDS: list[tuple[Callable[[Path, str, int], list[Case]], str]] = [
    *((file_cases, ending) for ending in FILES),
    *((store_cases, kind) for kind in STORES),
    *((info_cases, encoding) for encoding in INFOS),
    *((block_cases, encoding) for encoding in BLOCKS),
]


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    """A few of each kind, in one process."""
    folder = tmp_path / "given"
    check([case for make, kind in KINDS for case in make(folder, kind, 4)], folder)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_many_damaged_files_are_read_or_refused(
    tmp_path: Path, make: Callable[[Path, str, int], list[Case]], kind: str
) -> None:
    folder = tmp_path / "given"
    check(make(folder, kind, 200), folder)
