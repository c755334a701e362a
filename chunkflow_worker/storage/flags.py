"""`Flags`: files named by a box whose existence says something about the box's task."""

from __future__ import annotations

from dataclasses import dataclass

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.written_file import note_shared


@dataclass(frozen=True)
class Flags:
    """Files named `<prefix><box><suffix>`, in a local folder or in object storage.

    prefix: a folder, or an address such as s3://bucket/folder, and the beginning of the name.
    adjust_size: voxels by which the box in the name is larger on each side than the task's box;
        negative makes it smaller.
    Methods raise ConfigError when there is no box to name the file.
    """

    prefix: str
    suffix: str = ""
    adjust_size: int = 0

    def size(self, box: BoundingBox | None) -> int | None:
        """Size in bytes of the box's file; None when it is absent. Raises StorageUnavailable."""
        files, name = self._place(box)
        return files.size(name)

    def mark(self, box: BoundingBox | None) -> None:
        """Write an empty file for the box. A file that exists is left as it is.

        Raises StorageUnavailable.
        """
        files, name = self._place(box)
        if files.size(name) is None:
            files.put(name, b"", "application/octet-stream")
        else:
            note_shared(f"{files.path}/{name}")

    def name(self, box: BoundingBox | None) -> str:
        """The full name of the box's file."""
        if box is None:
            raise ConfigError.one(
                "prefix",
                repr(self.prefix),
                "needs a box to complete it, but there is no box",
                f"give the chain boxes, for example by {operator_with('is_grid')}",
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
        return Files(folder or slash or "."), name
