"""unique-labels"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk
    from chunkflow_worker.labels.layout import Layout


class UniqueLabels(Operator):
    """Give the objects of a box ids that no other box uses, and keep what joins them to others.

    The first of three steps that make the objects of all boxes one labelling: then merge-labels
    runs on the regions of a tree, and relabel on the boxes. Takes a segmentation, for example of
    connected-components, and makes one of uint64: an id is 1 + the index of the object's first
    voxel in the whole region. 0 stays background. The labels at the faces of the box, and the sizes
    and places of its objects, go into files of the work path.

    By default, objects of two boxes are one when their voxels are neighbours. For a mask this is
    exact: the result is that of connected-components on the whole region. With --link-by overlap,
    each box also segments voxels around it, and objects are one when enough of their voxels are the
    same.
    """

    group: ClassVar[str] = "Segmentation"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v s3://lab/mask -c 256 512 512 \
            load-precomputed -v s3://lab/mask \
            connected-components -c 26 \
            unique-labels -w s3://lab/labels -c 256 512 512 -n 26 \
            save-precomputed -v s3://lab/parts
    """
    writes_paths: ClassVar[tuple[str, ...]] = ("work_path",)
    op: Literal["unique-labels"] = "unique-labels"
    input_chunk_name: str = field("chunk", flag="-i", help="Segmentation to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Segmentation to make.")
    input_class_name: str = field(
        "",
        help="Chunk with the class of each voxel: objects of two classes are never joined.",
    )
    work_path: str = field(flag="-w", help="Folder for what joins the boxes, of this labelling.")
    chunk_size: Vec3 = field(flag="-c", help="Size of a box, as generate-tasks has it.")
    roi_start: Vec3 | None = field(
        None, flag="-s", help="First voxel of the region; by default, that of the volume."
    )
    roi_stop: Vec3 | None = field(
        None, flag="-r", help="Voxel after the last of the region; by default, the volume's end."
    )
    respect_chunk_size: bool = field(
        True, off="--respect-stop", help="As generate-tasks has it, for the last box of each axis."
    )
    link_by: Literal["touching", "overlap"] = field(
        "touching", flag="-l", help="What makes objects of two boxes one object."
    )
    connectivity: Literal["6", "18", "26"] = field(
        "6",
        flag="-n",
        help="Which voxels are neighbours, as in connected-components; for touching.",
    )
    overlap: Vec3 | None = field(
        None, help="Voxels that a box reads around itself on each side; for overlap."
    )
    min_share: float = field(
        0.5, gt=0, le=1, help="Share of an object's voxels that must be the same; for overlap."
    )
    share_of: Literal["smaller", "union"] = field(
        "smaller", help="Of which voxels: those of the smaller object, or of both; for overlap."
    )

    @model_validator(mode="after")
    def _one_link(self) -> UniqueLabels:
        by_overlap = self.link_by == "overlap"
        if by_overlap != (self.overlap is not None):
            raise ValueError("link_by overlap and overlap are given together, or neither of them")
        if self.overlap and not (
            any(self.overlap) and min(self.overlap) >= 0 and self.overlap.fits_in(self.chunk_size)
        ):
            raise ValueError("overlap must be from 0 to the chunk size along each axis")
        return self

    @property
    def margin(self) -> Vec3:
        return self.overlap or Vec3(0, 0, 0)

    @property
    def output_type(self) -> str:
        return "uint64"

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return [f"{self.work_path}/{kind}/{box}.npz" for kind in ("faces", "objects")]

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.labels.folder import Folder
        from chunkflow_worker.labels.leaf import label_box

        needs("fastremap", extra="segmentation")
        folder = Folder(self.work_path)

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            labels = chunk.object_ids(self.input_chunk_name)
            box, layout = self._box(task, chunk), self._layout(chunk)
            if box not in layout.boxes:
                region = layout.tree.region
                raise ConfigError.one(
                    self.label,
                    "chunk_size",
                    f"{list(self.chunk_size)} cuts {region} into other boxes than {box}",
                    "give chunk_size, roi_start, roi_stop and respect_chunk_size as for the tasks",
                )
            self._check_margin(chunk, box, layout)
            kinds = None
            if self.input_class_name:
                names = self.input_chunk_name, self.input_class_name
                kinds = task.chunks_of_one_box(*names)[1].object_ids(self.input_class_name)
            leaf = label_box(labels, chunk.voxel_offset, box, layout, kinds)
            if not run.dry_run:
                folder.put_layout(layout)
                task.bytes_written += folder.put("objects", box, leaf.objects.arrays())
                task.bytes_written += folder.put("faces", box, leaf.faces.arrays())
            task.values[self.output_chunk_name] = chunk.with_array(
                leaf.ids.reshape(chunk.array.shape), layer_type="segmentation"
            )

        yield step

    def _box(self, task: Task, chunk: Chunk) -> BoundingBox:
        if task.bbox is None:
            cure = "for example by generate-tasks"
            raise ConfigError.one(self.label, "tasks", "have no boxes, and ids need them", cure)
        if task.box_of(chunk) != task.bbox:
            raise ChunkMismatch(
                f"{self.input_chunk_name!r} has larger voxels than the boxes; cut the region at "
                "the mip of the segmentation"
            )
        return task.bbox

    def _check_margin(self, chunk: Chunk, box: BoundingBox, layout: Layout) -> None:
        needed = box.grow(self.margin).clip(chunk.bounds or layout.region)
        if self.overlap and needed is not None and not chunk.bbox.contains(needed):
            raise ChunkMismatch(
                f"{self.input_chunk_name!r} is {chunk.bbox}, and to be linked by overlap it must "
                f"be {needed}"
            )

    def _layout(self, chunk: Chunk) -> Layout:
        """The layout of the whole labelling. Raises ConfigError when the region is not known."""
        from chunkflow_worker.labels.layout import Layout, Links

        bounds = chunk.bounds
        start = self.roi_start or (bounds.start if bounds else None)
        stop = self.roi_stop or (bounds.stop if bounds else None)
        if start is None or stop is None:
            problem = "is not given, and the chunk does not come from a volume that tells it"
            raise ConfigError.one(
                self.label, "region", problem, "give roi_start and roi_stop, as for the tasks"
            )
        boxes = Grid(
            roi_start=start,
            roi_stop=stop,
            chunk_size=self.chunk_size,
            respect_chunk_size=self.respect_chunk_size,
        ).boxes()
        connectivity = int(self.connectivity)
        links = Links(self.link_by, connectivity, self.margin, self.min_share, self.share_of)
        return Layout(boxes, links, chunk.voxel_size)
