from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.volume import blocks_of
from chunkflow_worker.volumes.zarr.keys import BlockKeys
from chunkflow_worker.volumes.zarr.volume import open_zarr
from tests.support.n5 import write_n5

SHAPE, CHUNKS = (5, 6, 7), (2, 3, 4)


def written(folder: Path) -> set[str]:
    names = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return {name for name in names if not name.startswith(".") and "json" not in name}


@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 2},
        {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"zarr_format": 3},
        {"zarr_format": 3, "chunk_key_encoding": {"name": "default", "separator": "."}},
        {"zarr_format": 3, "chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"zarr_format": 3, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"zarr_format": 3, "shards": (4, 6, 8)},
    ],
    ids=str,
)
def test_keys_are_those_that_zarr_python_writes(tmp_path: Path, options: dict[str, Any]) -> None:
    array = zarr.create_array(tmp_path, shape=SHAPE, chunks=CHUNKS, dtype="u1", **options)
    array[:] = 1
    volume = open_zarr(f"file://{tmp_path}")
    assert volume is not None
    blocks = list(blocks_of(volume, volume.bounds))
    assert {volume.block_name(block) for block in blocks} == written(tmp_path)
    assert volume.stored_at(blocks).keys() == written(tmp_path)


def test_keys_of_n5_have_x_first(tmp_path: Path) -> None:
    write_n5(tmp_path / "em", np.ones((9, 6, 3), np.uint8))
    volume = open_zarr(f"file://{tmp_path}/em")
    assert volume is not None
    assert volume.bounds.size == Vec3(3, 6, 9)
    names = {volume.block_name(block) for block in blocks_of(volume, volume.bounds)}
    assert names == written(tmp_path / "em") == {f"{x}/{y}/0" for x in range(3) for y in range(2)}


def test_a_block_of_several_channels_has_several_objects(tmp_path: Path) -> None:
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
        "metadata": {"shape": [2, 5, 4, 4, 4], "chunks": [1, 2, 4, 4, 2], "dtype": "|u1"},
    }
    array = tensorstore.open(spec, create=True).result()
    array[...] = 1
    keys = BlockKeys(array, "tczyx", time_point=1)
    assert keys.of(Vec3(0, 0, 1)) == ["1.0.0.0.1", "1.1.0.0.1", "1.2.0.0.1"]
    assert set(keys.of(Vec3(0, 0, 1))) < written(tmp_path)


def test_a_block_is_stored_when_all_its_objects_are(tmp_path: Path) -> None:
    options: dict[str, Any] = {"chunks": (1, 2, 3, 4), "zarr_format": 2}
    array = zarr.create_array(tmp_path, shape=(2, *SHAPE), dtype="u1", **options)
    array[:] = 1
    array.attrs["_ARRAY_DIMENSIONS"] = ["c", "z", "y", "x"]
    volume = open_zarr(f"file://{tmp_path}")
    assert volume is not None
    first = BoundingBox.parse("0-2_0-3_0-4")
    assert volume.block_name(first) == "0.0.0.0"
    assert list(volume.stored_at([first])) == ["0.0.0.0"]
    (tmp_path / "1.0.0.0").unlink()
    assert volume.stored_at([first]) == {}
