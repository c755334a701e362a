"""skeletonize"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ValidationInfo, field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.fragments import object_voxels, parse_ids, with_overlap, xyz_name
from chunkflow_worker.pipeline.cut_objects import warn_of_cut_objects
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import ANY_ID

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk, VoxelSize


class Skeletonize(Operator):
    """Trace a skeleton through each object of a segmentation, by kimimaro.

    Makes a mapping of object ids to skeletons of osteoid. Nodes are x, y, z in nanometres, in the
    middle of voxels, with radii. The voxel after the box is read too, so that the skeletons of
    neighbouring boxes meet in the same nodes; a chunk without a task's box, such as a cutout of a
    file, counts as a whole image. With --fragments-path they are written for
    aggregate-skeleton-fragments, named by the object and the box as x, y, z. save-swc writes SWC
    files.
    """

    group: ClassVar[str] = "Mesh and skeleton"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f seg.h5 skeletonize -v 40 4 4 -d 5000 save-swc -p skeletons/"
    )
    differs: ClassVar[str] = "chunkflow 1.2.0 has it only as a plugin."
    writes_paths: ClassVar[tuple[str, ...]] = ("fragments_path",)
    renamed: ClassVar[Mapping[str, str]] = {
        "-n": "--name",
        "--output-path": "--fragments-path",
    }
    op: Literal["skeletonize"] = "skeletonize"
    input_chunk_name: str = field("chunk", flag="-i", help="Segmentation to read; 0 is no object.")
    output_name: str = field("skels", flag="-o", help="Skeletons to make, by object id.")
    voxel_size: tuple[float, float, float] | None = field(
        None, flag="-v", help="Size of a voxel in nanometres; default: the chunk's."
    )
    object_ids: str | None = field(
        None, many=True, help="Objects to take: ids separated by commas; default: all."
    )
    scale: float = field(
        1.5, flag="-s", ge=0, help="A path covers all voxels within this many times its radius."
    )
    const: float = field(300, flag="-c", ge=0, help="Nanometres that are added to that distance.")
    dust_threshold: int = field(
        1000, flag="-d", ge=0, help="Components of fewer voxels get no skeleton."
    )
    max_paths: int | None = field(
        None, ge=1, help="Largest number of paths in an object; default: as many as it needs."
    )
    fill_holes: bool = field(
        False, help="Fill the holes in objects first; objects in these holes are lost."
    )
    fix_branching: bool = field(
        True, help="Place branch points where paths really separate; slower."
    )
    fragments_path: str | None = field(
        None, flag="-f", help="Also write the skeletons to this folder: file://, s3:// or gs://."
    )
    spatial_index: bool = field(
        False,
        help="Also write where the objects of the box lie, for the spatial index of "
        "aggregate-skeleton-fragments.",
    )

    _sizes = field_validator("voxel_size")(above_zero)

    @field_validator("object_ids")
    @classmethod
    def _are_ids(cls, value: str | None) -> str | None:
        if value:
            parse_ids(value)
        return value

    @field_validator("spatial_index")
    @classmethod
    def _is_of_fragments(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("fragments_path") is None:
            raise ValueError("is written beside fragments: give fragments_path, or leave it out")
        return value

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        return with_overlap(box, bounds)

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        part = task.box_in_image(self.input_chunk_name, box)
        if part is None or self.fragments_path is None:
            return []
        ids = parse_ids(self.object_ids) if self.object_ids else [ANY_ID]
        return [
            f"{self.fragments_path.rstrip('/')}/{object_id}:{xyz_name(part)}" for object_id in ids
        ]

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.storage.files import Files
        from chunkflow_worker.volumes.spatial_index import cell_content, cell_name

        kimimaro = needs("kimimaro", extra="segmentation")
        files = Files(self.fragments_path) if self.fragments_path else None

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            voxels, box = object_voxels(chunk, task.box_of(chunk), self.input_chunk_name)
            if files is not None:
                warn_of_cut_objects(task, chunk)
            size = self.voxel_size or chunk.voxel_size
            skeletons = self._skeletons(kimimaro, voxels, size)
            task.values[self.output_name] = skeletons
            if files is not None and not run.dry_run:
                contents = {
                    f"{object_id}:{xyz_name(box)}": s.to_precomputed()
                    for object_id, s in skeletons.items()
                }
                files.put_all(contents, "application/octet-stream")
                if self.spatial_index:
                    places = {object_id: s.vertices for object_id, s in skeletons.items()}
                    files.put(cell_name(box, size), cell_content(places), "application/json")
                task.bytes_written += sum(map(len, contents.values()))

        yield step

    def _skeletons(self, kimimaro: Any, voxels: Chunk, voxel_size: VoxelSize) -> dict[int, Any]:
        import numpy as np

        size, first = np.array(voxel_size[::-1]), np.array(voxels.voxel_offset[::-1])
        found: dict[int, Any] = kimimaro.skeletonize(
            np.asfortranarray(voxels.array.transpose()),
            teasar_params={
                "scale": self.scale,
                "const": self.const,
                "pdrf_scale": 100_000,
                "pdrf_exponent": 4,
                # The defaults of kimimaro, in nanometres.
                "soma_detection_threshold": 750,
                "soma_acceptance_threshold": 3500,
                "soma_invalidation_scale": 2,
                "soma_invalidation_const": 300,
                "max_paths": self.max_paths,
            },
            anisotropy=voxel_size[::-1],
            object_ids=parse_ids(self.object_ids) if self.object_ids else None,
            dust_threshold=self.dust_threshold,
            fill_holes=self.fill_holes,
            fix_branching=self.fix_branching,
            fix_borders=True,
            progress=False,
            parallel=1,
        )
        for object_id, skeleton in found.items():
            # kimimaro's nodes are corners of voxels. Computed from whole numbers, the nodes of two
            # boxes are equal where the boxes meet.
            index = np.rint(skeleton.vertices / size)
            skeleton.vertices = ((index + first + 0.5) * size).astype(np.float32)
            skeleton.id, skeleton.space = int(object_id), "physical"
        return {int(object_id): skeleton for object_id, skeleton in sorted(found.items())}
