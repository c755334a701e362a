from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.merge_labels import MergeLabels
from chunkflow_worker.operators.unique_labels import UniqueLabels
from chunkflow_worker.pipeline.task import SkipTask

REGION = BoundingBox.parse("0-2_0-2_0-6")


@pytest.fixture
def work_path(run_step, tmp_path: Path) -> str:
    """Three boxes of one object."""
    operator = UniqueLabels(work_path=str(tmp_path), chunk_size=(2, 2, 2), roi_start=(0, 0, 0),
                            roi_stop=(2, 2, 6))  # fmt: skip
    for x in (0, 2, 4):
        chunk = Chunk(np.ones((2, 2, 2), np.uint32), Vec3(0, 0, x))
        run_step(operator, bbox=chunk.bbox, chunk=chunk)
    return str(tmp_path)


def test_it_joins_a_region_when_those_in_it_are_joined(run_step, work_path: str) -> None:
    operator = MergeLabels(work_path=work_path)
    with pytest.raises(DataMissing, match=r"open/0-2_0-2_0-4\.npz: join this region first"):
        run_step(operator, bbox=REGION)
    for name in ("0-2_0-2_0-4", "0-2_0-2_0-6"):
        run_step(operator, bbox=BoundingBox.parse(name))
    files = {path.relative_to(work_path).as_posix() for path in Path(work_path).rglob("*.npz")}
    answers = ("0-2_0-2_0-2", "0-2_0-2_2-4", "0-2_0-2_4-6", "0-2_0-2_0-4")
    assert files >= {f"answers/{name}.npz" for name in answers}
    assert {*operator.files_of(None, REGION)} == {  # type: ignore[arg-type]
        f"{work_path}/{kind}/{REGION}.npz" for kind in ("open", "complete")
    }


def test_a_single_box_is_left_to_a_larger_region(run_step, work_path: str) -> None:
    with pytest.raises(SkipTask, match="single box"):
        run_step(MergeLabels(work_path=work_path), bbox=BoundingBox.parse("0-2_0-2_4-6"))


@pytest.mark.parametrize("name", ["0-2_0-2_0-8", "0-2_0-2_2-6", None])
def test_other_tasks_than_regions_are_refused(run_step, work_path: str, name: str | None) -> None:
    box = BoundingBox.parse(name) if name else None
    with pytest.raises(ConfigError, match=r"(?s)not in the tree of 0-2_0-2_0-6.*2, 4, 8|no boxes"):
        run_step(MergeLabels(work_path=work_path), bbox=box)
