from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.create_info import CreateInfo
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import WrittenFile, noting
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

RunStep = Callable[..., Task]


def test_all_options_are_given(tmp_path: Path, run_step: RunStep) -> None:
    run_step(
        CreateInfo(
            volume_path=f"file://{tmp_path}/v",
            channel_num=3,
            layer_type="image",
            data_type="float32",
            voxel_size=(40, 7.16, 7.16),
            voxel_offset=(-1, 2, 3),
            volume_size=(20, 300, 400),
            block_size=(10, 100, 100),
            factor=(1, 2, 2),
            max_mip=2,
        )
    )
    info = json.loads((tmp_path / "v" / "info").read_text())
    assert (info["num_channels"], info["data_type"], info["type"]) == (3, "float32", "image")
    first, _, last = info["scales"]
    assert first["size"] == [400, 300, 20]
    assert first["voxel_offset"] == [3, 2, -1]
    assert first["resolution"] == [7.16, 7.16, 40]
    assert first["chunk_sizes"] == [[100, 100, 10]]
    assert last["resolution"] == [28.64, 28.64, 40]


def test_a_volume_is_made_like_another_one(tmp_path: Path, run_step: RunStep) -> None:
    shape = {"voxel_size": (40, 7.16, 7.16), "voxel_offset": (-1, 2, 3), "block_size": (5, 6, 7)}
    first = f"file://{tmp_path}/first"
    run_step(CreateInfo(volume_path=first, volume_size=(20, 30, 40), **shape))
    same = CreateInfo(volume_path=f"file://{tmp_path}/v", like=first, block_size=(4, 4, 4))
    files: dict[str, WrittenFile] = {}
    with noting(files):
        run_step(same.model_copy(update={"data_type": "uint64", "voxel_size": (1, 2, 3)}))
    assert [*files] == [f"file://{tmp_path}/v/info"]
    info = json.loads((tmp_path / "v" / "info").read_text())
    (scale,) = info["scales"]
    assert (info["data_type"], scale["resolution"]) == ("uint64", [3, 2, 1])
    assert (scale["size"], scale["voxel_offset"]) == ([40, 30, 20], [3, 2, -1])


@pytest.mark.parametrize("size", [(4, 8, 8), None])
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("v", {"info"}),
        ("v.zarr", {".zattrs", "0/.zarray"}),
        ("v.n5", {"attributes.json", "s0/attributes.json"}),
    ],
)
def test_the_record_names_what_tells_that_the_volume_is_there(
    tmp_path: Path, run_step: RunStep, name: str, files: set[str], size: tuple[int, int, int] | None
) -> None:
    chunk = {} if size else {"chunk": Chunk(np.zeros((4, 8, 8), np.uint8))}
    operator = CreateInfo(volume_path=str(tmp_path / name), volume_size=size, block_size=(4, 8, 8))
    noted: dict[str, WrittenFile] = {}
    with noting(noted):
        run_step(operator, **chunk)
    root = f"file://{tmp_path}/{name}/"
    assert {path.removeprefix(root) for path in noted} == files
    assert all(Path(path.removeprefix("file://")).is_file() for path in noted)


def test_missing_options_are_taken_from_the_chunk(tmp_path: Path, run_step: RunStep) -> None:
    chunk = Chunk(np.zeros((2, 8, 16, 32), np.uint8), Vec3(5, 6, 7), (30, 4, 4), "segmentation")
    run_step(CreateInfo(volume_path=f"file://{tmp_path}/v", block_size=(8, 16, 32)), chunk=chunk)
    info = json.loads((tmp_path / "v" / "info").read_text())
    assert (info["num_channels"], info["data_type"], info["type"]) == (2, "uint8", "segmentation")
    assert info["scales"][0]["size"] == [32, 16, 8]
    assert info["scales"][0]["voxel_offset"] == [7, 6, 5]


def test_the_dtype_is_taken_from_the_chunk_even_if_the_size_is_given(tmp_path: Path) -> None:
    """Regression: the volume was created as uint8 before the chunk existed."""
    np.save(tmp_path / "ids.npy", np.full((4, 8, 8), 2**60, np.uint64))
    chain = [
        {"op": "load-npy", "file_name": f"{tmp_path}/ids.npy", "voxel_size": [40, 4, 4]},
        {
            "op": "create-info",
            "volume_path": f"file://{tmp_path}/v",
            "volume_size": [64, 64, 64],
            "block_size": [4, 8, 8],
        },
    ]
    with Pipeline.parse({"operators": chain}).open() as opened:
        opened.run(Task())
    info = json.loads((tmp_path / "v" / "info").read_text())
    assert (info["data_type"], info["type"]) == ("uint64", "segmentation")
    assert info["scales"][0]["size"] == [64, 64, 64]
    assert info["scales"][0]["resolution"] == [4, 4, 40]


@pytest.mark.parametrize(
    "size", [{}, {"volume_size": [4, 8, 16]}, {"volume_size": [4, 8, 8], "data_type": "uint8"}]
)
def test_a_chain_creates_a_volume_and_writes_to_it(tmp_path: Path, size: dict[str, object]) -> None:
    array = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    np.save(tmp_path / "em.npy", array)
    chain = [
        {"op": "load-npy", "file_name": f"{tmp_path}/em.npy", "voxel_size": [40, 4, 4]},
        {"op": "create-info", "volume_path": f"{tmp_path}/v", "block_size": [4, 8, 8], **size},
        {"op": "save-precomputed", "volume_path": f"file://{tmp_path}/v"},
    ]
    pipeline = Pipeline.parse({"operators": chain})
    with pipeline.open(dry_run=True) as opened:
        opened.run(Task())
    assert not (tmp_path / "v").exists()
    with pipeline.open() as opened:
        opened.run(Task())
    box = BoundingBox.sized((0, 0, 0), (4, 8, 8))
    assert np.array_equal(PrecomputedVolume(f"{tmp_path}/v").read(box), array)


@pytest.mark.parametrize(
    ("dtype", "options", "kind"),
    [
        ("uint8", {}, "image"),
        ("uint16", {}, "image"),
        ("float32", {}, "image"),
        ("uint32", {}, "segmentation"),
        ("uint64", {"layer_type": "image"}, "image"),
        ("uint8", {"data_type": "uint64"}, "segmentation"),
    ],
)
def test_integers_of_32_and_64_bits_create_a_segmentation(
    tmp_path: Path, run_step, dtype: str, options: dict, kind: str
) -> None:
    operator = CreateInfo(volume_path=f"file://{tmp_path}/v", block_size=(8, 8, 8), **options)
    run_step(operator, chunk=Chunk(np.ones((8, 8, 8), dtype)))
    assert json.loads((tmp_path / "v" / "info").read_text())["type"] == kind


@pytest.mark.parametrize("name", ["block_size", "volume_size", "factor"])
def test_sizes_of_zero_are_refused(name: str) -> None:
    sizes = {"block_size": (8, 8, 8), "volume_size": (8, 8, 8)}
    with pytest.raises(ValidationError, match="above 0"):
        CreateInfo(**(sizes | {"volume_path": "mem://v", name: (0, 8, 8)}))


def test_the_error_for_a_missing_size_names_the_option(tmp_path: Path, run_step: RunStep) -> None:
    with pytest.raises(ConfigError, match="volume_size"):
        run_step(CreateInfo(volume_path=f"file://{tmp_path}/v", block_size=(8, 16, 32)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"encoding": "compressed_segmentation"},
            "does not take 1 channels of uint8\n +it takes uint32 and uint64",
        ),
        (
            {"encoding": "jpeg", "data_type": "float32"},
            "does not take 1 channels of float32\n +it takes uint8 of 1 or 3 channels",
        ),
        ({"encoding": "jpeg", "channel_num": 2}, "does not take 2 channels of uint8"),
        ({"encoding": "fpzip"}, "does not take 1 channels of uint8\n +it takes float32"),
        ({"encoding": "npz_uint8"}, "CloudVolume can write npz_uint8, but nothing can read it"),
    ],
)
def test_an_encoding_that_does_not_support_the_dtype_is_refused(
    tmp_path: Path, run_step: RunStep, options: dict, text: str
) -> None:
    sizes = {"volume_size": (8, 8, 8), "block_size": (8, 8, 8)}
    with pytest.raises(ConfigError, match=text):
        run_step(CreateInfo(volume_path=f"file://{tmp_path}/v", **sizes, **options))
    assert not (tmp_path / "v").exists()
