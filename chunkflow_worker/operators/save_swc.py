"""save-swc"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import atomic_file, in_folder
from chunkflow_worker.storage.written_file import ANY_ID


class SaveSwc(Operator):
    """Write each skeleton to an SWC file named by its object, for example 42.swc.

    Each file appears whole or not at all. Takes a mapping of object ids to skeletons of osteoid, as
    kimimaro and CloudVolume make them; positions are x, y, z in nanometres. SWC files can contain
    only trees, so one edge of each loop is left out.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f seg.h5 skeletonize -o skels save-swc -i skels -p skeletons/"
    )
    differs: ClassVar[str] = (
        "A task with a box adds it to the names, for example 42_0-64_0-512_0-512.swc, so that the "
        "parts of an object in other boxes are not overwritten."
    )
    writes_files: ClassVar[tuple[str, ...]] = ("output_prefix",)
    op: Literal["save-swc"] = "save-swc"
    input_name: str = field("skels", flag="-i", help="Skeletons to write, by object id.")
    output_prefix: str = field("./", flag="-p", help="Folder, or prefix of the file names.")

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return [f"{in_folder(self.output_prefix)}{ANY_ID}_{box}.swc"]

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        osteoid = needs("osteoid", extra="files")

        def step(task: Task) -> None:
            skeletons = task.values.get(self.input_name)
            if not isinstance(skeletons, Mapping) or not all(
                isinstance(s, osteoid.Skeleton) for s in skeletons.values()
            ):
                raise ChunkMismatch(
                    f"{self.input_name!r} is a {type(skeletons).__name__}, and a mapping of ids to "
                    "skeletons is needed"
                )
            box = f"_{task.bbox}" if task.bbox else ""
            for object_id, skeleton in skeletons.items():
                text = _swc(skeleton)
                if not run.dry_run:
                    with atomic_file(
                        Path(f"{in_folder(self.output_prefix)}{object_id}{box}.swc")
                    ) as part:
                        part.write_text(text)
                    task.bytes_written += len(text)

        yield step


def _swc(skeleton: Any) -> str:
    """The text of the file, with the nodes without an edge, which osteoid leaves out."""
    physical = skeleton.physical_space(copy=True) if skeleton.space == "voxel" else skeleton
    text: str = physical.to_swc()
    rows = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
    linked = set(physical.edges.ravel().tolist())
    lonely = [i for i in range(len(physical.vertices)) if i not in linked]
    lines = [text.rstrip("\n")]
    for number, node in enumerate(lonely, rows + 1):
        x, y, z = physical.vertices[node]
        lines.append(
            f"{number} {physical.vertex_types[node]} {x:0.6f} {y:0.6f} {z:0.6f} "
            f"{physical.radius[node]:0.6f} -1"
        )
    return "\n".join(lines) + "\n"
