"""mesh"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.fragments import object_voxels, parse_ids, with_overlap, xyz_name
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk, VoxelSize
    from chunkflow_worker.storage.files import Files


class Mesh(Operator):
    """Write the surface of each object of a segmentation: one fragment for each object and box.

    Positions are in nanometres. Precomputed fragments are named as igneous names them, for example
    42:0:0-512_0-512_0-64 with the box as x, y, z. When all boxes are done, mesh-manifest collects
    them for Neuroglancer, or mesh-multires joins them. The voxel after the box is read too, so that
    fragments of neighbouring boxes meet; at the border of the image they are closed.
    """

    group: ClassVar[str] = "Mesh and skeleton"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://seg -c 256 512 512 \
            load-precomputed -v file://seg \
            mesh -m 0 -o file://seg
    """
    differs: ClassVar[str] = (
        "--manifest is refused if other boxes also hold parts of the objects. PLY and OBJ files "
        "have the box in their names. --shard is refused."
    )
    writes_paths: ClassVar[tuple[str, ...]] = ("output_path",)
    op: Literal["mesh"] = "mesh"
    input_chunk_name: str = field("chunk", flag="-i", help="Segmentation to read; 0 is no object.")
    mip: int | None = field(
        None,
        flag="-m",
        ge=0,
        help="If given, output_path is a precomputed volume: write to its folder of meshes, with "
        "the voxel size of this mip.",
    )
    voxel_size: tuple[float, float, float] | None = field(
        None,
        flag="-v",
        help="Size of a voxel in nanometres; default: the mip's, otherwise the chunk's.",
    )
    output_path: str = field(
        "file:///tmp/mesh/", flag="-o", help="Folder to write to: file://, s3:// or gs://."
    )
    output_format: Literal["ply", "obj", "precomputed"] = field(
        "precomputed", flag="-t", help="Format of the files."
    )
    simplification_factor: int = field(
        100,
        flag="-f",
        ge=0,
        help="Factor by which to reduce the number of triangles, approximately; 0 keeps all.",
    )
    max_simplification_error: int = field(
        40, flag="-e", ge=0, help="How far simplification may move the surface, in nanometres."
    )
    skip_ids: str | None = field(
        None, flag="-s", many=True, help="Objects to leave out: ids separated by commas."
    )
    manifest: bool = field(
        False, help="Write manifests as well; only for a chunk that is the whole image."
    )
    shard: bool = field(False, help="Refused: one box cannot fill the shards of all boxes.")

    _sizes = field_validator("voxel_size")(above_zero)

    @field_validator("skip_ids")
    @classmethod
    def _are_ids(cls, value: str | None) -> str | None:
        if value:
            parse_ids(value)
        return value

    @field_validator("shard")
    @classmethod
    def _not_sharded(cls, value: bool) -> bool:
        if value:
            raise ValueError(
                "a shard holds objects of all boxes, but a task has one box: write fragments, "
                "and shard them with igneous"
            )
        return value

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        return with_overlap(box, bounds)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.storage.files import Files

        zmesh = needs("zmesh", extra="segmentation")
        folder, voxel_size = self._place(run)
        files = Files(folder)
        skipped = set(parse_ids(self.skip_ids)) if self.skip_ids else set()
        if (
            self.output_format == "precomputed"
            and not run.dry_run
            and files.get_json("info") is None
        ):
            files.put_json(
                "info",
                {"@type": "neuroglancer_legacy_mesh"}
                | ({} if self.mip is None else {"mip": self.mip}),
            )

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            voxels, box = object_voxels(chunk, task.box_of(chunk), self.input_chunk_name)
            if self.manifest and chunk.bounds is not None and not box.contains(chunk.bounds):
                raise ConfigError.one(
                    self.label,
                    "manifest",
                    f"box {box} may hold parts of objects: the image is {chunk.bounds}",
                    "leave it out, and run mesh-manifest when all boxes are done",
                )
            surfaces = self._surfaces(
                zmesh, voxels, box, chunk.bounds or chunk.bbox, voxel_size or chunk.voxel_size
            )
            found = {object_id: mesh for object_id, mesh in surfaces if object_id not in skipped}
            if not run.dry_run:
                self._write(files, task, box, found)

        yield step

    def _place(self, run: Run) -> tuple[str, VoxelSize | None]:
        """The folder to write to, and the size of a voxel; None for the chunk's size."""
        if self.mip is None:
            return self.output_path, self.voxel_size
        from chunkflow_worker.storage.mesh import fragment_folder

        # The name that igneous gives, which CloudVolume reads.
        name = f"mesh_mip_{self.mip}_err_{self.max_simplification_error}"
        folder, voxel_size = fragment_folder(
            self.output_path, self.mip, name, write=not run.dry_run
        )
        return folder, self.voxel_size or voxel_size

    def _surfaces(
        self, zmesh: Any, voxels: Chunk, box: BoundingBox, image: BoundingBox, voxel_size: VoxelSize
    ) -> Iterator[tuple[int, Any]]:
        """The mesh of each object, with vertices x, y, z in nanometres from the volume's origin."""
        import numpy as np

        # A surface lies between two voxels: at the image's border, a voxel of 0 closes it.
        before = Vec3.of(int(a == b) for a, b in zip(box.start, image.start, strict=True))
        after = Vec3.of(int(a == b) for a, b in zip(box.stop, image.stop, strict=True))
        padded = np.pad(voxels.array, list(zip(before, after, strict=True)))
        size, first = np.array(voxel_size[::-1]), np.array((voxels.voxel_offset - before)[::-1])
        mesher = zmesh.Mesher(voxel_size[::-1])
        mesher.mesh(padded.transpose())
        for object_id in mesher.ids():
            mesh = mesher.get(
                object_id,
                reduction_factor=self.simplification_factor,
                max_error=self.max_simplification_error,
                voxel_centered=True,
            )
            mesher.erase(object_id)
            if len(mesh.faces) == 0:
                continue
            # Simplification keeps an open edge, which lies halfway between voxels. Rounding errors
            # would differ in the boxes on both sides of it, and only equal vertices are fused.
            place = mesh.vertices / size
            halves = np.rint(place * 2) / 2
            exact = (np.abs(place - halves) < 1e-3).all(axis=1, keepdims=True)
            mesh.vertices = ((np.where(exact, halves, place) + first) * size).astype(np.float32)
            yield int(object_id), mesh

    def _write(self, files: Files, task: Task, box: BoundingBox, found: dict[int, Any]) -> None:
        import json

        contents = {}
        for object_id, mesh in found.items():
            if self.output_format == "precomputed":
                name = f"{object_id}:0:{xyz_name(box)}"
                contents[name] = mesh.to_precomputed()
                if self.manifest:
                    contents[f"{object_id}:0"] = json.dumps({"fragments": [name]}).encode()
            else:
                suffix = f"_{task.bbox}" if task.bbox else ""
                content = mesh.to_ply() if self.output_format == "ply" else mesh.to_obj()
                contents[f"{object_id}{suffix}.{self.output_format}"] = bytes(content)
        files.put_all(contents, "application/octet-stream")
        task.bytes_written += sum(map(len, contents.values()))
