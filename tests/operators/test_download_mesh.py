"""download-mesh"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmesh
from cloudvolume import CloudVolume

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.download_mesh import DownloadMesh
from chunkflow_worker.operators.mesh import Mesh
from chunkflow_worker.operators.mesh_manifest import MeshManifest
from chunkflow_worker.operators.mesh_multires import MeshMultires
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from tests.support.web_server import web_server


def run(operator: Any, task: Task | None = None, dry_run: bool = False) -> None:
    with operator.open(Run(needed_box=lambda b, _: b, dry_run=dry_run)) as step:
        step(task or Task())


def cubes() -> np.ndarray:
    array = np.zeros((8, 16, 32), np.uint32)
    for object_id, x in ((5, 2), (6, 10), (77, 20)):
        array[2:7, 4:12, x : x + 6] = object_id
    return array


@pytest.fixture
def meshes(tmp_path: Path, volume: Any) -> str:
    """A volume with meshes of three cubes. The boxes cut through the cubes."""
    stored = volume("seg", cubes(), layer_type="segmentation")
    whole = Chunk(cubes(), Vec3(0, 0, 0), (40, 8, 8), "segmentation", stored.bounds)
    operator = Mesh(output_path=stored.path, mip=0, simplification_factor=0)
    for box in stored.bounds.split(Vec3(8, 7, 13)):
        run(operator, Task(box, {"chunk": whole.cutout(operator.input_box(box, stored.bounds))}))
    run(MeshManifest(volume_path=stored.path))
    return str(stored.path)


def test_writes_the_meshes_of_the_given_ids(tmp_path: Path, meshes: str) -> None:
    """Named defect of the peer: download-mesh yielded nothing."""
    run(DownloadMesh(volume_path=meshes, input="5, 77", out_pre=f"{tmp_path}/out_"))
    assert sorted(p.name for p in tmp_path.glob("out_*")) == ["out_5.ply", "out_77.ply"]
    mesh = zmesh.Mesh.from_ply((tmp_path / "out_77.ply").read_bytes())
    assert mesh.vertices.min(axis=0).tolist() == [160, 32, 80]
    assert mesh.vertices.max(axis=0).tolist() == [208, 96, 280]
    alone = zmesh.Mesher((8, 8, 40))
    alone.mesh((cubes() == 77).transpose())
    expected = alone.get(1, voxel_centered=True)
    assert len(mesh.faces) == len(expected.faces)  # merged where the boxes meet
    assert np.array_equal(np.unique(mesh.vertices, axis=0), np.unique(expected.vertices, axis=0))


def test_reads_a_folder_of_meshes_and_writes_obj(tmp_path: Path, meshes: str) -> None:
    run(
        DownloadMesh(
            volume_path=f"{meshes}/mesh_mip_0_err_40/",
            input="6",
            out_pre=str(tmp_path),
            out_format="obj",
        )
    )
    mesh = zmesh.Mesh.from_obj((tmp_path / "6.obj").read_text())
    expected = CloudVolume(meshes).mesh.get(6)
    assert np.allclose(mesh.vertices, expected.vertices)
    assert np.array_equal(mesh.faces, expected.faces)


@pytest.mark.parametrize("kind", ["txt", "json", "npy"])
def test_ids_from_a_file_and_their_ranks(tmp_path: Path, meshes: str, kind: str) -> None:
    path, ids = tmp_path / f"ids.{kind}", [77, 5, 6]
    if kind == "npy":
        np.save(path, np.array(ids))
    else:
        path.write_text(json.dumps(ids) if kind == "json" else "77\n5\n6\n")
    out = tmp_path / "out"
    out.mkdir()
    run(
        DownloadMesh(
            volume_path=meshes, input=str(path), start_rank=1, stop_rank=3, out_pre=str(out)
        )
    )
    assert sorted(p.name for p in out.iterdir()) == ["5.ply", "6.ply"]


def test_the_largest_objects_of_a_segmentation(tmp_path: Path, meshes: str) -> None:
    seg = cubes()
    seg[:, :, 0] = 4  # 128 voxels, fewer than the 240 of each cube
    seg[0, 0, 31] = 6
    chunk = Chunk(seg, layer_type="segmentation")
    operator = DownloadMesh(
        volume_path=meshes, input="cells-1", stop_rank=2, out_pre=f"{tmp_path}/"
    )
    assert operator.reads() == ("cells-1",)
    run(operator, Task(chunk.bbox, {"cells-1": chunk}))
    assert sorted(p.name for p in tmp_path.glob("*.ply")) == ["5.ply", "6.ply"]
    run(
        operator.model_copy(update={"start_rank": 2, "stop_rank": 3}),
        Task(chunk.bbox, {"cells-1": chunk}),
    )
    assert (tmp_path / "77.ply").exists()


def test_missing_meshes_and_wrong_options_are_errors(tmp_path: Path, meshes: str) -> None:
    with pytest.raises(DataMissing, match="object 99"):
        run(DownloadMesh(volume_path=meshes, input="99", out_pre=str(tmp_path)))
    next(Path(meshes.removeprefix("file://")).glob("mesh_mip_0_err_40/5:0:*")).unlink()
    with pytest.raises(DataMissing, match="object 5"):
        run(DownloadMesh(volume_path=meshes, input="5", out_pre=str(tmp_path)))
    with pytest.raises(DataMissing, match="no file"):
        run(DownloadMesh(volume_path=meshes, input="ids.txt", out_pre=str(tmp_path)))
    (tmp_path / "words.txt").write_text("one, two")
    with pytest.raises(DataMissing, match="object ids"):
        run(
            DownloadMesh(
                volume_path=meshes, input=str(tmp_path / "words.txt"), out_pre=str(tmp_path)
            )
        )
    with pytest.raises(ConfigError, match="ranks"):
        run(DownloadMesh(volume_path=meshes, input="5", start_rank=1))
    with pytest.raises(ConfigError, match="not to a box"):
        run(DownloadMesh(volume_path=meshes, input="6"), Task(BoundingBox.parse("0-1_0-1_0-1")))
    assert not list(tmp_path.glob("*.ply"))


def test_of_a_shard_only_the_index_and_the_mesh_are_read(tmp_path: Path, meshes: str) -> None:
    run(MeshMultires(volume_path=meshes, sharded=True))
    (shard,) = Path(meshes.removeprefix("file://")).glob("*/*.shard")
    with shard.open("r+b") as file:
        content = file.read()
        start = content.index(b"DRACO")
        file.seek(start)
        file.write(bytes(50))  # the first mesh is spoilt, and the reader of another never sees it
    read = []
    for object_id in (5, 6, 77):
        try:
            run(DownloadMesh(volume_path=meshes, input=str(object_id), out_pre=f"{tmp_path}/"))
            read.append(object_id)
        except DataMissing:
            continue
    assert len(read) == 2
    with web_server(Path(meshes.removeprefix("file://"))) as server:
        run(DownloadMesh(volume_path=server.address, input=str(read[0]), out_pre=f"{tmp_path}/a_"))
    assert server.sent[f"mesh_mip_0_err_40_multires/{shard.name}"] < len(content) / 2
    mesh = zmesh.Mesh.from_ply((tmp_path / f"a_{read[0]}.ply").read_bytes())
    assert len(mesh.faces) > 100


def test_a_mesh_that_no_shard_holds_and_a_lost_shard_are_errors(
    tmp_path: Path, meshes: str
) -> None:
    run(MeshMultires(volume_path=meshes, sharded=True))
    with pytest.raises(DataMissing, match="no whole mesh of object 99") as raised:
        run(DownloadMesh(volume_path=meshes, input="99", out_pre=str(tmp_path)))
    assert "manifests of the fragments" not in str(raised.value)
    (shard,) = Path(meshes.removeprefix("file://")).glob("*/*.shard")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DataMissing, match="no whole mesh of object 5"):
        run(DownloadMesh(volume_path=meshes, input="5", out_pre=str(tmp_path)))
    shard.unlink()
    with pytest.raises(DataMissing, match="no whole mesh of object 5"):
        run(DownloadMesh(volume_path=meshes, input="5", out_pre=str(tmp_path)))


def test_meshes_with_a_spatial_index_are_read_from_their_folder_alone(
    tmp_path: Path, meshes: str
) -> None:
    """The index lies in the bounds of a mip, which a folder of meshes does not know."""
    run(MeshMultires(volume_path=meshes, sharded=True))
    (shard,) = Path(meshes.removeprefix("file://")).glob("*/*.shard")
    info = json.loads((shard.parent / "info").read_text())
    index = {"mip": 3, "spatial_index": {"resolution": [64, 64, 40], "chunk_size": [640, 640, 400]}}
    (shard.parent / "info").write_text(json.dumps(info | index))
    run(DownloadMesh(volume_path=str(shard.parent), input="5", out_pre=f"{tmp_path}/"))
    assert (tmp_path / "5.ply").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path, meshes: str) -> None:
    run(DownloadMesh(volume_path=meshes, input="5", out_pre=f"{tmp_path}/"), dry_run=True)
    assert not list(tmp_path.glob("*.ply"))
