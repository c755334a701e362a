"""merge-labels"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.region import region_of
from chunkflow_worker.pipeline.task import Task


class MergeLabels(Operator):
    """Join the objects of the boxes of a region, after unique-labels.

    Its tasks are the regions of a tree: first 2 x 2 x 2 boxes, then 2 x 2 x 2 of those regions, and
    so on to the whole grid; each wave when the one before is complete. A task reads the labels at
    the faces of its boxes, or what its regions left open. It holds only the objects at faces, and
    no voxels besides. When the whole grid is done, relabel writes the ids, and object-table the
    table of all objects.

    Sizes are those of whole objects, not of their parts in a box.
    """

    group: ClassVar[str] = "Segmentation"
    example: ClassVar[str] = (
        "chunkflow generate-tasks -s 0 0 0 -r 512 1024 1024 -c 512 1024 1024 \\\n"
        "    merge-labels -w s3://lab/labels --min-size 100"
    )
    writes_paths: ClassVar[tuple[str, ...]] = ("work_path",)
    op: Literal["merge-labels"] = "merge-labels"
    work_path: str = field(flag="-w", help="Folder that unique-labels wrote to.")
    min_size: int | None = field(None, ge=1, help="Drop objects with fewer voxels than this.")
    max_size: int | None = field(None, ge=1, help="Drop objects with more voxels than this.")
    drop_border: bool = field(False, help="Drop objects that touch the border of the whole region.")
    fill_missing: bool = field(
        False,
        help="Boxes without files hold no objects: they were skipped, or a mask left them out. "
        "Otherwise they are an error.",
    )

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return [f"{self.work_path}/{kind}/{box}.npz" for kind in ("complete", "open")]

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.labels.folder import Folder
        from chunkflow_worker.labels.gather import gather
        from chunkflow_worker.labels.objects import Filter
        from chunkflow_worker.labels.unite import unite

        needs("scipy", extra="image")
        folder = Folder(self.work_path)
        keeps = Filter(self.min_size, self.max_size, self.drop_border)

        def step(task: Task) -> None:
            what = "regions of a tree over the boxes of unique-labels"
            region = region_of(task, folder, self.label, what)
            children, links = gather(folder, region, keeps, self.fill_missing)
            made = unite(folder.layout(), region, list(children.values()), links, keeps)
            if run.dry_run:
                return
            for box, answer in zip(children, made.answers, strict=True):
                task.bytes_written += folder.put("answers", box, answer.arrays())
            task.bytes_written += folder.put("complete", region, made.complete.arrays())
            task.bytes_written += folder.put("open", region, made.node.arrays())

        yield step
