from __future__ import annotations

from pathlib import Path

import numpy as np
import osteoid
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.save_swc import SaveSwc


def line(n: int, object_id: int = 7) -> osteoid.Skeleton:
    """A straight skeleton along x."""
    vertices = np.array([[10 * i, 0, 5] for i in range(n)], np.float32)
    edges = np.array([[i, i + 1] for i in range(n - 1)], np.uint32)
    return osteoid.Skeleton(
        vertices, edges, radii=np.arange(n, dtype=np.float32), segid=object_id, space="physical"
    )


def test_nodes_parents_and_radii(run_step, tmp_path: Path) -> None:
    run_step(SaveSwc(output_prefix=str(tmp_path)), skels={7: line(4)})
    text = (tmp_path / "7.swc").read_text()
    rows = [
        [float(v) for v in row.split()]
        for row in text.splitlines()
        if row and not row.startswith("#")
    ]
    place = {row[0]: tuple(row[2:5]) for row in rows}
    assert sorted(place.values()) == [(10 * i, 0, 5) for i in range(4)]
    assert {p[0]: row[5] for row in rows for p in [row[2:5]]} == {0: 0, 10: 1, 20: 2, 30: 3}
    linked = {frozenset((place[row[0]][0], place[row[6]][0])) for row in rows if row[6] != -1}
    assert linked == {frozenset((10 * i, 10 * i + 10)) for i in range(3)}


def test_files_of_the_same_object_in_other_boxes_are_not_overwritten(
    run_step, tmp_path: Path
) -> None:
    for z in (0, 1):
        run_step(
            SaveSwc(output_prefix=f"{tmp_path}/"),
            bbox=BoundingBox.parse(f"{z}-{z + 1}_0-9_0-9"),
            skels={7: line(2)},
        )
    assert {p.name for p in tmp_path.iterdir()} == {"7_0-1_0-9_0-9.swc", "7_1-2_0-9_0-9.swc"}


def test_other_values_than_skeletons_are_refused(run_step, tmp_path: Path) -> None:
    with pytest.raises(ChunkflowError, match="mapping of ids to skeletons"):
        run_step(SaveSwc(output_prefix=str(tmp_path)), skels=[line(2)])
