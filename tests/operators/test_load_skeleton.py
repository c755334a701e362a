from __future__ import annotations

from pathlib import Path

import numpy as np
import osteoid
import pytest

from chunkflow_worker.errors import ChunkflowError, ConfigError, DataMissing
from chunkflow_worker.operators.aggregate_skeleton_fragments import AggregateSkeletonFragments
from chunkflow_worker.operators.load_skeleton import LoadSkeleton
from chunkflow_worker.volumes.mesh import set_skeleton_folder
from tests.support.damage import truncate

SWC = "# made by hand\n1 0 0.0 0.0  5.0 1.5 -1\n2 0 10.0 0.0 5.0 2.5 1\n3 0 20.0 0.0 5.0 3.5 2\n"


def test_reads_a_skeleton(run_step, tmp_path: Path) -> None:
    """Named defect of the peer: load-skeleton failed on import."""
    (tmp_path / "42.swc").write_text(SWC)
    skeleton = run_step(LoadSkeleton(path=str(tmp_path / "42.swc"))).values["skels"][42]
    assert sorted(skeleton.vertices.tolist()) == [[0, 0, 5], [10, 0, 5], [20, 0, 5]]
    assert len(skeleton.edges) == 2
    assert sorted(skeleton.radius.tolist()) == [1.5, 2.5, 3.5]


def test_offsets_are_zyx(run_step, tmp_path: Path) -> None:
    (tmp_path / "42.swc").write_text(SWC)
    for given in ({"offset": (100, 10, 1)}, {"voxel_offset": (10, 5, 1), "voxel_size": (10, 2, 1)}):
        skeleton = run_step(LoadSkeleton(path=str(tmp_path), **given)).values["skels"][42]
        assert sorted(skeleton.vertices.tolist()) == [[1, 10, 105], [11, 10, 105], [21, 10, 105]]


def test_files_of_one_object_become_one_skeleton(run_step, tmp_path: Path) -> None:
    (tmp_path / "42_0-1_0-9_0-9.swc").write_text(SWC)
    (tmp_path / "42_1-2_0-9_0-9.swc").write_text(SWC.replace("0.0  5.0", "7.0  5.0"))
    (tmp_path / "43.swc").write_text(SWC)
    made = run_step(LoadSkeleton(path=str(tmp_path))).values["skels"]
    assert list(made) == [42, 43]
    assert len(made[42].vertices) == 4, "the two files share one node"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("1 0 0 0", "the row '1 0 0 0' has 4 numbers, and SWC has 7"),
        ("1 0 0 0 0 1 7", "the parent 7 of its node 1 is missing"),
        ("1 0 x 0 0 1 -1", "it has 'x' where a number belongs"),
        ("one 0 0 0 0 1 -1", "it has 'one' where a number belongs"),
    ],
)
def test_rows_that_are_no_nodes_are_named(
    run_step, tmp_path: Path, rows: str, problem: str
) -> None:
    (tmp_path / "42.swc").write_text(f"# by hand\n{rows}\n")
    with pytest.raises(ChunkflowError, match=problem):
        run_step(LoadSkeleton(path=str(tmp_path)))


def test_wrong_files_and_options_are_refused(run_step, tmp_path: Path) -> None:
    with pytest.raises(ChunkflowError, match="no SWC files"):
        run_step(LoadSkeleton(path=str(tmp_path)))
    (tmp_path / "cell.swc").write_text(SWC)
    with pytest.raises(ChunkflowError, match="does not begin with an object's id"):
        run_step(LoadSkeleton(path=str(tmp_path)))
    with pytest.raises(ValueError, match="give both"):
        LoadSkeleton(path="x", voxel_offset=(1, 2, 3))
    with pytest.raises(ValueError, match="give path, or volume_path with ids"):
        LoadSkeleton()
    with pytest.raises(ValueError, match="volume_path and ids need each other"):
        LoadSkeleton(volume_path="seg")
    with pytest.raises(ValueError, match="object ids separated by commas"):
        LoadSkeleton(volume_path="seg", ids="all")


@pytest.fixture(params=[False, True], ids=["files", "shards"])
def skeletons(request: pytest.FixtureRequest, tmp_path: Path, run_step, volume) -> str:
    """A volume with the skeletons 5 and 70, written as files or in shards."""
    path = volume("seg", np.zeros((4, 4, 4), np.uint32), layer_type="segmentation").path
    fragments = tmp_path / "seg" / "fragments"
    fragments.mkdir()
    for object_id in (5, 70):
        nodes = np.array([(0, 0, object_id), (4000, 0, object_id)], np.float32)
        edges = np.array([(0, 1)], np.uint32)
        line = osteoid.Skeleton(nodes, edges, np.full(2, 50, np.float32), space="physical")
        (fragments / f"{object_id}:0").write_bytes(line.to_precomputed())
    out = f"{path}/skeletons"
    run_step(
        AggregateSkeletonFragments(
            fragments_path=f"{path}/fragments", output_path=out, sharded=request.param
        )
    )
    if not request.param:  # as shards do it by themselves
        set_skeleton_folder(out)
    return path


@pytest.mark.parametrize("name", ["", "/skeletons"])
def test_skeletons_of_a_volume_are_read(run_step, skeletons: str, name: str) -> None:
    load = LoadSkeleton(volume_path=f"{skeletons}{name}", ids="70,5", offset=(1, 0, 0))
    made = run_step(load).values["skels"]
    assert list(made) == [5, 70]
    for object_id, skeleton in made.items():
        places = sorted(skeleton.vertices.tolist())
        assert places == [[0, 0, object_id + 1], [4000, 0, object_id + 1]]
        assert len(skeleton.edges) == 1
        assert skeleton.radius.tolist() == [50, 50]


def test_an_object_without_a_skeleton_is_told(run_step, skeletons: str) -> None:
    with pytest.raises(DataMissing, match="has no whole skeleton of object 6: "):
        run_step(LoadSkeleton(volume_path=skeletons, ids="6"))
    for file in Path(f"{skeletons}/skeletons".removeprefix("file://")).iterdir():
        if file.name != "info":
            truncate(0.5)(file)
    with pytest.raises(ChunkflowError, match="no whole skeleton of object 5"):
        run_step(LoadSkeleton(volume_path=skeletons, ids="5"))


def test_a_volume_that_names_no_skeletons_is_told(run_step, volume) -> None:
    path = volume("seg", np.zeros((4, 4, 4), np.uint32), layer_type="segmentation").path
    with pytest.raises(ConfigError, match="names no folder of skeletons"):
        run_step(LoadSkeleton(volume_path=path, ids="5"))
