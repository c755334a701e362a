"""Meshes of several resolutions, as Neuroglancer reads them: pieces of a grid, of which it loads those that are seen.

Its format neuroglancer_multilod_draco: for each object a file of pieces, each encoded by Draco, level behind level, and an index
that tells where they lie. The pieces of each level are twice as long as those of the level before, and one holds all of the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

INFO: dict[str, Any] = {
    "@type": "neuroglancer_multilod_draco",
    "vertex_quantization_bits": 16,
    "lod_scale_multiplier": 1,
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
}
_MOST: int = 2 ** INFO["vertex_quantization_bits"] - 1
_FEW = 500  # triangles: no coarser level is made of fewer

Triangles = NDArray[np.float64]
"""Corners x, y, z of each: shape (n, 3, 3)."""


def levels_of(mesh: Any, count: int, reduction: int) -> list[Any]:
    """A mesh of zmesh, and coarser ones of `reduction` times fewer triangles each: at most `count` in all."""
    import zmesh

    levels = [mesh]
    while len(levels) < count and len(levels[-1].faces) >= _FEW * reduction:
        coarser = zmesh.simplify_fqmr(levels[-1], len(levels[-1].faces) // reduction)
        if not 0 < len(coarser.faces) < len(levels[-1].faces):
            break
        levels.append(coarser)
    return levels


def encode(levels: Sequence[Any]) -> tuple[bytes, bytes]:
    """The index of one object, and its pieces. levels: its meshes of vertices x, y, z in nanometres, the finest first."""
    soups: list[Triangles] = [level.vertices[level.faces].astype(np.float64) for level in levels]
    corners = np.concatenate([soup.reshape(-1, 3) for soup in soups])
    # Whole numbers, which the index holds exactly.
    origin = np.floor(corners.min(axis=0))
    size = np.maximum(np.ceil((corners.max(axis=0) - origin) / 2 ** (len(levels) - 1)), 1)
    pieces: list[dict[tuple[int, ...], bytes]] = []
    for level, soup in enumerate(soups):
        cell = size * 2**level
        whole = cut(
            soup, origin, cell / 2 if level else cell
        )  # a viewer may draw an eighth of a piece
        # What ends where the grid ends belongs to its last cell.
        last = 2 ** (len(levels) - 1 - level) - 1
        place = np.clip(np.floor((whole.mean(axis=1) - origin) / cell).astype(int), 0, last)
        cells, of_cell = np.unique(place, axis=0, return_inverse=True)
        of_cell = of_cell.reshape(-1)
        pieces.append(
            {
                tuple(c.tolist()): _draco(whole[of_cell == i], origin + c * cell, cell)
                for i, c in enumerate(cells)
            }
        )
    for fine, coarse in pairwise(pieces):
        for place in fine:  # each piece needs one above it, which may be empty
            coarse.setdefault(tuple(n // 2 for n in place), b"")
    ordered = [sorted(found.items(), key=lambda item: _morton(item[0])) for found in pieces]
    index = [
        np.array([*size, *origin], "<f4"),
        np.array([len(levels)], "<u4"),
        np.array([_edge_length(soup) for soup in soups], "<f4"),
        np.zeros((len(levels), 3), "<f4"),
        np.array([len(found) for found in ordered], "<u4"),
    ]
    for found in ordered:
        index.append(np.array([place for place, _ in found], "<u4").T)
        index.append(np.array([len(piece) for _, piece in found], "<u4"))
    return b"".join(part.tobytes() for part in index), b"".join(
        piece for found in ordered for _, piece in found
    )


def cut(soup: Triangles, origin: NDArray[np.float64], size: NDArray[np.float64]) -> Triangles:
    """The triangles, cut where they cross a plane of the grid of cells of `size` from `origin` on."""
    for axis in range(3):
        low, high = (
            (end - origin[axis]) / size[axis]
            for end in (soup[..., axis].min(), soup[..., axis].max())
        )
        for n in range(int(np.floor(low)) + 1, int(np.ceil(high))):
            soup = _cut_at(soup, axis, origin[axis] + n * size[axis])
    return soup


def _cut_at(soup: Triangles, axis: int, plane: float) -> Triangles:
    height = soup[..., axis] - plane
    crossing = (height.min(axis=1) < 0) & (height.max(axis=1) > 0)
    if not crossing.any():
        return soup
    above = height[crossing] > 0
    # The corner that is alone on its side comes first; the direction in which the corners follow stays.
    alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), above.argmin(axis=1))
    turned = (alone[:, np.newaxis] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(soup[crossing], turned[..., np.newaxis], axis=1).transpose(1, 0, 2)
    p, q = _meet(a, b, axis, plane), _meet(a, c, axis, plane)
    parts = np.concatenate([np.stack(part, axis=1) for part in ((a, p, q), (p, b, c), (p, c, q))])
    degenerate = np.any([(parts[:, i] == parts[:, i - 1]).all(axis=1) for i in range(3)], axis=0)
    return np.concatenate([soup[~crossing], parts[~degenerate]])


def _meet(
    a: NDArray[np.float64], b: NDArray[np.float64], axis: int, plane: float
) -> NDArray[np.float64]:
    """Where lines from a to b meet a plane; the same point to the last digit, from whichever end it is asked."""
    swap = (a[:, axis] > b[:, axis])[:, np.newaxis]
    low, high = np.where(swap, b, a), np.where(swap, a, b)
    share = (plane - low[:, axis]) / (high[:, axis] - low[:, axis])
    point: NDArray[np.float64] = low + share[:, np.newaxis] * (high - low)
    point[:, axis] = plane
    return point


def _draco(soup: Triangles, start: NDArray[np.float64], size: NDArray[np.float64]) -> bytes:
    """One piece: corners as whole numbers from 0 to _MOST across its cell, so that a plane in its middle is a number, too."""
    import DracoPy

    steps = np.clip(np.floor((soup - start) / size * _MOST + 0.5 + 1e-6), 0, _MOST)
    vertices, faces = np.unique(steps.reshape(-1, 3), axis=0, return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.uint32)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]  # some have shrunk to a line
    if len(faces) == 0:
        return b""
    encoded: bytes = DracoPy.encode(
        vertices.astype(np.float32),
        faces,
        quantization_bits=INFO["vertex_quantization_bits"],
        quantization_range=_MOST,
        quantization_origin=np.zeros(3, np.float32),
        compression_level=7,
    )
    return encoded


def _morton(place: tuple[int, ...]) -> int:
    """Place on the curve that goes through both halves of all axes in turn, x first."""
    return sum(
        (n >> bit & 1) << (3 * bit + axis)
        for axis, n in enumerate(place)
        for bit in range(n.bit_length())
    )


def _edge_length(soup: Triangles) -> float:
    """Mean length of the edges, in nanometres: by it a viewer chooses the level for the size of its pixels."""
    return float(np.linalg.norm(soup - np.roll(soup, 1, axis=1), axis=2).mean())
