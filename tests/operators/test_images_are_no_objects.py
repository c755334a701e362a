"""Operators on objects refuse an image at once, and take masks and segmentations of any type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.load_precomputed import LoadPrecomputed
from chunkflow_worker.operators.threshold import Threshold
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import find_operator
from chunkflow_worker.pipeline.task import Task

SHAPE = (8, 16, 16)
RANDOM = np.random.default_rng(0)
EM = RANDOM.integers(90, 160, SHAPE)
BALL = (np.indices(SHAPE) - np.array([4, 8, 8])[:, None, None, None]) ** 2
MASK = (BALL.sum(axis=0) < 12).astype(np.uint8)
CELLS = np.where(np.indices(SHAPE)[2] % 4 > 0, 1 + np.indices(SHAPE)[2] // 4 * 5, 0)

OPERATORS: list[tuple[str, dict[str, Any]]] = [
    ("mesh", {"output_path": "meshes"}),
    ("skeletonize", {"dust_threshold": 0}),
    ("connected-components", {}),
    ("mask-out-objects", {"dust_size_threshold": 1}),
    ("evaluate-segmentation", {"groundtruth_chunk_name": "truth"}),
    ("evaluate-segmentation", {"segmentation_chunk_name": "truth",
                               "groundtruth_chunk_name": "chunk"}),
]  # fmt: skip


def run(op: str, options: dict[str, Any], chunk: Chunk) -> Task:
    task = Task(values={"chunk": chunk, "truth": Chunk(MASK)})
    with Pipeline((find_operator(op).model_validate(options),)).open() as opened:
        opened.run(task)
    return task


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("op", "options"), OPERATORS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int8"])
def test_an_image_is_refused_and_the_loaders_option_named(
    op: str, options: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    image = Chunk((EM - 60).astype(dtype))
    with pytest.raises(ChunkMismatch, match=r"an image.*--layer-type segmentation"):
        run(op, options, image)
    assert not list(tmp_path.iterdir()), "nothing was written"


@pytest.mark.parametrize(("op", "options"), OPERATORS)
def test_a_map_is_refused_and_a_threshold_named(op: str, options: dict[str, Any]) -> None:
    with pytest.raises(ChunkMismatch, match="threshold"):
        run(op, options, Chunk(RANDOM.random(SHAPE, np.float32)))


ACCEPTED = {
    "a mask of 1": Chunk(MASK),
    "a mask of 255": Chunk(MASK * np.uint8(255)),
    "a mask of booleans": Chunk(MASK.astype(bool)),
    "a mask of uint16": Chunk(MASK.astype(np.uint16)),
    "labels of uint16 that do not say so": Chunk(CELLS.astype(np.uint16)),
    "labels of int8 that do not say so": Chunk(CELLS.astype(np.int8)),
    "classes 1 and 2": Chunk(MASK + np.uint8(1)),
    "labels of uint8": Chunk(MASK * np.uint8(7) + np.uint8(1), layer_type="segmentation"),
    "labels of uint16": Chunk((EM % 3).astype(np.uint16), layer_type="segmentation"),
    "ids of uint32": Chunk((EM % 3).astype(np.uint32)),
    "ids of uint64": Chunk((EM % 3).astype(np.uint64)),
}


@pytest.mark.parametrize(("op", "options"), OPERATORS)
@pytest.mark.parametrize("chunk", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_masks_and_segmentations_are_taken(op: str, options: dict[str, Any], chunk: Chunk) -> None:
    run(op, options, chunk)


def test_the_mask_of_a_threshold_is_taken() -> None:
    steps = (
        Threshold(threshold=120),
        find_operator("connected-components")(),
        find_operator("mesh")(output_path="meshes"),
    )
    with Pipeline(steps).open() as opened:
        opened.run(Task(values={"chunk": Chunk(EM.astype(np.uint8))}))
    assert len(list(Path("meshes").iterdir())) > 1


def test_an_image_changes_nothing_in_the_volume_of_its_meshes(
    volume: Callable[..., Any], tmp_path: Path
) -> None:
    volume("em", EM.astype(np.uint8))
    path = tmp_path / "em" / "info"
    before = path.read_text()
    with pytest.raises(ChunkMismatch, match="is an image"):
        run("mesh", {"output_path": f"file://{tmp_path}/em", "mip": 0}, Chunk(EM.astype("uint8")))
    assert path.read_text() == before
    run("mesh", {"output_path": f"file://{tmp_path}/em", "mip": 0}, Chunk(MASK))
    assert json.loads(path.read_text())["mesh"] == "mesh_mip_0_err_40"


@pytest.mark.parametrize("kind", ["segmentation", "image"])
def test_a_volume_says_what_it_holds_unless_the_user_does(
    kind: str, volume: Callable[..., Any]
) -> None:
    labels = volume("labels", (EM % 5).astype(np.uint8), layer_type=kind)
    told = LoadPrecomputed(volume_path=labels.path, layer_type="segmentation")
    heard = LoadPrecomputed(volume_path=labels.path)
    for load in (told, heard):
        task = Task()
        with Pipeline((load,)).open() as opened:
            opened.run(task)
        expected = "segmentation" if load is told else kind
        assert task.chunk("chunk").layer_type == expected


SAVERS = [("save-precomputed", {}), ("downsample-upload", {"stop_mip": 2, "start_mip": 0})]


@pytest.mark.parametrize(("op", "options"), SAVERS)
@pytest.mark.parametrize(
    ("dtype", "layer_type"),
    [("uint8", "segmentation"), ("uint16", "segmentation"), ("uint32", "image"),
     ("uint64", "image"), ("int64", "segmentation")],
)  # fmt: skip
def test_ids_never_replace_an_image(
    op: str, options: dict[str, Any], dtype: str, layer_type: Any, volume: Callable[..., Any]
) -> None:
    em = volume("em", EM.astype(np.uint8), max_mip=1, factor=Vec3(2, 2, 2))
    ids = Chunk((EM % 5).astype(dtype), layer_type=layer_type)
    with pytest.raises(ChunkMismatch, match=r"is a segmentation .* is an image .*--layer-type"):
        run(op, {"volume_path": em.path, **options}, ids)
    np.testing.assert_array_equal(em.read(em.bounds), EM)


@pytest.mark.parametrize(("dtype", "kind"), [("uint8", "segmentation"), ("uint32", "image")])
def test_ids_go_to_volumes_for_ids(dtype: str, kind: str, volume: Callable[..., Any]) -> None:
    box = BoundingBox.sized((0, 0, 0), SHAPE)
    made = volume("seg", box, dtype=dtype, layer_type=kind)
    ids = Chunk((EM % 5).astype(np.uint8), layer_type="segmentation")
    run("save-precomputed", {"volume_path": made.path}, ids)
    np.testing.assert_array_equal(made.read(box), EM % 5)


def test_masks_and_computed_integers_go_to_images(volume: Callable[..., Any]) -> None:
    box = BoundingBox.sized((0, 0, 0), SHAPE)
    made = volume("mask", box, dtype="uint8")
    for array in (MASK, MASK.astype(np.int64)):
        run("save-precomputed", {"volume_path": made.path}, Chunk(array))
        np.testing.assert_array_equal(made.read(box), MASK)
