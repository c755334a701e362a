"""Meshes of several resolutions, in the format neuroglancer_multilod_draco.

Neuroglancer loads only the pieces of a mesh that are in view. An object has a file of pieces, each
encoded by Draco, level after level, and an index that says where each piece lies. The pieces are
the cells of a grid. They are twice as long in each further level, and one piece holds the whole of
the last level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.volumes.mesh import MULTIRES

INFO: dict[str, Any] = {
    "@type": MULTIRES,
    "vertex_quantization_bits": 16,
    "lod_scale_multiplier": 1,
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
}
_MAX_STEP: int = 2 ** INFO["vertex_quantization_bits"] - 1
_FEWEST_TRIANGLES = 500  # of a simplified level

Vector = NDArray[np.float64]
"""x, y, z: shape (3,)."""
Triangles = NDArray[np.float64]
"""The corners x, y, z of each triangle: shape (n, 3, 3)."""
Pieces = dict[tuple[int, ...], bytes]
"""The pieces of one level, by position x, y, z in the grid."""


def make_levels(mesh: Any, count: int, reduction: int) -> list[Any]:
    """The mesh itself, and simplified ones with `reduction` times fewer triangles each.

    mesh: of zmesh.
    count: the highest number of levels, the mesh itself among them.
    """
    import zmesh

    levels = [mesh]
    while len(levels) < count and len(levels[-1].faces) >= _FEWEST_TRIANGLES * reduction:
        triangles = len(levels[-1].faces)
        simplified = zmesh.simplify_fqmr(levels[-1], triangles // reduction)
        if not 0 < len(simplified.faces) < triangles:
            break
        levels.append(simplified)
    return levels


def encode(levels: Sequence[Any]) -> tuple[bytes, bytes]:
    """The index of one object, and its pieces.

    levels: its meshes, with vertices x, y, z in nanometres, the finest first.
    """
    meshes: list[Triangles] = [mesh.vertices[mesh.faces].astype(np.float64) for mesh in levels]
    corners = np.concatenate([triangles.reshape(-1, 3) for triangles in meshes])
    # Whole numbers, which the float32 of the index can hold exactly.
    origin = np.floor(corners.min(axis=0))
    extent = corners.max(axis=0) - origin
    cell = np.maximum(np.ceil(extent / 2 ** (len(levels) - 1)), 1)
    pieces = [
        _pieces_of(triangles, origin, cell, level, len(levels))
        for level, triangles in enumerate(meshes)
    ]
    for fine, coarse in pairwise(pieces):
        for place in fine:  # each piece needs a parent, which may be empty
            coarse.setdefault(tuple(n // 2 for n in place), b"")
    ordered = [dict(sorted(level.items(), key=lambda item: _morton(item[0]))) for level in pieces]
    index = _index(origin, cell, [_edge_length(triangles) for triangles in meshes], ordered)
    return index, b"".join(piece for level in ordered for piece in level.values())


def _pieces_of(
    triangles: Triangles, origin: Vector, finest_cell: Vector, level: int, levels: int
) -> Pieces:
    cell = finest_cell * 2**level
    # A viewer may draw an eighth of a piece, so no triangle may cross the middle of one.
    parts = cut(triangles, origin, cell / 2 if level else cell)
    # A triangle in the face where the grid ends belongs to the last cell.
    last = 2 ** (levels - 1 - level) - 1
    centres = parts.mean(axis=1)
    places = np.clip(np.floor((centres - origin) / cell).astype(int), 0, last)
    cells, cell_of_part = _distinct(places)
    return {
        tuple(place.tolist()): _draco(parts[cell_of_part == i], origin + place * cell, cell)
        for i, place in enumerate(cells)
    }


def _index(
    origin: Vector, cell: Vector, edge_lengths: list[float], levels: Sequence[Pieces]
) -> bytes:
    vertex_offsets = np.zeros((len(levels), 3), "<f4")
    parts = [
        np.array([*cell, *origin], "<f4"),
        np.array([len(levels)], "<u4"),
        np.array(edge_lengths, "<f4"),
        vertex_offsets,
        np.array([len(level) for level in levels], "<u4"),
    ]
    for level in levels:
        parts.append(np.array(list(level), "<u4").T)
        parts.append(np.array([len(piece) for piece in level.values()], "<u4"))
    return b"".join(part.tobytes() for part in parts)


def cut(triangles: Triangles, origin: Vector, cell: Vector) -> Triangles:
    """Cut triangles where they cross a plane of the grid.

    origin: a corner of the grid. cell: the size of its cells.
    """
    for axis in range(3):
        if not len(triangles):
            break  # all of them had no area
        positions = (triangles[..., axis] - origin[axis]) / cell[axis]
        low, high = int(np.floor(positions.min())), int(np.ceil(positions.max()))
        for n in range(low + 1, high):
            triangles = _cut_at_plane(triangles, axis, origin[axis] + n * cell[axis])
    return triangles


def _cut_at_plane(triangles: Triangles, axis: int, plane: float) -> Triangles:
    height = triangles[..., axis] - plane
    crossing = (height.min(axis=1) < 0) & (height.max(axis=1) > 0)
    if not crossing.any():
        return triangles
    above = height[crossing] > 0
    # Corner a is alone on its side of the plane; the corners keep their direction of rotation.
    alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), above.argmin(axis=1))
    order = (alone[:, np.newaxis] + np.arange(3)) % 3
    turned = np.take_along_axis(triangles[crossing], order[..., np.newaxis], axis=1)
    a, b, c = turned.transpose(1, 0, 2)
    p, q = _intersection(a, b, axis, plane), _intersection(a, c, axis, plane)
    parts = np.concatenate([np.stack(part, axis=1) for part in ((a, p, q), (p, b, c), (p, c, q))])
    degenerate = np.any([(parts[:, i] == parts[:, i - 1]).all(axis=1) for i in range(3)], axis=0)
    return np.concatenate([triangles[~crossing], parts[~degenerate]])


def _intersection(a: Vector, b: Vector, axis: int, plane: float) -> Vector:
    """Where lines from a to b, shape (n, 3), meet a plane.

    To the last digit the same for lines from b to a, so that neighbouring triangles stay joined.
    """
    swap = (a[:, axis] > b[:, axis])[:, np.newaxis]
    low, high = np.where(swap, b, a), np.where(swap, a, b)
    fraction = (plane - low[:, axis]) / (high[:, axis] - low[:, axis])
    point: Vector = low + fraction[:, np.newaxis] * (high - low)
    point[:, axis] = plane
    return point


def _distinct(rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Distinct rows of three whole numbers from 0 to _MAX_STEP, in order, and for each row its
    place among them.

    NumPy's own sort of rows is much slower than that of numbers.
    """
    shifts = np.array([32, 16, 0])
    found, place = np.unique((rows.astype(np.int64) << shifts).sum(axis=1), return_inverse=True)
    return found[:, np.newaxis] >> shifts & 0xFFFF, place


def _draco(triangles: Triangles, start: Vector, size: Vector) -> bytes:
    """Encode one piece, the cell at `start` of `size`; empty when no triangle is left.

    Corners become whole numbers from 0 to _MAX_STEP across the cell.
    """
    import DracoPy

    # Rounds halves up, so that corners in the plane through the cell's middle stay in one plane.
    steps = np.floor((triangles - start) / size * _MAX_STEP + 0.5 + 1e-6)
    corners = np.clip(steps, 0, _MAX_STEP).reshape(-1, 3)
    vertices, faces = _distinct(corners)
    faces = faces.reshape(-1, 3).astype(np.uint32)
    collapsed = (faces == np.roll(faces, 1, axis=1)).any(axis=1)
    faces = faces[~collapsed]
    if len(faces) == 0:
        return b""
    encoded: bytes = DracoPy.encode(
        vertices.astype(np.float32),
        faces,
        quantization_bits=INFO["vertex_quantization_bits"],
        quantization_range=_MAX_STEP,
        quantization_origin=np.zeros(3, np.float32),
        compression_level=7,
    )
    return encoded


def _morton(place: tuple[int, ...]) -> int:
    """Position of a grid cell along the Z-order curve, x in the lowest bit."""
    return sum(
        (n >> bit & 1) << (3 * bit + axis)
        for axis, n in enumerate(place)
        for bit in range(n.bit_length())
    )


def _edge_length(triangles: Triangles) -> float:
    """Mean length of the edges in nanometres; a viewer chooses the level for its pixels by it."""
    return float(np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2).mean())
