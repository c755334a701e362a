"""load-synapses"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field, with_flag
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.once import warn_once
from chunkflow_worker.storage.formats.table_file import read_table
from chunkflow_worker.storage.local_file import in_folder, reading

if TYPE_CHECKING:
    from chunkflow_worker.image.synapses import Synapses

log = logging.getLogger(__name__)

# A minus after a letter or digit separates words: the box in `syn-0-8_...` begins with 0.
_BOX = re.compile(r"(?:(?<![0-9A-Za-z])-)?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+")


class LoadSynapses(Operator):
    """Read synapses from an HDF5 or JSON file of chunkflow.

    An empty file means that there are no synapses. If the file gives the order of the axes, that
    order is used.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-synapses -f synapses.json save-synapses -f synapses.h5"
    differs: ClassVar[str] = (
        "--resolution is always z y x; in chunkflow, it had the order of the file. The JSON that "
        "save-synapses writes is read too. A prefix needs no suffix. A box without synapses gives "
        "an empty value, not None."
    )
    reads_files: ClassVar[tuple[str, ...]] = ("file_path",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--path-suffix": "--suffix",
    }
    op: Literal["load-synapses"] = "load-synapses"
    name: str = with_flag(Operator, "name", "-n")
    file_path: str = field(
        flag="-f",
        help="File. If no such file exists, it is a folder or prefix, and the box is added.",
    )
    suffix: str | None = field(
        None, flag="-s", help="End of the file's name, after the box; default: .h5."
    )
    c_order: bool = field(True, off="--f-order", help="Axes in the file are zyx, not xyz.")
    resolution: tuple[float, float, float] | None = field(
        None,
        flag="-r",
        help="Size of a voxel in nanometres, z y x, also for a file in xyz; default: the file's.",
    )
    remove_outside: bool = field(
        False,
        off="--keep-all",
        help="Remove synapses whose presynaptic site is outside the task's box.",
    )
    set_bbox: bool = field(
        False, off="--not-set-bbox", help="Use the box in the file's name as the task's box."
    )
    output_name: str = field("syns", flag="-o", help="Synapses to make.")

    _sizes = field_validator("resolution")(above_zero)

    def box_after(self, box: BoundingBox) -> BoundingBox | None:
        return None if self.set_bbox else box

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        needs("h5py", extra="files")

        def step(task: Task) -> None:
            path = self._path(task.bbox)
            if self.set_bbox:
                task.bbox = self._box_of(path)
            synapses = self._read(path)
            if self.remove_outside:
                if task.bbox is None:
                    raise ConfigError.one(
                        self.label,
                        "remove_outside",
                        "needs a box, but the task has none",
                        "add --set-bbox",
                    )
                synapses = synapses.inside(task.bbox, task.voxel_size)
            task.values[self.output_name] = synapses

        yield step

    def _path(self, box: BoundingBox | None) -> Path:
        if self.file_path.endswith((".h5", ".json")) or Path(self.file_path).is_file():
            return Path(self.file_path)
        if box is None:
            cure = (
                "end it with .h5 or .json, or give the chain boxes, for example by generate-tasks"
            )
            raise ConfigError.one(
                "file_path",
                repr(self.file_path),
                "needs a box to complete it, but the task has none",
                cure,
            )
        return Path(f"{in_folder(self.file_path)}{box}{self.suffix or '.h5'}")

    def _box_of(self, path: Path) -> BoundingBox:
        found = _BOX.search(path.name)
        try:
            return BoundingBox.parse(found[0] if found else "")
        except ValueError:
            raise ConfigError.one(
                self.label, "set_bbox", f"there is no box in the name of {path}"
            ) from None

    def _read(self, path: Path) -> Synapses:
        from chunkflow_worker.image.synapses import Synapses

        with reading(path, "synapses"):
            if path.stat().st_size == 0:
                return Synapses.empty(self.resolution)
            content = read_table(path)
        self._warn_of_order(content)
        try:
            return Synapses.from_mapping(content, zyx=self.c_order, voxel_size=self.resolution)
        except ChunkMismatch as error:
            raise ChunkMismatch(f"{path}: {error}") from None

    def _warn_of_order(self, content: Mapping[str, Any]) -> None:
        """Warn of a file in xyz, which may suggest that --resolution is x, y, z as well."""
        order = content.get("order", "zyx" if self.c_order else "xyz")
        size = self.resolution
        if size is not None and size[0] != size[2] and str(order[0]).lower() == "x":
            warn_once(
                log,
                f"--resolution {' '.join(f'{n:g}' for n in size)} is taken as z y x, although the "
                "positions in the file are x y z",
            )
