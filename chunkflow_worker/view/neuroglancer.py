"""Neuroglancer: a page on this machine that shows the values of a task as its layers."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.chunk import Chunk, VoxelSize
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.view.port import HOST, port_error
from chunkflow_worker.view.values import NANOMETRE, is_skeletons, not_shown, overlays
from chunkflow_worker.volumes.scene.shading import shading_of

# Names of the axis of channels in Neuroglancer's notation.
_ONE_CHANNEL_AT_A_TIME = "c'"
_ALL_CHANNELS_IN_SHADER = "c^"


@contextmanager
def serve(
    values: Mapping[str, Any], voxel_size: VoxelSize | None = None, port: int = 0
) -> Iterator[Any]:
    """Serve the page on 127.0.0.1 until the block ends.

    Yields neuroglancer's viewer, which has the address and the state of the page.

    values: by the name of their layer: a Chunk, Synapses, Points, or skeletons of osteoid by
        object id. The first lies lowest.
    voxel_size: of the chunks, points and synapses in nanometres, zyx; their own when None.
    port: 0 chooses a free port.
    Raises ConfigError when the port can't be used, and ChunkMismatch when a value can't be shown.
    """
    neuroglancer = needs("neuroglancer", extra="view")
    over = overlays(values)
    layers = {
        name: _layer(neuroglancer, name, value, voxel_size, name in over)
        for name, value in values.items()
    }
    with page(port) as viewer:
        with viewer.txn() as state:
            _set_position(neuroglancer, state, values, voxel_size)
            for name, layer in layers.items():
                state.layers.append(name=name, layer=layer)
        yield viewer


@contextmanager
def page(port: int = 0) -> Iterator[Any]:
    """Serve an empty page on 127.0.0.1 until the block ends; yields neuroglancer's viewer.

    Raises ConfigError when the port can't be used, and when neuroglancer is not installed.
    """
    neuroglancer = needs("neuroglancer", extra="view")
    _check_port(port)
    neuroglancer.set_server_bind_address(HOST, port)
    try:
        yield neuroglancer.Viewer(allow_credentials=False)
    finally:
        neuroglancer.stop()


def _check_port(port: int) -> None:
    """Raise ConfigError when the port is taken; Neuroglancer's own attempt leaves a socket open."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise port_error(port, error) from None


def _set_position(
    neuroglancer: Any, state: Any, values: Mapping[str, Any], voxel_size: VoxelSize | None
) -> None:
    """Let the page count in voxels of the first chunk, and start at its centre."""
    chunk = next((value for value in values.values() if isinstance(value, Chunk)), None)
    if chunk is not None:
        start, stop = chunk.bbox.start[::-1], chunk.bbox.stop[::-1]
        state.dimensions = _space(neuroglancer, voxel_size or chunk.voxel_size)
        state.position = [(a + b) / 2 for a, b in zip(start, stop, strict=True)]


def _layer(
    neuroglancer: Any, name: str, value: Any, voxel_size: VoxelSize | None, over: bool
) -> Any:
    """over: another chunk lies below."""
    if isinstance(value, Chunk):
        size = voxel_size or value.voxel_size
        if value.is_segmentation:
            return _segmentation(neuroglancer, name, value, size)
        return _image(neuroglancer, name, value, size, over)
    if isinstance(value, Synapses):
        return _synapses(neuroglancer, value, voxel_size or value.voxel_size or NANOMETRE)
    if isinstance(value, Points):
        return _points(neuroglancer, value, voxel_size or value.voxel_size)
    if is_skeletons(value):
        return _skeletons(neuroglancer, value)
    raise not_shown(name, value, "the page")


def _image(neuroglancer: Any, name: str, chunk: Chunk, voxel_size: VoxelSize, over: bool) -> Any:
    """Three channels are red, green and blue; of other numbers, one channel is shown at a time."""
    kind, array = chunk.dtype.kind, chunk.array
    if kind not in "buif":
        raise ChunkMismatch(f"{name!r} holds {chunk.dtype}, and the page shows numbers")
    shading = shading_of(array, chunk.channels, "map" if over else None)
    channel = _ONE_CHANNEL_AT_A_TIME if chunk.channels > 1 else ""
    if chunk.channels == 3:
        channel = _ALL_CHANNELS_IN_SHADER
    if kind == "b":
        array = array.view(np.uint8)
    elif kind == "f" or array.dtype.itemsize == 8:
        array = array.astype(np.float32, copy=False)
    layer = neuroglancer.ImageLayer(
        source=_volume(neuroglancer, array, chunk, voxel_size, "image", channel),
        shader=shading.shader,
        shader_controls={control: {"range": shading.limits} for control in shading.controls},
        opacity=shading.opacity,
    )
    if channel == _ONE_CHANNEL_AT_A_TIME:
        # Start with the first channel; the page would start with the one in the middle.
        dimensions = neuroglancer.CoordinateSpace(names=[channel], units=[""], scales=[1])
        layer.local_dimensions, layer.local_position = dimensions, [0]
    return layer


def _segmentation(neuroglancer: Any, name: str, chunk: Chunk, voxel_size: VoxelSize) -> Any:
    ids = chunk.object_ids(name)
    unsigned = ids.view(f"u{ids.itemsize}")
    return neuroglancer.SegmentationLayer(
        source=_volume(neuroglancer, unsigned, chunk, voxel_size, "segmentation")
    )


def _volume(
    neuroglancer: Any,
    array: NDArray[Any],
    chunk: Chunk,
    voxel_size: VoxelSize,
    volume_type: str,
    channel: str = "",
) -> Any:
    """array: the values to show, at the position of `chunk`. channel: name of the axis, if any."""
    shown = array if channel or array.ndim == 3 else array[0]
    offset = [*chunk.voxel_offset[::-1], *([0] if channel else [])]
    space = _space(neuroglancer, voxel_size, channel)
    return neuroglancer.LocalVolume(
        shown.transpose(), space, volume_type=volume_type, voxel_offset=offset
    )


def _points(neuroglancer: Any, points: Points, voxel_size: VoxelSize) -> Any:
    annotations = [
        neuroglancer.PointAnnotation(id=str(i), point=point)
        for i, point in enumerate(_centres(points.array))
    ]
    space = _space(neuroglancer, voxel_size)
    return neuroglancer.LocalAnnotationLayer(space, annotations=annotations)


def _synapses(neuroglancer: Any, synapses: Synapses, voxel_size: VoxelSize) -> Any:
    """A point at each presynaptic site, and a line from it to each of its postsynaptic sites."""
    pre, post = _centres(synapses.pre), _centres(synapses.post)
    points = [neuroglancer.PointAnnotation(id=f"pre {i}", point=p) for i, p in enumerate(pre)]
    lines = [
        neuroglancer.LineAnnotation(id=f"post {i}", point_a=pre[parent], point_b=p)
        for i, (parent, p) in enumerate(zip(synapses.parents.tolist(), post, strict=True))
    ]
    space = _space(neuroglancer, voxel_size)
    return neuroglancer.LocalAnnotationLayer(space, annotations=[*points, *lines])


def _skeletons(neuroglancer: Any, skeletons: Mapping[int, Any]) -> Any:
    class Source(neuroglancer.skeleton.SkeletonSource):  # type: ignore[misc]
        def get_skeleton(self, object_id: int) -> Any:
            skeleton = skeletons.get(object_id)
            if skeleton is None:
                return None
            return neuroglancer.skeleton.Skeleton(skeleton.vertices, skeleton.edges)

    source = Source(_space(neuroglancer, NANOMETRE))
    return neuroglancer.SegmentationLayer(source=source, segments=list(skeletons))


def _space(neuroglancer: Any, voxel_size: VoxelSize, channel: str = "") -> Any:
    names, units, scales = list("xyz"), ["nm"] * 3, list(voxel_size[::-1])
    if channel:
        names, units, scales = [*names, channel], [*units, ""], [*scales, 1]
    return neuroglancer.CoordinateSpace(names=names, units=units, scales=scales)


def _centres(zyx: NDArray[Any]) -> list[list[float]]:
    """Centres of voxels, xyz; for the page, whole numbers are the corners of voxels."""
    centres: list[list[float]] = (zyx[:, ::-1] + 0.5).tolist()
    return centres
