"""The state of a Neuroglancer page: its layers, the position and the zoom; and a link to it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from chunkflow_worker.image.chunk import UNKNOWN_SIZE, VoxelSize

PUBLIC = "https://neuroglancer-demo.appspot.com"
_NANOMETRE = 1e-9
# Of a panel on a usual screen, where four of them share a window.
_PANEL_WIDTH, _PANEL_HEIGHT = 700, 400  # pixels
_MOST_PIXELS = 2048  # voxels of the coarsest level that a panel shows side by side
_AIR = 1.1
_TILTED = [0.4, 0.25, 0.1, 0.88]  # a view from above and the side, as a quaternion


@dataclass(frozen=True)
class Region:
    """What a page shows first. Lengths are in nanometres, zyx.

    start, stop: of the data. middle: the point in the middle of the page.
    voxel_size: in which the page counts.
    coarsest: size of a voxel of the coarsest level that is stored.
    """

    start: VoxelSize
    stop: VoxelSize
    middle: VoxelSize
    voxel_size: VoxelSize
    coarsest: VoxelSize

    @classmethod
    def around(cls, places: Any, voxel_size: VoxelSize = UNKNOWN_SIZE) -> Region:
        """The region around positions of shape (n, 3), in nanometres, zyx."""
        low, high = np.min(places, axis=0), np.max(places, axis=0)
        start, stop, middle = (_three(at) for at in (low, high, (low + high) / 2))
        anything = (float("inf"),) * 3
        return cls(start, stop, middle, voxel_size, anything)

    @property
    def size(self) -> VoxelSize:
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x


def smallest(regions: Iterable[Region | None]) -> Region | None:
    """The region of which least would be seen, in the middle of the others; the first of equals."""
    known = [region for region in regions if region is not None]
    return min(known, key=lambda region: max(region.size), default=None)


def page_state(layers: list[dict[str, Any]], region: Region | None) -> dict[str, Any]:
    """The state of a page. layers: the lowest first."""
    state: dict[str, Any] = {"layers": layers}
    if region is not None:
        state |= _view(region)
    if layers:
        state["selectedLayer"] = {"layer": layers[-1]["name"], "visible": False}
    is_flat = region is not None and region.size[0] <= region.voxel_size[0]
    return state | {"layout": "xy" if is_flat else "4panel"}


def _view(region: Region) -> dict[str, Any]:
    voxel, size = region.voxel_size, region.size
    finest = min(voxel)
    z, y, x = size
    across = _AIR * max(x / _PANEL_WIDTH, y / _PANEL_HEIGHT, z / _PANEL_HEIGHT)
    most = min(region.coarsest) * _MOST_PIXELS / _PANEL_WIDTH
    return {
        "dimensions": dimensions(voxel),
        "position": [m / v for m, v in zip(region.middle[::-1], voxel[::-1], strict=True)],
        "crossSectionScale": min(across, most) / finest,
        "projectionScale": 1.8 * max(size) / finest,
        "projectionOrientation": _TILTED,
        "showSlices": False,  # which would hide the meshes behind them
    }


def dimensions(voxel_size: VoxelSize) -> dict[str, Any]:
    """Axes in Neuroglancer's notation. voxel_size: in nanometres, zyx."""
    pairs = zip("xyz", voxel_size[::-1], strict=True)
    return {axis: [metres(size), "m"] for axis, size in pairs}


def _three(place: Any) -> VoxelSize:
    z, y, x = (float(n) for n in place)
    return z, y, x


def metres(nanometres: float) -> float:
    """The same length, without what a product of floats adds: 7.16 nm are 7.16e-9 m."""
    return float(f"{nanometres * _NANOMETRE:.12g}")


def link(state: dict[str, Any], page: str = PUBLIC) -> str:
    """The address of a page in that state. page: the address of a Neuroglancer."""
    text = json.dumps(state, separators=(",", ":"))
    return f"{page.rstrip('/')}/#!{quote(text, safe='/:,')}"
