"""Neuroglancer on this machine: a page that shows the values of a task as its layers."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.chunk import Chunk, VoxelSize
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses

HOST = "127.0.0.1"

GREY = """#uicontrol invlerp normalized
void main() {
  emitGrayscale(normalized());
}
"""
# What lies below stays visible where the probability is low.
PROBABILITY = """#uicontrol vec3 color color(default="#ff8000")
#uicontrol invlerp probability
void main() {
  emitRGBA(vec4(color, probability()));
}
"""
RGB = """#uicontrol invlerp red(channel=0)
#uicontrol invlerp green(channel=1)
#uicontrol invlerp blue(channel=2)
void main() {
  emitRGB(vec3(red(), green(), blue()));
}
"""
_MOST_SAMPLES = 1_000_000
_NANOMETRE = (1.0, 1.0, 1.0)


@contextmanager
def served(
    values: Mapping[str, Any], voxel_size: VoxelSize | None = None, port: int = 0
) -> Iterator[Any]:
    """Serve the page on 127.0.0.1 while the block runs; yields neuroglancer's viewer, which knows its address and state.

    values: by the name of their layer: a Chunk, Synapses, Points, or skeletons of osteoid by object id.
    voxel_size: of the chunks, points and synapses in nanometres, zyx; their own when None.
    port: a free one when 0.
    Raises ConfigError when the port can't be used, and ChunkMismatch when a value can't be shown.
    """
    neuroglancer = needs("neuroglancer", extra="view")
    layers = {name: _layer(neuroglancer, name, value, voxel_size) for name, value in values.items()}
    _refuse_taken(port)
    neuroglancer.set_server_bind_address(HOST, port)
    viewer = neuroglancer.Viewer(allow_credentials=False)
    try:
        with viewer.txn() as state:
            _set_place(neuroglancer, state, list(values.values()), voxel_size)
            for name, layer in layers.items():
                state.layers.append(name=name, layer=layer)
        yield viewer
    finally:
        neuroglancer.stop()


def _refuse_taken(port: int) -> None:
    """Neuroglancer's own try to take a port leaves a socket open when it fails."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            cure = "leave it out to take a free one"
            raise ConfigError.one(
                "viewer", f"port {port}", f"can't be used: {error.strerror}", cure
            ) from None


def _set_place(
    neuroglancer: Any, state: Any, values: list[Any], voxel_size: VoxelSize | None
) -> None:
    """Let the page count in the voxels of the first chunk, and begin in its middle."""
    for chunk in values:
        if isinstance(chunk, Chunk):
            state.dimensions = _space(neuroglancer, voxel_size or chunk.voxel_size)
            state.position = [
                (a + b) / 2
                for a, b in zip(chunk.bbox.start[::-1], chunk.bbox.stop[::-1], strict=True)
            ]
            return


def _layer(neuroglancer: Any, name: str, value: Any, voxel_size: VoxelSize | None) -> Any:
    if isinstance(value, Chunk):
        make = _segmentation if value.is_segmentation else _image
        return make(neuroglancer, name, value, voxel_size or value.voxel_size)
    if isinstance(value, Synapses):
        return _synapses(neuroglancer, value, voxel_size or value.voxel_size or _NANOMETRE)
    if isinstance(value, Points):
        size = voxel_size or value.voxel_size
        points = [
            neuroglancer.PointAnnotation(id=str(i), point=p)
            for i, p in enumerate(_xyz(value.array))
        ]
        return neuroglancer.LocalAnnotationLayer(_space(neuroglancer, size), annotations=points)
    if isinstance(value, Mapping) and all(
        hasattr(skeleton, "vertices") for skeleton in value.values()
    ):
        return _skeletons(neuroglancer, value)
    raise ChunkMismatch(
        f"{name!r} is a {type(value).__name__}; the page shows chunks, synapses, points and skeletons"
    )


def _image(neuroglancer: Any, name: str, chunk: Chunk, voxel_size: VoxelSize) -> Any:
    """Three channels are red, green and blue; other numbers of them are shown one at a time."""
    kind, array = chunk.dtype.kind, chunk.array
    if kind not in "buif":
        raise ChunkMismatch(f"{name!r} holds {chunk.dtype}, and the page shows numbers")
    in_unit_range = kind == "f" and array.size and array.min() >= 0 and array.max() <= 1
    limits = [0, 1] if in_unit_range else _contrast(array)
    controls: tuple[str, ...]
    if chunk.channels == 3:
        channel, shader, controls = "c^", RGB, ("red", "green", "blue")
    else:
        channel = "c'" if chunk.channels > 1 else ""
        shader, controls = (
            (PROBABILITY, ("probability",)) if in_unit_range else (GREY, ("normalized",))
        )
    if kind == "b":
        array = array.view(np.uint8)
    elif kind == "f":
        array = array.astype(np.float32, copy=False)
    layer = neuroglancer.ImageLayer(
        source=_volume(neuroglancer, array, chunk, voxel_size, "image", channel),
        shader=shader,
        shader_controls={control: {"range": limits} for control in controls},
        opacity=0.5 if chunk.channels == 3 else 1,
    )
    if channel == "c'":  # the page would begin with the channel in the middle
        layer.local_dimensions = neuroglancer.CoordinateSpace(
            names=[channel], units=[""], scales=[1]
        )
        layer.local_position = [0]
    return layer


def _segmentation(neuroglancer: Any, name: str, chunk: Chunk, voxel_size: VoxelSize) -> Any:
    ids = chunk.object_ids(name)
    unsigned = ids.view(f"u{ids.itemsize}")
    return neuroglancer.SegmentationLayer(
        source=_volume(neuroglancer, unsigned, chunk, voxel_size, "segmentation")
    )


def _contrast(array: NDArray[Any]) -> list[float]:
    """Grey values that become black and white: the first and the last percent lie outside. For a sample of the voxels."""
    sample = array.reshape(-1)[:: array.size // _MOST_SAMPLES + 1]
    sample = sample[np.isfinite(sample)].astype(np.float64)
    low, high = np.percentile(sample, [1, 99]).tolist() if sample.size else (0.0, 1.0)
    if array.dtype.kind != "f":
        low, high = round(low), round(high)
    return [low, high if high > low else low + 1]


def _volume(
    neuroglancer: Any,
    array: NDArray[Any],
    chunk: Chunk,
    voxel_size: VoxelSize,
    volume_type: str,
    channel: str = "",
) -> Any:
    """channel: name of the axis of channels, in Neuroglancer's notation: c^ for the shader, c' for one at a time."""
    shown = array if channel or array.ndim == 3 else array[0]
    return neuroglancer.LocalVolume(
        shown.transpose(),
        _space(neuroglancer, voxel_size, channel),
        volume_type=volume_type,
        voxel_offset=[*chunk.voxel_offset[::-1], *([0] if channel else [])],
    )


def _synapses(neuroglancer: Any, synapses: Synapses, voxel_size: VoxelSize) -> Any:
    """A point at each presynaptic site, and a line from it to each of its postsynaptic sites."""
    pre, post = _xyz(synapses.pre), _xyz(synapses.post)
    points = [neuroglancer.PointAnnotation(id=f"pre {i}", point=p) for i, p in enumerate(pre)]
    ends = enumerate(zip(synapses.parents.tolist(), post, strict=True))
    lines = [
        neuroglancer.LineAnnotation(id=f"post {i}", point_a=pre[parent], point_b=p)
        for i, (parent, p) in ends
    ]
    return neuroglancer.LocalAnnotationLayer(
        _space(neuroglancer, voxel_size), annotations=[*points, *lines]
    )


def _skeletons(neuroglancer: Any, skeletons: Mapping[int, Any]) -> Any:
    class Source(neuroglancer.skeleton.SkeletonSource):  # type: ignore[misc]
        def get_skeleton(self, object_id: int) -> Any:
            found = skeletons.get(object_id)
            return found and neuroglancer.skeleton.Skeleton(found.vertices, found.edges)

    return neuroglancer.SegmentationLayer(
        source=Source(_space(neuroglancer, _NANOMETRE)), segments=list(skeletons)
    )


def _space(neuroglancer: Any, voxel_size: VoxelSize, channel: str = "") -> Any:
    names, units, scales = list("xyz"), ["nm"] * 3, list(voxel_size[::-1])
    if channel:
        names, units, scales = [*names, channel], [*units, ""], [*scales, 1]
    return neuroglancer.CoordinateSpace(names=names, units=units, scales=scales)


def _xyz(zyx: NDArray[Any]) -> list[list[float]]:
    """Middles of voxels; the page takes whole numbers for their corners."""
    middles: list[list[float]] = (zyx[:, ::-1] + 0.5).tolist()
    return middles
