"""skeletonize"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import osteoid
import pytest
from pydantic import ValidationError

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.save_swc import SaveSwc
from chunkflow_worker.operators.skeletonize import Skeletonize
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task


def run(operator: Any, task: Task, dry_run: bool = False) -> Task:
    with operator.open(Run(needed_box=lambda b, _: b, dry_run=dry_run)) as step:
        step(task)
    return task


def tube(length: int = 60) -> np.ndarray:
    """A tube along x. With voxels of 40 x 8 nm it is as thick in y as in z. Its axis passes through
    the middle of the voxels z=7, y=10.
    """
    array = np.zeros((15, 21, length), np.uint32)
    array[6:9, 3:18, :] = 9
    return array


def test_the_skeleton_of_a_tube_is_its_axis_in_nanometres(tmp_path: Path) -> None:
    chunk = Chunk(tube(), Vec3(100, -10, 7), (40, 8, 8))
    task = run(Skeletonize(), Task(chunk.bbox, {"chunk": chunk}))
    (object_id,), (skeleton,) = zip(*task.values["skels"].items(), strict=True)
    assert object_id == skeleton.id == 9
    assert isinstance(skeleton, osteoid.Skeleton)
    x, y, z = skeleton.vertices.T
    assert set(y.tolist()) == {(-10 + 10.5) * 8}
    assert set(z.tolist()) == {(100 + 7.5) * 40}
    assert sorted(x.tolist()) == [(7 + i + 0.5) * 8 for i in range(60)]
    assert skeleton.cable_length() == pytest.approx(59 * 8)
    assert skeleton.radius[30] == pytest.approx(64)  # from the axis to the first voxel outside
    assert np.allclose(skeleton.voxel_space().vertices[:, 1], -10 + 10.5)

    run(SaveSwc(output_prefix=f"{tmp_path}/"), task)
    saved = osteoid.Skeleton.from_swc((tmp_path / f"9_{chunk.bbox}.swc").read_text())
    assert len(saved.vertices) == 60


@pytest.mark.parametrize("voxel_size", [(40.0, 8.0, 8.0), (33.3, 7.16, 7.16)])
def test_skeletons_of_two_boxes_share_a_node_at_the_cut(
    tmp_path: Path, voxel_size: tuple[float, float, float]
) -> None:
    bounds = BoundingBox.sized((100, 0, 700), tube().shape)
    whole = Chunk(tube(), bounds.start, voxel_size, "segmentation", bounds)
    operator = Skeletonize(fragments_path=str(tmp_path), dust_threshold=10)
    parts = []
    for box in bounds.split(Vec3(15, 21, 30)):
        task = run(operator, Task(box, {"chunk": whole.cutout(operator.input_box(box, bounds))}))
        parts.append(task.values["skels"][9])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "9:700-730_0-21_100-115",
        "9:730-760_0-21_100-115",
    ]
    merged = osteoid.Skeleton.simple_merge(parts).consolidate()
    assert len(merged.vertices) == 60
    assert len(merged.components()) == 1


def test_options_change_the_skeletons() -> None:
    array = tube()
    array[0:2, 0:2, :20] = 4
    chunk = Chunk(array, voxel_size=(8, 8, 8))

    def skeletons(**options: Any) -> dict[int, osteoid.Skeleton]:
        return run(Skeletonize(**options), Task(None, {"chunk": chunk})).values["skels"]

    assert set(skeletons()) == {9}, "an object of 80 voxels is dust"
    assert set(skeletons(dust_threshold=10)) == {4, 9}
    assert set(skeletons(dust_threshold=10, object_ids="4")) == {4}
    long = skeletons(voxel_size=(8, 8, 80))[9]
    assert long.cable_length() == pytest.approx(59 * 80, rel=0.05)
    assert (chunk.array == array).all()


def test_other_options_are_passed_to_kimimaro(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def skeletonize(
        labels: np.ndarray, teasar_params: dict[str, Any], **options: Any
    ) -> dict[int, Any]:
        given.update(options | teasar_params)
        return {}

    monkeypatch.setattr("kimimaro.skeletonize", skeletonize)
    options = {
        "scale": 2.5,
        "const": 70,
        "max_paths": 8,
        "fill_holes": True,
        "fix_branching": False,
    }
    operator = Skeletonize(**options, output_name="s")
    assert run(operator, Task(None, {"chunk": Chunk(tube())})).values["s"] == {}
    assert {name: given[name] for name in options} == options


def test_places_are_written_only_beside_fragments() -> None:
    with pytest.raises(ValidationError, match="give fragments_path"):
        Skeletonize(spatial_index=True)


def test_a_chunk_without_object_ids_is_refused() -> None:
    with pytest.raises(ChunkMismatch, match="float32"):
        run(Skeletonize(), Task(None, {"chunk": Chunk(np.ones((4, 4, 4), np.float32))}))
    with pytest.raises(ValidationError, match="42,43"):
        Skeletonize(object_ids="all")


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    chunk = Chunk(tube(), voxel_size=(40, 8, 8))
    task = run(
        Skeletonize(fragments_path=str(tmp_path)), Task(chunk.bbox, {"chunk": chunk}), dry_run=True
    )
    assert list(task.values["skels"]) == [9]
    assert not list(tmp_path.iterdir())
