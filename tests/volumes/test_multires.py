"""Levels, cuts and the index; tests/operators/test_mesh_multires.py has pieces of real meshes."""

from __future__ import annotations

import struct
from itertools import pairwise

import DracoPy
import numpy as np
import pytest
import zmesh
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chunkflow_worker.volumes.multires import cut, encode, make_levels

corners = arrays.arrays(np.float64, (5, 3, 3), elements=st.floats(-20, 20, width=16))
ORIGIN, CELL = np.array([-20.0, -20.0, -21.0]), np.array([7.0, 11.0, 5.0])


def area(triangles: np.ndarray) -> float:
    a, b, c = triangles.transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def ball() -> zmesh.Mesh:
    z, y, x = np.ogrid[:40, :40, :40]
    mesher = zmesh.Mesher((4, 4, 4))
    mesher.mesh(((z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 17**2).astype(np.uint8))
    return mesher.get(1)


@given(corners)
def test_no_triangle_crosses_a_plane_of_the_grid_after_the_cut(triangles: np.ndarray) -> None:
    parts = cut(triangles, ORIGIN, CELL)
    places = (parts - ORIGIN) / CELL
    middle = np.floor(places.mean(axis=1, keepdims=True))
    tolerance = 1e-9
    inside = (places >= middle - tolerance) & (places <= middle + 1 + tolerance)
    # A triangle in a plane may count for the cell on either side.
    in_plane = np.isclose(places, np.rint(places)).all(axis=1, keepdims=True)
    assert (inside | in_plane).all()


@example(np.array([[[0.0, 2, 2], [2, 2, 2], [2, 2, 2]]]))  # of no area
@given(corners)
def test_a_cut_keeps_surface_and_orientation(triangles: np.ndarray) -> None:
    parts = cut(triangles, ORIGIN, CELL)
    assert area(parts) == pytest.approx(area(triangles), rel=1e-6, abs=1e-6)

    def oriented_area(soup: np.ndarray) -> np.ndarray:
        a, b, c = soup.transpose(1, 0, 2)
        return np.cross(b - a, c - a).sum(axis=0)

    assert np.allclose(oriented_area(parts), oriented_area(triangles), atol=1e-6)


def test_neighbours_are_cut_at_the_same_points() -> None:
    """Whichever end of the common edge a triangle begins with."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        a, b, c, d = rng.uniform(-20, 20, (4, 3))
        first = cut(np.array([[a, b, c]]), ORIGIN, CELL).reshape(-1, 3)
        second = cut(np.array([[b, a, d]]), ORIGIN, CELL).reshape(-1, 3)

        def on_edge(points: np.ndarray, a: np.ndarray = a, b: np.ndarray = b) -> set[tuple]:
            distance = np.linalg.norm(np.cross(points - a, points - b), axis=1)
            return {tuple(p) for p in points[distance < 1e-6].tolist()}

        assert on_edge(first) == on_edge(second)
        assert len(on_edge(first)) >= 2


def test_each_level_has_fewer_triangles_until_they_are_few() -> None:
    levels = make_levels(ball(), count=9, reduction=3)
    counts = [len(mesh.faces) for mesh in levels]
    assert counts[0] == len(ball().faces)
    for fine, coarse in pairwise(counts):
        assert fine / coarse == pytest.approx(3, rel=0.1)
        assert fine >= 500 * 3
    assert counts[-1] < 500 * 3, "it ended because few triangles were left"
    assert len(make_levels(ball(), count=2, reduction=3)) == 2
    assert len(make_levels(ball(), count=1, reduction=3)) == 1


def test_the_index_of_one_level_is_one_piece() -> None:
    mesh = ball()
    index, pieces = encode([mesh])
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    origin = np.floor(low)
    size = np.ceil(high - origin)
    assert struct.unpack_from("<6f", index) == (*size, *origin)
    assert struct.unpack_from("<I", index, 24) == (1,)
    edges = [
        mesh.vertices[mesh.faces][:, i] - mesh.vertices[mesh.faces][:, i - 1] for i in range(3)
    ]
    [scale] = struct.unpack_from("<f", index, 28)
    assert scale == pytest.approx(np.linalg.norm(edges, axis=2).mean(), rel=1e-5)
    assert struct.unpack_from("<3f", index, 32) == (0, 0, 0)
    assert struct.unpack_from("<5I", index, 44) == (1, 0, 0, 0, len(pieces))
    assert len(index) == 64
    decoded = DracoPy.decode(pieces)
    vertices = origin + np.asarray(decoded.points) / (2**16 - 1) * size
    assert np.abs(vertices.min(axis=0) - low).max() < 0.01
    assert np.abs(vertices.max(axis=0) - high).max() < 0.01
    assert len(decoded.faces) == len(mesh.faces)
