"""`Plannable`: an operator that says before a run what a task will take."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.task import Task


@runtime_checkable
class Plannable(Protocol):
    """What `chunkflow-worker check` asks an operator whose tasks need much time or memory.

    Sizes are zyx, in voxels of what the operator reads. image_type: NumPy name of the type of
    these voxels, for example uint8.
    """

    def device(self) -> str:
        """Name of the device that it computes on."""

    def plan(self, size: Vec3, image_type: str, unit: Vec3) -> list[str]:
        """Lines for people: what a task on a box of `size` takes, and which sizes would be better.

        unit: a better size must be a multiple of it.
        """

    def task_bytes(self, size: Vec3, image_type: str) -> int:
        """Memory in bytes that such a task takes, in addition to what the open operator takes."""

    def task_seconds(self, size: Vec3, rehearsed: float) -> float:
        """Seconds that such a task takes the device, if the rehearsal took `rehearsed` seconds."""

    def patches(self, box: BoundingBox, bounds: BoundingBox | None) -> Vec3:
        """Numbers of patches along z, y and x that produce a box of an image that has bounds."""

    def patch_voxels(self) -> int:
        """Number of voxels that one patch results in, with those that overlap others."""

    def rehearsal(self) -> Task:
        """A small task; while it runs, the memory that the open operator takes can be measured."""
