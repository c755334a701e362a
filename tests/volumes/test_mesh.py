"""Folders of meshes, and their fragments; tests/operators has meshes of whole objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmesh

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.mesh import (
    MeshSource,
    fragment_folder,
    mesh_folder,
    set_mesh_folder,
)
from tests.support.sample import VOXEL_SIZE, make


@pytest.fixture
def volume(tmp_path: Path) -> Files:
    return Files(make(f"file://{tmp_path}/seg", "uint64").path)


def named(volume: Files) -> Any:
    return volume.get_json("info").get("mesh")


def test_the_folder_of_meshes_is_the_one_that_the_info_names(volume: Files) -> None:
    with pytest.raises(
        ConfigError, match=r"seg: info: names no folder of meshes\n.*write the meshes"
    ):
        mesh_folder(volume.path)
    volume.put_json("info", volume.get_json("info") | {"mesh": "meshes"})
    assert mesh_folder(volume.path) == f"{volume.path}/meshes"


def test_a_path_that_is_no_volume_is_a_folder_of_meshes(volume: Files) -> None:
    folder = f"{volume.path}/meshes/"
    assert mesh_folder(folder) == f"{volume.path}/meshes"
    Files(folder).put_json("info", {"@type": "neuroglancer_legacy_mesh"})
    assert mesh_folder(folder) == f"{volume.path}/meshes"


def test_a_folder_of_fragments_is_named_once(volume: Files) -> None:
    expected = (f"{volume.path}/first", VOXEL_SIZE)
    assert fragment_folder(volume.path, 0, "first", write=False) == expected
    assert named(volume) is None
    assert fragment_folder(volume.path, 0, "first", write=True) == expected
    assert named(volume) == "first"
    assert fragment_folder(volume.path, 0, "second", write=True) == expected
    assert named(volume) == "first"
    with pytest.raises(ConfigError, match=r"mip: 1 does not exist\n +the volume has mip 0 alone"):
        fragment_folder(volume.path, 1, "first", write=False)


def test_fragments_stay_beside_the_meshes_of_several_resolutions(volume: Files) -> None:
    set_mesh_folder(volume.path, f"{volume.path}/meshes_multires")
    assert named(volume) == "meshes_multires"
    assert fragment_folder(volume.path, 0, "x", write=False)[0] == f"{volume.path}/meshes"


def test_without_a_volume_no_info_is_written(tmp_path: Path) -> None:
    set_mesh_folder(f"{tmp_path}/none", f"{tmp_path}/none/meshes")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("of_volume", [True, False])
def test_meshes_are_read_in_nanometres(volume: Files, of_volume: bool) -> None:
    mesher = zmesh.Mesher((8, 8, 40))
    ids = np.zeros((6, 6, 6), np.uint32)
    ids[1:4, 2:5, 2:3] = 7
    mesher.mesh(ids)
    mesh = mesher.get(7, voxel_centered=True)
    folder = f"{volume.path}/meshes"
    files = Files(folder)
    files.put("7:0:0-6_0-6_0-6", mesh.to_precomputed(), "application/octet-stream")
    files.put_json("7:0", {"fragments": ["7:0:0-6_0-6_0-6"]})
    set_mesh_folder(volume.path, folder)

    source = MeshSource(volume.path if of_volume else folder)
    assert source.path == folder
    read = source.read(7)
    assert read.vertices.min(axis=0).tolist() == [8, 16, 80]
    assert read.vertices.max(axis=0).tolist() == [32, 40, 120]
    assert len(read.faces) == len(mesh.faces)
    with pytest.raises(
        DataMissing, match=r"meshes has no whole mesh of object 8: .*write the manifests"
    ):
        source.read(8)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", ".."])
def test_fragments_out_of_the_folder_are_refused(volume: Files, name: str) -> None:
    volume.put_json("info", volume.get_json("info") | {"mesh": "meshes"})
    meshes = Files(f"{volume.path}/meshes")
    meshes.put_json("info", {"@type": "neuroglancer_legacy_mesh"})
    meshes.put_json("7:0", {"fragments": [name]})
    with pytest.raises(ConfigError, match=r"meshes/7:0: fragments: .* leads out of the volume"):
        MeshSource(volume.path).read(7)


def test_a_folder_of_meshes_out_of_the_volume_is_refused(volume: Files) -> None:
    volume.put_json("info", volume.get_json("info") | {"mesh": "../other"})
    with pytest.raises(ConfigError, match=r"info: mesh: '../other' leads out of the volume"):
        mesh_folder(volume.path)
