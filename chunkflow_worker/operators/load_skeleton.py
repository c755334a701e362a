"""load-skeleton"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch, DataMissing
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.fragments import parse_ids
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import reading

_COLUMNS = 7


class LoadSkeleton(Operator):
    """Read skeletons from an SWC file, from all SWC files of a folder, or from a volume.

    Makes a mapping of object ids to skeletons of osteoid. A file's name begins with its object's
    id. Several files of one object, for example of several boxes, become one skeleton. Of a volume,
    the skeletons of some objects are read, in Neuroglancer's format, sharded or not. Positions are
    x, y, z in nanometres, as in osteoid, kimimaro and CloudVolume.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = (
        "chunkflow load-skeleton -p skeletons/ --offset 0 4096 4096 save-swc -p moved/"
    )
    differs: ClassVar[str] = (
        "In chunkflow, the command fails on import. The offset is added. --offset has no short "
        "flag, because -o is --output-name. Mapbuffer files are not read."
    )
    reads_files: ClassVar[tuple[str, ...]] = ("path",)
    other_volumes: ClassVar[tuple[str, ...]] = ("volume_path",)
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"volume_path": ("precomputed",)}
    renamed: ClassVar[Mapping[str, str]] = {
        "-f, --fname": "--path",
    }
    op: Literal["load-skeleton"] = "load-skeleton"
    path: str | None = field(None, flag="-p", help="SWC file, or folder of SWC files.")
    volume_path: str | None = field(
        None,
        flag="-v",
        help="Volume of the skeletons, or the folder that holds them, instead of path.",
    )
    ids: str | None = field(
        None, flag="-i", many=True, help="Object ids of the volume, separated by commas."
    )
    offset: tuple[float, float, float] | None = field(
        None, help="Nanometres to move the skeletons by, zyx."
    )
    voxel_offset: Vec3 | None = field(
        None, flag="-t", help="Voxels to move them by, instead of offset; needs voxel_size."
    )
    voxel_size: tuple[float, float, float] | None = field(
        None, flag="-s", help="Size of these voxels in nanometres."
    )
    output_name: str = field("skels", flag="-o", help="Skeletons to make, by object id.")

    _sizes = field_validator("voxel_size")(above_zero)

    @field_validator("ids")
    @classmethod
    def _are_ids(cls, value: str | None) -> str | None:
        if value is not None:
            parse_ids(value)
        return value

    @model_validator(mode="after")
    def _one_source(self) -> LoadSkeleton:
        if (self.path is None) == (self.volume_path is None):
            raise ValueError("give path, or volume_path with ids, and not both")
        if (self.volume_path is None) != (self.ids is None):
            raise ValueError("volume_path and ids need each other: give both")
        return self

    @model_validator(mode="after")
    def _one_offset(self) -> LoadSkeleton:
        if self.voxel_offset is not None and self.voxel_size is None:
            raise ValueError("voxel_offset needs voxel_size: give both")
        if self.voxel_offset is not None and self.offset is not None:
            raise ValueError("offset and voxel_offset have the same meaning: give one of them")
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        osteoid = needs("osteoid", extra="files")

        if self.volume_path is not None and self.ids is not None:
            from chunkflow_worker.volumes.skeletons import SkeletonSource

            source, ids = SkeletonSource(self.volume_path), parse_ids(self.ids)

        def read(task: Task) -> Iterator[Any]:
            if self.path is None:
                for object_id in ids:
                    skeleton = source.read(object_id)
                    task.bytes_read += skeleton.vertices.nbytes + skeleton.edges.nbytes
                    yield skeleton
                return
            for path in _files(Path(self.path)):
                with reading(path, "SWC"):
                    text = path.read_text()
                    skeleton = osteoid.Skeleton.from_swc(_plain(text))
                task.bytes_read += len(text)
                skeleton.id, skeleton.space = _object_id(path), "physical"
                yield skeleton

        def step(task: Task) -> None:
            parts: dict[int, list[Any]] = {}
            for skeleton in read(task):
                skeleton.vertices = skeleton.vertices + self._offset()
                parts.setdefault(skeleton.id, []).append(skeleton)
            task.values[self.output_name] = {
                i: _merged(osteoid, i, many) for i, many in sorted(parts.items())
            }

        yield step

    def _offset(self) -> Any:
        """Nanometres to move by, xyz."""
        import numpy as np

        moved = self.offset or (0.0, 0.0, 0.0)
        if self.voxel_offset is not None and self.voxel_size is not None:
            z, y, x = (o * s for o, s in zip(self.voxel_offset, self.voxel_size, strict=True))
            moved = (z, y, x)
        return np.array(moved[::-1], np.float32)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix == ".swc" and not p.name.startswith("."))
    if not files:
        raise DataMissing(f"there are no SWC files in {path}")
    return files


def _object_id(path: Path) -> int:
    found = re.match(r"\d+(?=[_.])", path.name)
    if found is None:
        raise ChunkMismatch(
            f"the name of {path} does not begin with an object's id, for example 42.swc"
        )
    return int(found[0])


def _plain(text: str) -> str:
    """The rows without comments and with single spaces, since osteoid reads no others.

    Raises ValueError for a row that is too short, or whose parent is missing.
    """
    rows = [row for line in text.splitlines() if (row := line.partition("#")[0].split())]
    short = next((row for row in rows if len(row) < _COLUMNS), None)
    if short is not None:
        shown = " ".join(short)[:60]
        raise ValueError(f"the row {shown!r} has {len(short)} numbers, and SWC has {_COLUMNS}")
    ids = {int(row[0]) for row in rows}
    for row in rows:
        if (parent := int(row[6])) >= 0 and parent not in ids:
            raise ValueError(f"the parent {parent} of its node {row[0]} is missing")
    return "\n".join(map(" ".join, rows))


def _merged(osteoid: Any, object_id: int, parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    merged = osteoid.Skeleton.simple_merge(parts).consolidate(remove_disconnected_vertices=False)
    merged.id, merged.space = object_id, "physical"
    return merged
