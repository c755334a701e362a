from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.points import Points
from chunkflow_worker.operators.save_points import SavePoints


def test_a_prefix_names_another_file_for_each_task(run_step, tmp_path: Path) -> None:
    """Named defect of the peer: save-points and its like wrote every task to one file."""
    operator = SavePoints(file_path=f"{tmp_path}/p-")
    for z in (0, 1):
        points = Points(np.array([[z, 2, 3], [z, 5, 6]], np.int32), (40.0, 4.0, 4.0))
        run_step(operator, bbox=BoundingBox.parse(f"{z}-{z + 1}_0-9_0-9"), point_cloud=points)
    for z in (0, 1):
        with h5py.File(tmp_path / f"p-{z}-{z + 1}_0-9_0-9.h5") as file:
            assert file["points"][()].tolist() == [[z, 2, 3], [z, 5, 6]]
            assert file["voxel_size"][()].tolist() == [40, 4, 4]
    assert len(list(tmp_path.iterdir())) == 2


def test_other_values_than_points_are_refused(run_step, tmp_path: Path) -> None:
    with pytest.raises(ChunkflowError, match="points are needed"):
        run_step(SavePoints(file_path=f"{tmp_path}/p.h5"), point_cloud=[1, 2])
    with pytest.raises(ChunkflowError, match=r"shape \(n, 3\)"):
        Points(np.zeros((2, 2)))
    assert not list(tmp_path.iterdir())
