"""download-mesh"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.fragments import parse_ids
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.json_text import parse_json
from chunkflow_worker.storage.local_file import atomic_file, in_folder, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DownloadMesh(Operator):
    """Write the meshes of objects to PLY or OBJ files on this machine, for example 42.ply.

    Positions are in nanometres. Reads Neuroglancer's meshes of one or several resolutions, sharded
    or not; the fragments of an object become one mesh. An object without a mesh is an error. The
    objects of a segmentation are ranked by their number of voxels, the largest first.
    """

    group: ClassVar[str] = "Mesh and skeleton"
    example: ClassVar[str] = "chunkflow download-mesh -v s3://lab/seg -i 42,99 -o meshes/ -f obj"
    differs: ClassVar[str] = "In chunkflow, the command makes no task, so it does nothing."
    other_volumes: ClassVar[tuple[str, ...]] = ("volume_path",)
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"volume_path": ("precomputed",)}
    writes_files: ClassVar[tuple[str, ...]] = ("out_pre",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--ids": "--input",
    }
    op: Literal["download-mesh"] = "download-mesh"
    volume_path: str = field(flag="-v", help="Volume of the meshes, or the folder that holds them.")
    input: str = field(
        flag="-i",
        many=True,
        help="Object ids separated by commas, a file of ids (text, JSON or .npy), or a "
        "segmentation of the task.",
    )
    start_rank: int = field(
        0,
        flag="-s",
        ge=0,
        help="Rank of the first object to write, counted from 0: its position among the ids, or "
        "by size.",
    )
    stop_rank: int | None = field(
        None, flag="-p", ge=0, help="Rank after the last object to write; default: all objects."
    )
    out_pre: str = field("./", flag="-o", help="Folder, or prefix of the file names.")
    out_format: Literal["ply", "obj"] = field("ply", flag="-f", help="Format of the files.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.volumes.mesh import MeshSource

        given = None if self._names_a_value else self._ranked(self._ids())
        source = MeshSource(self.volume_path)

        def step(task: Task) -> None:
            if given is not None and task.bbox is not None:
                cure = "run it by itself: chunkflow download-mesh"
                raise ConfigError.one(
                    self.label,
                    f"box {task.bbox}",
                    "meshes belong to whole objects, not to a box",
                    cure,
                )
            ids = (
                given
                if given is not None
                else self._ranked(_largest_first(task.chunk(self.input).object_ids(self.input)))
            )
            for done, object_id in enumerate(ids, 1):
                mesh = source.read(object_id)
                content = mesh.to_ply() if self.out_format == "ply" else mesh.to_obj()
                task.bytes_read += mesh.vertices.nbytes + mesh.faces.nbytes
                if not run.dry_run:
                    with atomic_file(
                        Path(f"{in_folder(self.out_pre)}{object_id}.{self.out_format}")
                    ) as part:
                        part.write_bytes(content)
                    task.bytes_written += len(content)
                task.progress(f"{done} of {len(ids)} meshes")

        yield step

    @property
    def _names_a_value(self) -> bool:
        return bool(re.fullmatch(r"[^\W\d][\w-]*", self.input)) and not Path(self.input).exists()

    def reads(self) -> tuple[str, ...]:
        return (self.input,) if self._names_a_value else ()

    def _ranked(self, ids: list[int]) -> list[int]:
        """The ids of the ranks that are asked for. Raises ConfigError if there are none."""
        ranked = ids[self.start_rank : self.stop_rank]
        if not ranked:
            stop = "the end" if self.stop_rank is None else self.stop_rank
            ranks = f"from {self.start_rank} to {stop}"
            raise ConfigError.one(
                self.label, "start_rank", f"{self.input} has no ids of the ranks {ranks}"
            )
        return ranked

    def _ids(self) -> list[int]:
        try:
            return parse_ids(self.input)
        except ValueError:
            pass
        path = Path(self.input)
        with reading(path, "object ids"):
            if path.suffix == ".npy":
                import numpy as np

                ids = np.load(path, mmap_mode="r", allow_pickle=False)
                if ids.dtype.kind not in "ui":
                    raise ValueError(f"it holds {ids.dtype}")
                return [int(i) for i in ids.ravel()]
            if path.suffix == ".json":
                return [int(i) for i in parse_json(path.read_text())]
            return parse_ids(path.read_text())


def _largest_first(objects: NDArray[Any]) -> list[int]:
    """The ids of a segmentation without 0, by number of voxels; if equal, the lower id first."""
    import numpy as np

    ids, counts = np.unique(objects, return_counts=True)
    return [int(i) for i in ids[np.argsort(-counts, kind="stable")] if i != 0]
