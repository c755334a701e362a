from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.load_synapses import LoadSynapses
from chunkflow_worker.report.once import forget_warnings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three synapses of a box, in xyz; the last is outside."""
    path = tmp_path / "syn-0-10_0-10_0-10.h5"
    with h5py.File(path, "w") as h5:
        h5["pre"] = [[1, 2, 3], [9, 8, 7], [10, 1, 1]]
        h5["post"] = [[0, 4, 5, 6], [2, 1, 1, 1], [1, 99, 0, 1]]
        h5["resolution"] = [4, 4, 40]
    return path


def test_f_order_reverses_pre_post_and_resolution(run_step, file: Path) -> None:
    made = run_step(LoadSynapses(file_path=str(file), c_order=False)).values["syns"]
    assert made.pre.tolist() == [[3, 2, 1], [7, 8, 9], [1, 1, 10]]
    assert made.post.tolist() == [[6, 5, 4], [1, 1, 1], [1, 0, 99]]
    assert made.parents.tolist() == [0, 2, 1]
    assert made.voxel_size == (40, 4, 4)


def test_synapses_outside_the_box_are_removed_with_their_post_sites(run_step, file: Path) -> None:
    task = run_step(
        LoadSynapses(file_path=str(file), c_order=False, set_bbox=True, remove_outside=True)
    )
    assert task.bbox == BoundingBox.parse("0-10_0-10_0-10")
    assert task.values["syns"].pre.tolist() == [[3, 2, 1], [7, 8, 9]]
    assert task.values["syns"].parents.tolist() == [0, 1]
    assert task.values["syns"].post.tolist() == [[6, 5, 4], [1, 0, 99]]


def test_an_empty_file_and_older_json(run_step, tmp_path: Path) -> None:
    (tmp_path / "0-1_0-1_0-1.h5").touch()
    box = BoundingBox.parse("0-1_0-1_0-1")
    empty = run_step(LoadSynapses(file_path=f"{tmp_path}/"), bbox=box).values["syns"]
    assert len(empty.pre) == 0
    old = {
        "order": ["z", "y", "x"],
        "1": {"coord": [1, 2, 3], "postsynapses": [[4, 5, 6]]},
        "2": {"coord": [7, 8, 9]},
    }
    (tmp_path / "old.json").write_text(json.dumps(old))
    made = run_step(LoadSynapses(file_path=f"{tmp_path}/old.json")).values["syns"]
    assert (made.pre.tolist(), made.post.tolist()) == ([[1, 2, 3], [7, 8, 9]], [[4, 5, 6]])


def test_suffix_resolution_and_name(run_step, file: Path, tmp_path: Path) -> None:
    box = BoundingBox.parse("0-10_0-10_0-10")
    file.rename(tmp_path / f"syn-{box}_post.h5")
    options = {
        "file_path": f"{tmp_path}/syn-",
        "suffix": "_post.h5",
        "resolution": (30, 5, 6),
        "output_name": "found",
    }
    task = run_step(LoadSynapses(**options), bbox=box)
    assert list(task.values) == ["found"]
    assert task.values["found"].voxel_size == (30, 5, 6)


def test_wrong_files_and_options_are_refused(run_step, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ChunkflowError, match="add --set-bbox"):
        run_step(LoadSynapses(file_path=str(file), remove_outside=True))
    (tmp_path / "bad.json").write_text('{"pre": [[1, 2]]}')
    with pytest.raises(ChunkflowError, match=r"bad.json: synapses: pre has the shape \(1, 2\)"):
        run_step(LoadSynapses(file_path=f"{tmp_path}/bad.json"))
    with pytest.raises(ChunkflowError, match="there is no box in the name"):
        run_step(LoadSynapses(file_path=f"{tmp_path}/bad.json", set_bbox=True))


@pytest.mark.parametrize(
    ("options", "order"),
    [({}, None), ({"c_order": False}, None), ({}, ["x", "y", "z"]), ({}, ["z", "y", "x"])],
)
def test_the_resolution_is_zyx_whatever_the_order_of_the_file(
    run_step,
    tmp_path: Path,
    options: dict[str, bool],
    order: list[str] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """chunkflow took it in the order of the file."""
    forget_warnings()
    content = {"1": {"coord": [1, 2, 3]}} | ({"order": order} if order else {})
    (tmp_path / "s.json").write_text(json.dumps(content))
    load = LoadSynapses(file_path=f"{tmp_path}/s.json", resolution=(40, 8, 4), **options)
    made = run_step(load).values["syns"]
    is_xyz = options == {"c_order": False} or order == ["x", "y", "z"]
    assert made.voxel_size == (40, 8, 4)
    assert made.pre.tolist() == [[3, 2, 1] if is_xyz else [1, 2, 3]]
    told = [r.getMessage() for r in caplog.records]
    assert told == (
        [
            "--resolution 40 8 4 is taken as z y x, although the positions in the file are x y z",
        ]
        if is_xyz
        else []
    )
