from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.operators.adjust_bbox import AdjustBbox
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

numbers = st.integers(-50, 50)


@given(st.tuples(*[numbers] * 3), st.tuples(*[numbers] * 6))
def test_moves_the_corners_of_the_box(start: tuple[int, ...], offset: tuple[int, ...]) -> None:
    task = Task(bbox=BoundingBox.sized(start, (101, 101, 101)))
    with AdjustBbox(corner_offset=offset).open(Run(needed_box=lambda box, bounds: box)) as step:
        step(task)
    assert task.bbox is not None
    assert task.bbox.start == tuple(start[i] + offset[i] for i in range(3))
    assert task.bbox.stop == tuple(start[i] + 101 + offset[3 + i] for i in range(3))


def test_offsets_that_leave_an_empty_box_are_refused(run_step: Callable[..., Task]) -> None:
    with pytest.raises(
        ConfigError, match=r"leaves nothing of the box\n.*0-4_0-4_0-4 has \[4, 4, 4\]"
    ):
        run_step(
            AdjustBbox(corner_offset=(2, 0, 0, -2, 0, 0)),
            bbox=BoundingBox.sized((0, 0, 0), Vec3(4, 4, 4)),
        )
    with pytest.raises(ConfigError, match="the task has no box"):
        run_step(AdjustBbox(corner_offset=(0, 0, 0, 1, 1, 1)), Task())


def test_the_record_keeps_the_original_box(tmp_path: Path) -> None:
    chain = "create-bbox -s 0 0 0 -z 4 4 4 adjust-bbox -c 0 0 -1 0 0 1 create-chunk"
    line = f"--ledger {tmp_path / 'log'} {chain} save-h5 -f {tmp_path / 'c.h5'}"
    done = CliRunner().invoke(cli, line.split())
    assert done.exit_code == 0, done.output
    with h5py.File(tmp_path / "c.h5") as h5:
        assert h5["main"].shape == (4, 4, 6)
        assert h5["voxel_offset"][:].tolist() == [0, 0, -1]
    record = json.loads((tmp_path / "log" / "0-4_0-4_0-4.json").read_text())
    assert record["bbox"] == "0-4_0-4_0-4"
