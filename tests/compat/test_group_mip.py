"""`chunkflow --mip`: the mip of operators that chunkflow 1.2.0 gave it to, and of no other."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from cloudvolume import CloudVolume

from chunkflow_worker.cli.chunkflow import Chain, cli
from chunkflow_worker.config.catalog import operator_names
from chunkflow_worker.pipeline.operator import Operator, find_operator

# An operator and the options that it needs -> the mip of its own, without the group's.
TAKE_IT = {
    "generate-tasks -c 1 1 1": None,
    "load-precomputed -v file://v": None,
    "load-volume -v file://v": None,
    "save-volume -v file://v": None,
    "save-precomputed -v file://v": None,
    "save-zarr -s file://z": None,
    "downsample-upload -v file://v": None,
    "mesh": None,
}
HAVE_THEIR_OWN = {
    "mask -v file://v": 5,
    "setup-env -l file://v --volume-start 0 0 0 -s 256 2048 2048 -z 16 128 128": 0,
    "skip-task-by-blocks-in-volume -v file://v": 0,
}


def parse(line: str) -> list[Operator]:
    chain = Chain("chunkflow", chain=True, params=cli.params)
    operators: list[Operator] = chain.main(line.split(), "chunkflow", standalone_mode=False)
    return operators


def run(line: str) -> None:
    done = CliRunner().invoke(cli, line.split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_every_operator_with_a_mip_is_listed() -> None:
    listed = {line.split()[0] for line in (*TAKE_IT, *HAVE_THEIR_OWN)}
    assert listed == {
        name for name in operator_names() if "mip" in find_operator(name).model_fields
    }


@pytest.mark.parametrize(("line", "own"), TAKE_IT.items())
def test_an_operator_without_a_mip_takes_the_one_of_the_group(line: str, own: int | None) -> None:
    assert [getattr(o, "mip", own) for o in parse(line)] == [own]
    assert [getattr(o, "mip", own) for o in parse(f"--mip 0 {line}")] == [0]
    assert [getattr(o, "mip", own) for o in parse(f"-m 2 {line}")] == [2]
    assert [getattr(o, "mip", own) for o in parse(f"--mip 2 {line} --mip 1")] == [1]


@pytest.mark.parametrize(("line", "own"), HAVE_THEIR_OWN.items())
@pytest.mark.parametrize("group", ["", "--mip 0", "--mip 2"])
def test_an_operator_with_a_mip_of_its_own_keeps_it(group: str, line: str, own: int) -> None:
    assert [getattr(o, "mip", None) for o in parse(f"{group} {line}")] == [own]


@pytest.fixture
def seg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A segmentation in s.h5, and the volume seg with two mips that holds it."""
    monkeypatch.chdir(tmp_path)
    array = np.zeros((16, 64, 64), np.uint32)
    array[4:12, 8:40, 8:40] = 3
    with h5py.File("s.h5", "w") as file:
        file["main"] = array
    run(
        "create-info -v file://seg -z 16 64 64 -b 8 32 32 -s 40 8 8 -t segmentation -d uint32 "
        "--max-mip 1"
    )
    run("load-h5 -f s.h5 -x 40 8 8 downsample-upload -v file://seg -s 0 -p 2")
    return tmp_path


@pytest.mark.parametrize(("group", "mip"), [("", 0), ("--mip 0", 0), ("--mip 1", 1)])
def test_meshes_of_a_volume_are_found_by_cloudvolume(seg: Path, group: str, mip: int) -> None:
    run(f"{group} load-precomputed -v file://seg mesh -o file://seg -f 0")
    run("mesh-manifest -v file://seg -p 3")
    assert json.loads((seg / "seg/info").read_text())["mesh"] == f"mesh_mip_{mip}_err_40"
    mesh = CloudVolume(f"file://{seg}/seg").mesh.get(3)
    assert mesh.vertices.min(axis=0).tolist() == pytest.approx([64, 64, 160], abs=80)
    assert mesh.vertices.max(axis=0).tolist() == pytest.approx([320, 320, 480], abs=80)


@pytest.mark.parametrize("kind", ["ply", "obj"])
@pytest.mark.parametrize("group", ["", "--mip 0", "--mip 1"])
def test_files_of_meshes_need_no_volume(seg: Path, group: str, kind: str) -> None:
    run(f"{group} load-precomputed -v file://seg mesh -t {kind} -o file://{seg}/meshes")
    assert [path.suffix for path in (seg / "meshes").iterdir()] == [f".{kind}"]


def test_the_mip_of_the_group_is_that_of_a_chunk_without_voxel_size(seg: Path) -> None:
    run("create-info -v file://new -z 16 64 64 -b 2 8 8 -s 40 8 8 -t segmentation -d uint32 -m 3")
    with h5py.File("mip1.h5", "w") as file:
        file["main"] = np.full((8, 32, 32), 7, np.uint32)
    run("--mip 1 load-h5 -f mip1.h5 downsample-upload -v file://new -p 3")
    assert (CloudVolume(f"file://{seg}/new", mip=2)[:] == 7).all()
    assert not (seg / "new/16_16_80").exists()
