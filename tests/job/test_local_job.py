"""A job without a queue has a record from which the same boxes come."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.local_job import check_job_name, grid_around, record_local_job

small = st.integers(1, 4)
vectors = st.builds(Vec3, small, small, small)


@given(
    st.builds(Vec3, st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9)),
    vectors,
    vectors,
    st.booleans(),
    st.data(),
)
def test_boxes_of_a_grid_come_back(
    start: Vec3, size: Vec3, count: Vec3, whole: bool, data: st.DataObject
) -> None:
    stop = start + size * count - Vec3(*(data.draw(st.integers(0, s - 1)) for s in size))
    grid = Grid(roi_start=start, roi_stop=stop, chunk_size=size, respect_chunk_size=whole)
    boxes = list(grid.boxes())
    listed = data.draw(st.lists(st.sampled_from(boxes), min_size=1))
    ledger = Ledger("mem://local-job")
    for name in ("whole", "part"):
        ledger.files.delete(f"jobs/{name}.json")
    assert record_local_job(ledger, "whole", grid.boxes(), "d")
    job = ledger.job("whole")
    assert job is not None
    assert list(job.boxes()) == boxes
    around = grid_around(listed)
    if around is not None:  # cut boxes alone do not tell the size of the others
        assert set(around) == set(listed)
        ledger.files.delete("jobs/whole.json")
        assert record_local_job(ledger, "part", listed, "d")
        job = ledger.job("part")
        assert job is not None
        assert (set(job.boxes()), job.tasks) == (set(listed), len(set(listed)))


@pytest.mark.parametrize(
    "names",
    [
        ["0-4_0-4_0-4", "0-4_0-4_3-7"],
        ["0-4_0-4_0-4", "4-5_0-2_0-4"],
        ["0-1_0-1_0-1", f"{1 << 29}-{(1 << 29) + 1}_0-1_0-1"],
    ],
    ids=["overlap", "of two sizes", "too far apart"],
)
def test_boxes_that_are_in_no_grid(names: list[str]) -> None:
    boxes = [BoundingBox.parse(name) for name in names]
    assert grid_around(boxes) is None
    assert not record_local_job(Ledger("mem://no-grid"), "j", boxes, "d")


def test_boxes_of_the_latest_job_are_no_new_job(tmp_path: Path) -> None:
    """Processes of an array record it once, and boxes that are done again keep their job."""
    ledger = Ledger(str(tmp_path))
    boxes = Grid(grid_size=Vec3(1, 1, 3), chunk_size=Vec3(2, 2, 2)).boxes()
    assert record_local_job(ledger, "all", boxes, "d")
    assert record_local_job(ledger, "all", boxes, "d")
    assert record_local_job(ledger, "again", [boxes[1]], "d")
    assert [job.job for job in ledger.jobs()] == ["all"]
    assert record_local_job(ledger, "other", [BoundingBox.parse("9-11_0-2_0-2")], "d")
    assert [job.job for job in ledger.jobs()] == ["all", "other"]
    assert isinstance(ledger.jobs()[0].boxes(), Boxes)


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match="is not a job name"):
        check_job_name("a/b")
