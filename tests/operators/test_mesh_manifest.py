"""mesh-manifest"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zmesh
from cloudvolume import CloudVolume
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.chunk import Chunk
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.operator import Run
from chunkflow_worker.operators.mesh import Mesh
from chunkflow_worker.operators.mesh_manifest import MeshManifest
from chunkflow_worker.task import Task

FIB25 = Path(os.environ.get("CHUNKFLOW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "fib25"


def run(operator: MeshManifest, dry_run: bool = False, box: BoundingBox | None = None) -> None:
    with operator.open(Run(needed_box=lambda b, _: b, dry_run=dry_run)) as step:
        step(Task(box))


def make(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"mesh")


def manifests(folder: Path) -> dict[str, Any]:
    return {p.name: json.loads(p.read_text()) for p in sorted(folder.iterdir()) if p.name.endswith(":0")}


def test_each_object_gets_the_names_of_its_fragments_alone(tmp_path: Path) -> None:
    make(tmp_path, "7:0:0-4_0-4_0-4", "7:0:4-8_0-4_0-4", "70:0:0-4_0-4_0-4", "0-4_0-4_0-4.spatial")
    (tmp_path / "info").write_text("{}")
    for _ in range(2):  # its own files are no fragments
        run(MeshManifest(volume_path=str(tmp_path)))
        assert manifests(tmp_path) == {
            "7:0": {"fragments": ["7:0:0-4_0-4_0-4", "7:0:4-8_0-4_0-4"]},
            "70:0": {"fragments": ["70:0:0-4_0-4_0-4"]},
        }


@settings(max_examples=20, deadline=None)
@given(ids=st.sets(st.integers(1, 3000), max_size=12), digits=st.integers(1, 2))
def test_the_prefixes_name_each_object_exactly_once(tmp_path_factory, ids: set[int], digits: int) -> None:
    folder = tmp_path_factory.mktemp("meshes")
    make(folder, *(f"{i}:0:0-1_0-1_0-1" for i in ids))
    done: list[str] = []
    for prefix in range(10**digits):
        run(MeshManifest(volume_path=str(folder), prefix=prefix, digits=digits))
        done += manifests(folder)
        for name in manifests(folder):
            (folder / name).unlink()
    assert sorted(done) == sorted(f"{i}:0" for i in ids)


def test_disbatch_gives_the_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "7:0:a", "70:0:a", "8:0:a")
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "07")
    run(MeshManifest(volume_path=str(tmp_path), disbatch=True))
    assert sorted(manifests(tmp_path)) == ["70:0", "7:0"]
    monkeypatch.delenv("DISBATCH_REPEAT_INDEX")
    with pytest.raises(ConfigError, match="DISBATCH_REPEAT_INDEX"):
        run(MeshManifest(volume_path=str(tmp_path), disbatch=True))
    with pytest.raises(ValidationError, match="say the same"):
        MeshManifest(volume_path="x", disbatch=True, prefix=1)


def test_a_box_and_a_volume_without_meshes_are_refused(tmp_path: Path, volume: Any) -> None:
    with pytest.raises(ConfigError, match="all boxes"):
        run(MeshManifest(volume_path=str(tmp_path)), box=BoundingBox.parse("0-1_0-1_0-1"))
    stored = volume("seg", np.zeros((8, 16, 16), np.uint32), layer_type="segmentation")
    with pytest.raises(ConfigError, match="names no folder"):
        run(MeshManifest(volume_path=stored.path))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    make(tmp_path, "7:0:a")
    run(MeshManifest(volume_path=str(tmp_path)), dry_run=True)
    assert manifests(tmp_path) == {}


@pytest.mark.skipif(not FIB25.is_dir(), reason="needs the real volume of FIB-25: set CHUNKFLOW_TEST_DATA")
def test_cloudvolume_reads_neurons_of_fib25_whole(tmp_path: Path, volume: Any) -> None:
    with h5py.File(FIB25 / "training_sample2.h5") as file:
        array = file["groundtruth_bodies"][60:108, 60:108, 60:108]
    stored = volume(
        "seg", array, offset=(60, 60, 60), layer_type="segmentation", voxel_size=(10, 10, 10), block_size=Vec3(16, 16, 16)
    )
    whole = Chunk(array, stored.bounds.start, (10, 10, 10), "segmentation", stored.bounds)
    operator = Mesh(output_path=stored.path, mip=0, simplification_factor=0)
    with operator.open(Run(needed_box=lambda b, _: b)) as step:
        for box in stored.bounds.split(Vec3(48, 24, 24)):
            step(Task(box, {"chunk": whole.cutout(operator.context(box, stored.bounds))}))
    run(MeshManifest(volume_path=stored.path))
    ids, counts = np.unique(array[array > 0], return_counts=True)
    object_id = int(ids[np.argmax(counts)])
    mesh = CloudVolume(stored.path).mesh.get(object_id)
    alone = zmesh.Mesher((10, 10, 10))
    alone.mesh(np.pad(array == object_id, 1).transpose())
    expected = alone.get(1, voxel_centered=True).vertices + 590
    assert np.array_equal(np.unique(mesh.vertices, axis=0), np.unique(expected, axis=0))
