"""mesh"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmesh
from cloudvolume import CloudVolume
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.mesh import Mesh
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task

SIZE = (40.0, 8.0, 8.0)


def run(
    operator: Mesh, chunk: Chunk, box: BoundingBox | None = None, dry_run: bool = False
) -> Task:
    task = Task(box, {"chunk": chunk})
    with operator.open(Run(needed_box=lambda b, _: b, dry_run=dry_run)) as step:
        step(task)
    return task


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != "info")


def fragments(folder: Path, object_id: int) -> list[zmesh.Mesh]:
    return [
        zmesh.Mesh.from_precomputed((folder / n).read_bytes())
        for n in names(folder)
        if n.startswith(f"{object_id}:0:")
    ]


def volume_of(mesh: Any) -> float:
    """Volume inside a closed surface, by the divergence theorem."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def is_closed(mesh: Any) -> bool:
    """Each edge occurs equally often in both directions."""
    _, faces = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = faces.reshape(-1)[mesh.faces.astype(np.int64)]
    n = int(faces.max()) + 1
    ahead = np.concatenate([faces[:, i] * n + faces[:, (i + 1) % 3] for i in range(3)])
    back = np.concatenate([faces[:, (i + 1) % 3] * n + faces[:, i] for i in range(3)])
    return bool(np.array_equal(np.sort(ahead), np.sort(back)))


def test_the_mesh_of_a_cube_has_its_bounds_and_volume_in_nanometres(tmp_path: Path) -> None:
    array = np.zeros((12, 14, 16), np.uint32)
    array[2:9, 3:10, 5:12] = 42
    run(
        Mesh(output_path=str(tmp_path), simplification_factor=0),
        Chunk(array, Vec3(100, -20, 30), SIZE),
    )
    assert names(tmp_path) == ["42:0:30-46_-20--6_100-112"]
    (mesh,) = fragments(tmp_path, 42)
    assert mesh.vertices.min(axis=0).tolist() == [35 * 8, -17 * 8, 102 * 40]
    assert mesh.vertices.max(axis=0).tolist() == [42 * 8, -10 * 8, 109 * 40]
    assert is_closed(mesh)
    inner = 7 - 1  # marching cubes cuts off the edges and corners of the cube
    expected = inner**3 + 6 * inner**2 / 2 + 12 * inner / 8 + 8 / 48
    assert volume_of(mesh) == pytest.approx(expected * 40 * 8 * 8, rel=1e-6)


def test_the_voxel_size_option_overrides_that_of_the_chunk(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), np.uint8)
    array[1:3, 1:4, 1:5] = 1
    run(
        Mesh(output_path=str(tmp_path), simplification_factor=0, voxel_size=(30, 5, 10)),
        Chunk(array, voxel_size=SIZE),
    )
    (mesh,) = fragments(tmp_path, 1)
    assert mesh.vertices.max(axis=0).tolist() == [5 * 10, 4 * 5, 3 * 30]


def test_simplification_keeps_the_cube_within_its_error(tmp_path: Path) -> None:
    array = np.zeros((30, 30, 30), np.uint8)
    array[5:25, 5:25, 5:25] = 1
    run(
        Mesh(output_path=str(tmp_path), max_simplification_error=4),
        Chunk(array, voxel_size=(8, 8, 8)),
    )
    (mesh,) = fragments(tmp_path, 1)
    assert len(mesh.faces) < 20 * 20 * 6  # about 2 * 20 * 20 * 6 without simplification
    assert np.abs(mesh.vertices.min(axis=0) - 40).max() <= 4
    assert np.abs(mesh.vertices.max(axis=0) - 200).max() <= 4
    assert volume_of(mesh) == pytest.approx(160**3, rel=0.03)


def test_the_surface_matches_skimage(tmp_path: Path) -> None:
    from_centre = np.mgrid[:20, :22, :24] - np.array([9.2, 10.7, 12.1])[:, None, None, None]
    array = (np.linalg.norm(from_centre, axis=0) < 7).astype("uint8")
    run(Mesh(output_path=str(tmp_path), simplification_factor=0), Chunk(array, voxel_size=SIZE))
    (mesh,) = fragments(tmp_path, 1)
    vertices, _, _, _ = marching_cubes(array, 0.5)
    expected = ((vertices + 0.5) * SIZE)[:, ::-1]
    distance, _ = cKDTree(expected).query(mesh.vertices)
    assert distance.max() < 1e-2
    assert len(np.unique(mesh.vertices, axis=0)) == len(np.unique(expected.round(3), axis=0))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.tuples(*[st.integers(2, 9)] * 3),
    cut=st.tuples(*[st.integers(1, 8)] * 3),
    voxel=st.tuples(*[st.sampled_from([1.0, 7.16, 40.0, 33.3])] * 3),
    factor=st.sampled_from([0, 100]),
)
def test_fragments_of_boxes_form_the_closed_surface_of_the_whole_image(
    tmp_path_factory, seed: int, size, cut, voxel, factor: int
) -> None:
    array = np.random.default_rng(seed).integers(0, 3, size).astype(np.uint64)
    bounds = BoundingBox.sized((1000, -7, 40000), size)
    whole = Chunk(array, bounds.start, voxel, "segmentation", bounds)
    parts, one = tmp_path_factory.mktemp("parts"), tmp_path_factory.mktemp("one")
    operator = Mesh(
        output_path=str(parts), simplification_factor=factor, max_simplification_error=10
    )
    for box in bounds.split(Vec3(*cut)):
        run(operator, whole.cutout(operator.input_box(box, bounds)), box)
    run(Mesh(output_path=str(one), simplification_factor=0), whole)
    for object_id in set(np.unique(array).tolist()) - {0}:
        merged = zmesh.Mesh.concatenate(*fragments(parts, object_id))
        (expected,) = fragments(one, object_id)
        assert is_closed(merged)
        if not factor:
            origin = np.array(bounds.start[::-1]) * voxel[::-1]
            merged.vertices = merged.vertices - origin
            expected.vertices = expected.vertices - origin
            assert volume_of(merged) == pytest.approx(volume_of(expected), rel=1e-3, abs=1e-2)


def test_a_chunk_without_the_context_after_the_box_is_refused(tmp_path: Path) -> None:
    bounds = BoundingBox.sized((0, 0, 0), (8, 8, 8))
    box = BoundingBox.sized((0, 0, 0), (4, 8, 8))
    with pytest.raises(ChunkMismatch, match=r"Voxels of the box .* are missing"):
        run(Mesh(output_path=str(tmp_path)), Chunk(np.ones(box.size, np.uint8), bounds=bounds), box)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((4, 4, 4), np.float32), "is float32 of 1 channels"),
        (np.zeros((2, 4, 4, 4), np.uint8), "2 channels"),
        (np.full((4, 4, 4), -1, np.int32), "not negative"),
    ],
)
def test_a_chunk_without_object_ids_is_refused(
    tmp_path: Path, array: np.ndarray, text: str
) -> None:
    with pytest.raises(ChunkMismatch, match=text):
        run(Mesh(output_path=str(tmp_path)), Chunk(array))


def test_sharded_output_and_wrong_ids_are_refused() -> None:
    with pytest.raises(ValidationError, match="then run mesh-multires --sharded"):
        Mesh(shard=True)
    with pytest.raises(ValidationError, match="42,43"):
        Mesh(skip_ids="1,b")


def test_the_places_of_objects_are_written_for_each_box(tmp_path: Path) -> None:
    """A box without objects has its file, too, which says that there are none."""
    chunk = Chunk(two_objects(), voxel_size=SIZE)
    operator = Mesh(
        output_path=str(tmp_path), spatial_index=True, skip_ids="3", simplification_factor=0
    )
    run(operator, chunk, chunk.bbox)
    (path,) = tmp_path.glob("*.spatial")
    z, y, x = SIZE
    assert path.name == f"0-{12 * x:g}_0-{6 * y:g}_0-{6 * z:g}.spatial"
    (box,) = json.loads(path.read_text()).values()
    assert box == [round(n) for n in (x, y, z, 5 * x, 5 * y, 5 * z)]
    run(operator, chunk.with_array(np.zeros_like(chunk.array)), chunk.bbox)
    assert json.loads(path.read_text()) == {}
    with pytest.raises(ValidationError, match="is of precomputed fragments"):
        Mesh(output_path=str(tmp_path), output_format="ply", spatial_index=True)


def two_objects() -> np.ndarray:
    array = np.zeros((6, 6, 12), np.uint64)
    array[1:5, 1:5, 1:5] = 2**63 + 1
    array[1:5, 1:5, 7:11] = 3
    return array


@pytest.mark.parametrize("kind", ["ply", "obj"])
def test_ply_and_obj_have_the_same_surface(tmp_path: Path, kind: str) -> None:
    chunk = Chunk(two_objects(), voxel_size=SIZE)
    run(Mesh(output_path=str(tmp_path / "a"), output_format=kind, skip_ids="3"), chunk, chunk.bbox)
    run(Mesh(output_path=str(tmp_path / "b"), skip_ids="3"), chunk, chunk.bbox)
    (name,) = names(tmp_path / "a")
    assert name == f"{2**63 + 1}_0-6_0-6_0-12.{kind}"
    content = (tmp_path / "a" / name).read_bytes()
    mesh = zmesh.Mesh.from_ply(content) if kind == "ply" else zmesh.Mesh.from_obj(content)
    (expected,) = fragments(tmp_path / "b", 2**63 + 1)
    assert np.allclose(mesh.vertices, expected.vertices)
    assert np.array_equal(mesh.faces, expected.faces)


def test_a_manifest_is_written_only_for_the_whole_image(tmp_path: Path) -> None:
    chunk = Chunk(two_objects(), voxel_size=SIZE)
    run(Mesh(output_path=str(tmp_path), manifest=True), chunk)
    assert names(tmp_path) == sorted(
        ["3:0", "3:0:0-12_0-6_0-6", f"{2**63 + 1}:0", f"{2**63 + 1}:0:0-12_0-6_0-6"]
    )
    box = BoundingBox.sized((0, 0, 0), (6, 6, 6))
    part = Chunk(two_objects(), bounds=chunk.bbox)
    with pytest.raises(ConfigError, match="mesh-manifest"):
        run(Mesh(output_path=str(tmp_path), manifest=True), part, box)


def test_with_a_mip_the_volume_names_the_meshes_and_cloudvolume_reads_them(
    tmp_path: Path, volume: Any
) -> None:
    stored = volume("seg", two_objects(), offset=(0, 16, 32), layer_type="segmentation")
    # The chunk has no voxel size, so the operator takes that of the volume.
    chunk = Chunk(two_objects(), Vec3(0, 16, 32), bounds=stored.bounds)
    run(Mesh(output_path=stored.path, mip=0, manifest=True), chunk, chunk.bbox)
    (expected,) = fragments(tmp_path / "seg" / "mesh_mip_0_err_40", 3)
    mesh = CloudVolume(stored.path).mesh.get(3)
    assert np.array_equal(np.unique(mesh.vertices, axis=0), np.unique(expected.vertices, axis=0))
    assert mesh.vertices.min(axis=0).tolist() == pytest.approx([39 * 8, 17 * 8, 40], abs=40)
    with pytest.raises(ConfigError, match="mip"):
        run(Mesh(output_path=stored.path, mip=4), chunk)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    run(Mesh(output_path=str(tmp_path / "out")), Chunk(two_objects()), dry_run=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mip", [None, 0])
def test_fragments_never_lie_among_the_blocks_of_a_volume(
    tmp_path: Path, volume: Any, mip: int | None
) -> None:
    stored = volume("seg", two_objects(), layer_type="segmentation")
    run(Mesh(output_path=stored.path, mip=mip), Chunk(two_objects()))
    assert json.loads((tmp_path / "seg" / "info").read_text())["mesh"] == "mesh_mip_0_err_40"
    assert not [name for name in names(tmp_path / "seg") if ":" in name]
    assert len(fragments(tmp_path / "seg" / "mesh_mip_0_err_40", 3)) == 1


@pytest.mark.parametrize("kind", ["ply", "obj"])
@pytest.mark.parametrize("mip", [0, 2])
def test_files_have_no_mip(tmp_path: Path, kind: Any, mip: int) -> None:
    run(Mesh(output_path=str(tmp_path), output_format=kind, mip=mip), Chunk(two_objects()))
    assert names(tmp_path) == [f"3.{kind}", f"{2**63 + 1}.{kind}"]


def test_a_mip_that_is_not_the_chunks_is_refused(tmp_path: Path, volume: Any) -> None:
    stored = volume("seg", two_objects(), layer_type="segmentation")
    other = Chunk(two_objects(), voxel_size=(80.0, 16.0, 16.0))
    with pytest.raises(ChunkMismatch, match="give the --mip of the chunk"):
        run(Mesh(output_path=stored.path, mip=0), other)
    run(Mesh(output_path=stored.path, mip=0, voxel_size=SIZE), other)
    with pytest.raises(ConfigError, match="is no precomputed volume"):
        run(Mesh(output_path=f"file://{tmp_path}/none", mip=0), other)
