"""napari"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.pipeline.operator import Operator, Run, Step, split_names
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import VoxelSize

_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
_NANOMETRE = (1.0, 1.0, 1.0)


class Napari(Operator):
    """Show chunks, synapses, points and skeletons as layers in a window of napari.

    The chain goes on when the window is closed. Layers have their place in nanometres, so that
    those of different voxel sizes fit. Each channel is a layer of its own. Segmentations and
    integers of 32 or 64 bits are labels. Synapses are points, with vectors to their postsynaptic
    sites. Needs a screen: neuroglancer shows the same in a browser.
    """

    group: ClassVar[str] = "View"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f em.h5 load-h5 -f seg.h5 -o seg napari -i chunk,seg"
    )
    differs: ClassVar[str] = "Voxel sizes need not be whole numbers. The place is shown."
    op: Literal["napari"] = "napari"
    voxel_size: tuple[float, float, float] | None = field(
        None, flag="-v", help="Size of a voxel in nanometres; each value's own when not given."
    )
    inputs: str = field(
        "chunk",
        flag="-i",
        help="Values to show, separated by commas; the first is the lowest layer.",
    )

    _sizes = field_validator("voxel_size")(above_zero)

    def reads(self) -> tuple[str, ...]:
        return split_names(self.inputs)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        # Qt ends the whole process when it finds no screen.
        if sys.platform == "linux" and not any(os.environ.get(name) for name in _SCREENS):
            problem = "there is none for the window: DISPLAY and WAYLAND_DISPLAY are not set"
            raise ConfigError.one(
                self.label,
                "screen",
                problem,
                "use the operator neuroglancer, which needs no screen here",
            )
        napari = needs("napari", extra="napari")

        def step(task: Task) -> None:
            values = {name: task.value(name) for name in self.reads()}
            viewer = napari.Viewer(title=f"{', '.join(values)} of {task.bbox or 'the task'}")
            for name, value in values.items():
                _show(viewer, name, value, self.voxel_size)
            napari.run()

        yield step


def _show(viewer: Any, name: str, value: Any, voxel_size: VoxelSize | None) -> None:
    """Add the layers of one value. Raises ChunkMismatch if it cannot be shown."""
    import numpy as np

    from chunkflow_worker.image.chunk import Chunk
    from chunkflow_worker.image.points import Points
    from chunkflow_worker.image.synapses import Synapses

    if isinstance(value, Chunk):
        size = voxel_size or value.voxel_size
        place = {
            "name": name,
            "scale": size,
            "translate": tuple(np.multiply(value.voxel_offset, size).tolist()),
        }
        if value.is_segmentation:
            viewer.add_labels(value.object_ids(name), **place)
        else:
            viewer.add_image(
                value.array, channel_axis=0 if value.array.ndim == 4 else None, **place
            )
    elif isinstance(value, Synapses):
        size = voxel_size or value.voxel_size or _NANOMETRE
        _show_vectors(viewer, f"{name} to post", value.pre[value.parents], value.post, size)
        viewer.add_points(value.pre, name=name, scale=size)
    elif isinstance(value, Points):
        viewer.add_points(value.array, name=name, scale=voxel_size or value.voxel_size)
    elif isinstance(value, Mapping) and all(
        hasattr(skeleton, "vertices") for skeleton in value.values()
    ):
        ends = [skeleton.vertices[skeleton.edges][..., ::-1] for skeleton in value.values()]
        starts, stops = np.concatenate([np.zeros((0, 2, 3)), *ends]).swapaxes(0, 1)
        _show_vectors(viewer, name, starts, stops, _NANOMETRE)
    else:
        raise ChunkMismatch(
            f"{name!r} is a {type(value).__name__}; napari shows chunks, synapses, points and "
            "skeletons"
        )


def _show_vectors(
    viewer: Any, name: str, starts: NDArray[Any], ends: NDArray[Any], size: VoxelSize
) -> None:
    """Show lines from `starts` to `ends`, both of shape (n, 3), zyx, in voxels of `size`."""
    import numpy as np

    viewer.add_vectors(np.stack([starts, ends - starts], axis=1), name=name, scale=size)
