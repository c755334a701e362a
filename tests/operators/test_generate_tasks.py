from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.operators.generate_tasks import GenerateTasks
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.plan.job import make_plan
from producer.plan.pipeline_file import PipelineFile

RUN = Run(needed_box=lambda box, bounds: box)
MakeVolume = Callable[..., PrecomputedVolume]


def test_boxes_of_a_volume(volume: MakeVolume) -> None:
    """Named defect of the peer: generate-tasks crashed on numpy 2."""
    made = volume("v", BoundingBox.parse("-4-4_0-16_8-32"), dtype="uint8")
    boxes = [
        str(t.bbox) for t in GenerateTasks(volume_path=made.path, chunk_size=(8, 16, 16)).tasks()
    ]
    assert boxes == ["-4-4_0-16_8-24", "-4-4_0-16_24-40"]


def test_bounds_are_read_through_a_public_link(monkeypatch: pytest.MonkeyPatch) -> None:
    read_paths = []

    def bounds(path: str, mip: int, use_https: bool) -> BoundingBox:
        read_paths.append((path, use_https))
        return BoundingBox.parse("0-8_0-16_0-16")

    monkeypatch.setattr("chunkflow_worker.volumes.open_volume.volume_bounds", bounds)
    for public in (True, False):
        operator = GenerateTasks(
            volume_path="gs://lab/em", chunk_size=(8, 16, 16), use_https=public
        )
        list(operator.tasks())
    assert read_paths == [("gs://lab/em", True), ("gs://lab/em", False)]


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_boxes_are_written_to_a_file_and_run_as_in_chunkflow(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"tasks{suffix}"
    operator = GenerateTasks(chunk_size=(4, 4, 4), grid_size=(1, 1, 2), file_path=str(file))
    with operator.open(RUN):
        assert [str(t.bbox) for t in operator.tasks()] == ["0-4_0-4_0-4", "0-4_0-4_4-8"]
    rows = np.load(file) if suffix == ".npy" else np.loadtxt(file, delimiter=",", dtype=int)
    assert rows.tolist() == [[0, 0, 0, 4, 4, 4], [0, 0, 4, 4, 4, 8]]


def test_disbatch_selects_one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = GenerateTasks(chunk_size=(4, 4, 4), grid_size=(1, 1, 3), disbatch=True)
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "2")
    assert [str(t.bbox) for t in operator.tasks()] == ["0-4_0-4_8-12"]
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "3")
    with pytest.raises(ConfigError, match="a number from 0 to 2"):
        list(operator.tasks())


def test_the_errors_name_a_cure() -> None:
    with pytest.raises(ConfigError, match="chunkflow-producer enqueue --queue q"):
        list(GenerateTasks(chunk_size=(4, 4, 4), queue_name="q").tasks())
    with (
        pytest.raises(ConfigError, match=r"legal: \.npy, \.txt"),
        GenerateTasks(chunk_size=(4, 4, 4), file_path="a.csv").open(RUN),
    ):
        pass


def test_boxes_where_a_mask_is_zero_are_left_out(tmp_path: Path) -> None:
    """By the options of `chunkflow-producer enqueue`, which reads them in a pipeline file, too."""
    image, mask, block = str(tmp_path / "em"), str(tmp_path / "mask"), Vec3(2, 2, 2)
    of_mask = BoundingBox.parse("0-2_0-2_0-4")
    for path, voxel, box in ((image, 8, BoundingBox.parse("0-4_0-4_0-8")), (mask, 16, of_mask)):
        create_volume(path, bounds=box, voxel_size=(voxel,) * 3, block_size=block, dtype="uint8")
    voxels = np.zeros(of_mask.size, np.uint8)
    voxels[1, 0, 3] = 1
    open_volume(mask).write(of_mask, voxels)
    source = GenerateTasks(volume_path=image, chunk_size=(2, 2, 2), mask_volume_path=mask)
    assert [str(task.bbox) for task in source.tasks()] == ["2-4_0-2_6-8"]
    inverse = source.model_copy(update={"mask_inverse": True})
    assert len(list(inverse.tasks())) == 15
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump({"tasks": source.dump(), "operators": [{"op": "create-chunk"}]}))
    plan = make_plan("q", "j", Grid(), PipelineFile.load(file))
    assert (list(plan.boxes.texts()), plan.empty) == (["2-4_0-2_6-8"], 15)
