"""object-table"""

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


class ObjectTable(Operator):
    """Write the table of all objects of a labelling: sizes, centroids and bounding boxes.

    Its tasks are those of merge-labels, when all of them are done. Each writes one file, with the
    objects whose last parts it joined; the folder of these files is the table, and each object is
    in it once. pandas, polars, DuckDB and Arrow read such a folder of Parquet files as one table.

    Columns: id; voxels; z_voxel, y_voxel, x_voxel: the centroid, the mean place of the voxels;
    z_nm, y_nm, x_nm: the same in nanometres; z_start, z_stop, ...: the bounding box in voxels,
    half-open; class; at_border: whether it touches the border of the region.
    """

    group: ClassVar[str] = "Segmentation"
    example: ClassVar[str] = (
        "chunkflow generate-tasks -s 0 0 0 -r 512 1024 1024 -c 512 1024 1024 \\\n"
        "    object-table -w s3://lab/labels -o s3://lab/objects-table"
    )
    reads_paths: ClassVar[tuple[str, ...]] = ("work_path",)
    writes_paths: ClassVar[tuple[str, ...]] = ("output_path",)
    op: Literal["object-table"] = "object-table"
    work_path: str = field(flag="-w", help="Folder that merge-labels wrote to.")
    output_path: str = field(flag="-o", help="Folder for the files of the table.")
    compact: bool = field(
        False, help="Ids from 1 on, without gaps, as relabel gives them with this option."
    )
    format: Literal["parquet", "csv"] = field("parquet", flag="-f", help="Format of the files.")

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return [f"{self.output_path}/{box}.{self.format}"]

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.labels.folder import Folder
        from chunkflow_worker.labels.rows import final_rows
        from chunkflow_worker.labels.table import columns_of, encoded
        from chunkflow_worker.storage.files import Files

        if self.format == "parquet":
            needs("pyarrow", extra="archive")
        folder, target = Folder(self.work_path), Files(self.output_path)

        def step(task: Task) -> None:
            region = region_of(task, folder, self.label, "regions that merge-labels joined")
            ids, objects = final_rows(folder, region, self.compact)
            content = encoded(columns_of(folder.layout(), ids, objects), self.format)
            if not run.dry_run:
                target.put(f"{region}.{self.format}", content, "application/octet-stream")
                task.bytes_written += len(content)

        yield step
