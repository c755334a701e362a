"""`Flags`: files named by a box, in a folder or in object storage, whose being there says something of the box's task."""

from __future__ import annotations

from dataclasses import dataclass

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.files import Files


@dataclass(frozen=True)
class Flags:
    """Files named `<prefix><box><suffix>`.

    prefix: folder, or address such as s3://bucket/folder, and the begin of the name.
    adjust_size: voxels by which the box in the name is larger than the task's, on each side; smaller when negative.
    """

    prefix: str
    suffix: str = ""
    adjust_size: int = 0

    def size(self, box: BoundingBox | None) -> int | None:
        """Bytes of a box's file; None when there is none. Raises StorageUnavailable."""
        files, name = self._place(box)
        return files.size(name)

    def mark(self, box: BoundingBox | None) -> None:
        """Make an empty file for a box, unless there is one already, whatever it holds. Raises StorageUnavailable."""
        files, name = self._place(box)
        if files.size(name) is None:
            files.put(name, b"", "application/octet-stream")

    def name(self, box: BoundingBox | None) -> str:
        """The whole name of a box's file. Raises ConfigError when there is no box, or nothing left of it."""
        if box is None:
            cure = f"give the chain boxes, for example by {operator_with('is_grid')}"
            raise ConfigError.one(
                "prefix",
                repr(self.prefix),
                "is to be completed by a box, and there is no box",
                cure,
            )
        try:
            return f"{self.prefix}{box.grow(self.adjust_size)}{self.suffix}"
        except ValueError:
            cure = f"the box {box} has {list(box.size)} voxels"
            raise ConfigError.one(
                "adjust_size", str(self.adjust_size), "leaves nothing of a box", cure
            ) from None

    def _place(self, box: BoundingBox | None) -> tuple[Files, str]:
        folder, slash, name = self.name(box).rpartition("/")
        return Files(folder or (slash or ".")), name
