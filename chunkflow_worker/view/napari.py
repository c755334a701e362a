"""napari: a window that shows the values of a task as its layers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.chunk import Chunk, VoxelSize
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.view.values import NANOMETRE, is_skeletons, not_shown, overlays

_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


def check_screen() -> None:
    """Raise ConfigError without a screen, where Qt would end the whole process."""
    if sys.platform == "linux" and not any(os.environ.get(name) for name in _SCREENS):
        problem = "is missing, so no window can open: DISPLAY and WAYLAND_DISPLAY are not set"
        cure = "show the values in a browser, which needs no screen here"
        raise ConfigError.one("viewer", "screen", problem, cure)


def show(values: Mapping[str, Any], title: str, voxel_size: VoxelSize | None = None) -> None:
    """Show values in a window, and return when the user closes it.

    values: by the name of their layer: a Chunk, Synapses, Points, or skeletons of osteoid by
        object id. The first lies lowest.
    voxel_size: of the chunks, points and synapses in nanometres, zyx; their own when None.
    Raises ChunkMismatch when a value can't be shown, and ConfigError when napari is not installed.
    """
    napari = needs("napari", extra="napari")
    viewer = napari.Viewer(title=title)
    over = overlays(values)
    for name, value in values.items():
        _add_layers(viewer, name, value, voxel_size, name in over)
    napari.run()


def _add_layers(
    viewer: Any, name: str, value: Any, voxel_size: VoxelSize | None, over: bool
) -> None:
    """over: another chunk lies below."""
    if isinstance(value, Chunk):
        _add_chunk(viewer, name, value, voxel_size or value.voxel_size, over)
    elif isinstance(value, Synapses):
        size = voxel_size or value.voxel_size or NANOMETRE
        _add_lines(viewer, f"{name} to post", value.pre[value.parents], value.post, size)
        viewer.add_points(value.pre, name=name, scale=size)
    elif isinstance(value, Points):
        viewer.add_points(value.array, name=name, scale=voxel_size or value.voxel_size)
    elif is_skeletons(value):
        edges = [skeleton.vertices[skeleton.edges][..., ::-1] for skeleton in value.values()]
        starts, ends = np.concatenate([np.zeros((0, 2, 3)), *edges]).swapaxes(0, 1)
        _add_lines(viewer, name, starts, ends, NANOMETRE)
    else:
        raise not_shown(name, value, "napari")


def _add_chunk(viewer: Any, name: str, chunk: Chunk, voxel_size: VoxelSize, over: bool) -> None:
    """A layer of labels for a segmentation, else one image layer for each channel."""
    position = tuple(np.multiply(chunk.voxel_offset, voxel_size).tolist())
    place = {"name": name, "scale": voxel_size, "translate": position}
    if chunk.is_segmentation:
        viewer.add_labels(chunk.object_ids(name), **place)
    else:
        channel_axis = 0 if chunk.array.ndim == 4 else None
        # Added to the light of the layers below, so that these remain visible.
        colour = {"blending": "additive", "colormap": "bop orange"} if over else {}
        viewer.add_image(chunk.array, channel_axis=channel_axis, **colour, **place)


def _add_lines(
    viewer: Any, name: str, starts: NDArray[Any], ends: NDArray[Any], voxel_size: VoxelSize
) -> None:
    """A layer of lines between positions of shape (n, 3), zyx, in voxels."""
    vectors = np.stack([starts, ends - starts], axis=1)
    viewer.add_vectors(vectors, name=name, scale=voxel_size)
