from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.masks import Masks
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.precomputed.info import create_volume
from producer.plan.job import Plan, make_plan
from producer.plan.record import record_job

BOUNDS = BoundingBox.parse("0-8_0-24_0-40")
COARSE = BoundingBox.parse("0-8_0-6_0-10")  # voxels of 4 x 4 of those
MASKED = {"mask_volume_path": "{mask}"}
NO_VOLUME = {"volume_path": None, "bounding_box": "0-4_0-8_0-8"}
MARKED = {"0-4_0-8_0-8", "4-8_16-24_32-40", "4-8_8-16_8-16"}


def write(path: Path, bounds: BoundingBox, voxel_size: tuple[int, int, int], voxels: Any) -> None:
    create_volume(
        str(path), bounds=bounds, voxel_size=voxel_size, block_size=Vec3(4, 2, 2), dtype="uint8"
    )
    open_volume(str(path)).write(bounds, voxels.astype(np.uint8))


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "image"
    write(path, BOUNDS, (40, 8, 8), np.ones(BOUNDS.size))
    return str(path)


@pytest.fixture
def mask(tmp_path: Path) -> str:
    path, voxels = tmp_path / "mask", np.zeros(COARSE.size)
    voxels[3, 1, 1] = voxels[7, 5, 9] = voxels[4, 2, 3] = 9
    write(path, COARSE, (40, 32, 32), voxels)
    return str(path)


def planned(image: str, options: Masks, **grid: Any) -> Plan:
    grid = {"volume_path": image, "mip": 0, "chunk_size": Vec3(4, 8, 8)} | grid
    return make_plan("q", "j", Grid(**grid), mask=options)


@pytest.mark.parametrize("most", [1, 100, 1 << 25])
def test_boxes_stay_where_the_mask_is_non_zero(
    most: int, image: str, mask: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkflow_worker.job.masked._MOST_VOXELS", most)
    plan = planned(image, Masks(mask_volume_path=mask))
    assert set(map(str, plan.boxes)) == MARKED
    assert (plan.record.tasks, plan.empty) == (3, 27)
    record_job(ledger, plan.record)
    (job,) = ledger.jobs()
    assert set(map(str, job.boxes())) == MARKED
    assert BoundingBox.parse("0-4_0-8_8-16") not in job.boxes()


def test_an_inverse_mask_leaves_out_boxes_that_are_all_marked(image: str, tmp_path: Path) -> None:
    voxels = np.ones(COARSE.size)
    voxels[5, 0, 0] = 0
    write(tmp_path / "mask", COARSE, (40, 32, 32), voxels)
    plan = planned(image, Masks(mask_volume_path=str(tmp_path / "mask"), mask_inverse=True))
    assert list(map(str, plan.boxes)) == ["4-8_0-8_0-8"]


def test_without_options_all_boxes_stay(image: str) -> None:
    plan = planned(image, Masks())
    assert (len(plan.boxes), plan.empty, plan.record.chosen) == (30, 0, "")


def test_empty_boxes_are_found_at_the_coarsest_mip(tmp_path: Path) -> None:
    path = str(tmp_path / "image")
    options: dict[str, Any] = {"bounds": BOUNDS, "voxel_size": (40, 8, 8)}
    create_volume(path, **options, block_size=Vec3(4, 2, 2), dtype="uint8", max_mip=2)
    level = open_volume(path, 2)
    voxels = np.zeros(level.bounds.size, np.uint8)
    voxels[0, 0, 0] = 1
    level.write(level.bounds, voxels)
    plan = planned(path, Masks(skip_empty=True))
    assert list(map(str, plan.boxes)) == ["0-4_0-8_0-8"]


def test_parts_of_a_job_are_joined(image: str, mask: str, ledger: Ledger) -> None:
    options = Masks(mask_volume_path=mask)
    record_job(ledger, planned(image, options, task_index_stop=20).record)
    assert record_job(ledger, planned(image, options, task_index_start=20).record) is False
    (job,) = ledger.jobs()
    assert (set(map(str, job.boxes())), job.tasks) == (MARKED, 3)
    record_job(ledger, planned(image, Masks(), task_index_stop=2).record)
    assert ledger.jobs()[0].tasks == 4


@pytest.mark.parametrize(
    ("options", "grid", "problem"),
    [
        (MASKED, {"task_index_start": 1, "task_index_stop": 3}, "boxes are empty"),
        (MASKED | {"mask_mip": 3}, {}, "mip"),
        ({"mask_volume_path": "{image}/absent"}, {}, "there is no volume"),
        (MASKED, NO_VOLUME, "give --volume-path"),
        ({"skip_empty": True}, NO_VOLUME, "give --volume-path"),
    ],
)
def test_what_is_wrong_is_told(
    options: dict[str, Any], grid: dict[str, Any], problem: str, image: str, mask: str
) -> None:
    if path := options.get("mask_volume_path"):
        options = options | {"mask_volume_path": path.format(mask=mask, image=image)}
    with pytest.raises(ConfigError, match=problem):
        planned(image, Masks(**options), **grid)


def test_a_mask_of_finer_voxels_is_refused(mask: str, image: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)finer than the chunk's.*give --mask-mip"):
        planned(mask, Masks(mask_volume_path=image))


def test_marks_that_do_not_fit_a_record_are_refused(
    image: str, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkflow_worker.job.masked._MOST_TEXT", 3)
    with pytest.raises(ConfigError, match="send it in parts"):
        planned(image, Masks(mask_volume_path=mask))
