"""mesh"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from math import isclose
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PrivateAttr, ValidationInfo, field_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.fragments import object_voxels, parse_ids, with_overlap, xyz_name
from chunkflow_worker.pipeline.cut_objects import warn_of_cut_objects
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import ANY_ID, note_shared

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk, VoxelSize
    from chunkflow_worker.storage.files import Files


class Mesh(Operator):
    """Write the surface of each object of a segmentation: one fragment for each object and box.

    Positions are in nanometres. Precomputed fragments are named as igneous names them, for example
    42:0:0-512_0-512_0-64 with the box as x, y, z. When all boxes are done, mesh-manifest collects
    them for Neuroglancer, or mesh-multires joins them. The voxel after the box is read too, so that
    fragments of neighbouring boxes meet; at the border of the image they are closed. A chunk
    without a task's box, such as a cutout of a file, counts as a whole image.
    """

    group: ClassVar[str] = "Mesh and skeleton"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://seg -c 256 512 512 \
            load-precomputed -v file://seg \
            mesh -m 0 -o file://seg
    """
    differs: ClassVar[str] = (
        "--manifest is refused if other boxes also hold parts of the objects. PLY and OBJ files "
        "have the box in their names, and their positions count from the origin of the volume, not "
        "of the chunk. Precomputed fragments may go to a folder that is no volume. --shard is "
        "refused."
    )
    writes_paths: ClassVar[tuple[str, ...]] = ("output_path",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--chunk-name": "--input-chunk-name",
    }
    removed: ClassVar[Mapping[str, str]] = {
        "-d, --dust-threshold": "put `mask-out-objects --dust-size-threshold N` before `mesh`",
        "--ids": "put `mask-out-objects --selected-obj-ids IDS` before `mesh`",
        "-c": "write `--input-chunk-name NAME` or `--mip N`",
    }
    op: Literal["mesh"] = "mesh"
    input_chunk_name: str = field("chunk", flag="-i", help="Segmentation to read; 0 is no object.")
    mip: int | None = field(
        None,
        flag="-m",
        ge=0,
        help="Mip level of the segmentation in the volume that output_path names; default: 0 for a "
        "volume. Has no effect on PLY and OBJ files.",
    )
    voxel_size: tuple[float, float, float] | None = field(
        None,
        flag="-v",
        help="Size of a voxel in nanometres; default: the chunk's, otherwise the mip's.",
    )
    output_path: str = field(
        "file:///tmp/mesh/",
        flag="-o",
        help="Folder to write to: file://, s3:// or gs://. If it is a precomputed volume, "
        "precomputed fragments go to its folder of meshes, which its info names.",
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
    spatial_index: bool = field(
        False,
        help="Also write where the objects of the box lie, for the spatial index of mesh-multires; "
        "only with precomputed fragments.",
    )
    shard: bool = field(False, help="Refused: one box cannot fill the shards of all boxes.")

    _sizes = field_validator("voxel_size")(above_zero)
    _folder: str = PrivateAttr("")
    """Where the files are, once it is open."""

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
                "then run mesh-multires --sharded"
            )
        return value

    @field_validator("spatial_index")
    @classmethod
    def _is_of_fragments(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("output_format") != "precomputed":
            raise ValueError("is of precomputed fragments: leave it out, or the output_format")
        return value

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        return with_overlap(box, bounds)

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        part = task.box_in_image(self.input_chunk_name, box)
        if part is None or self.skip_ids:  # others may write the objects that are skipped
            return []
        if self.output_format != "precomputed":
            return [f"{self._folder}/{ANY_ID}_{box}.{self.output_format}"]
        manifests = [f"{self._folder}/{ANY_ID}:0"] if self.manifest else []
        return [f"{self._folder}/{ANY_ID}:0:{xyz_name(part)}", *manifests]

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.storage.files import Files
        from chunkflow_worker.volumes.spatial_index import cell_content, cell_name

        zmesh = needs("zmesh", extra="segmentation")
        folder, mip_size = self._place(write=False)
        files = Files(folder)
        self._folder = files.path
        skipped = set(parse_ids(self.skip_ids)) if self.skip_ids else set()

        @cache
        def prepare() -> None:
            """Write the info files, when the first chunk has shown to be a segmentation."""
            self._place(write=True)
            if self.output_format == "precomputed" and files.get_json("info") is None:
                mip = {} if self.mip is None else {"mip": self.mip}
                files.put_info({"@type": "neuroglancer_legacy_mesh"} | mip)

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            voxels, box = object_voxels(chunk, task.box_of(chunk), self.input_chunk_name)
            if self.output_format == "precomputed":
                warn_of_cut_objects(task, chunk)
            if self.manifest and chunk.bounds is not None and not box.contains(chunk.bounds):
                raise ConfigError.one(
                    self.label,
                    "manifest",
                    f"box {box} may hold parts of objects: the image is {chunk.bounds}",
                    "leave it out, and run mesh-manifest when all boxes are done",
                )
            image = chunk.bounds if task.bbox and chunk.bounds else chunk.bbox
            size = self._size_of_voxels(chunk, mip_size)
            if not run.dry_run:
                prepare()
            surfaces = self._surfaces(zmesh, voxels, box, image, size)
            found = {object_id: mesh for object_id, mesh in surfaces if object_id not in skipped}
            if not run.dry_run:
                self._write(files, task, box, found)
                if self.spatial_index:
                    places = {object_id: mesh.vertices for object_id, mesh in found.items()}
                    files.put(cell_name(box, size), cell_content(places), "application/json")

        yield step

    def _place(self, write: bool) -> tuple[str, VoxelSize | None]:
        """The folder to write to, and the voxel size of the mip if it is a volume's.

        write: the info of a volume names the folder from now on.
        """
        if self.output_format != "precomputed":
            return self.output_path, None
        from chunkflow_worker.volumes.mesh import fragment_folder, is_volume

        if not is_volume(self.output_path):
            if self.mip is None:
                return self.output_path, None
            problem = f"{self.output_path} is no precomputed volume, which has mip {self.mip}"
            cure = "create the volume first, or leave out --mip to write to a folder of its own"
            raise ConfigError.one(self.label, "output_path", problem, cure)
        # The name that igneous gives, which CloudVolume reads.
        name = f"mesh_mip_{self.mip or 0}_err_{self.max_simplification_error}"
        return fragment_folder(self.output_path, self.mip or 0, name, write=write)

    def _size_of_voxels(self, chunk: Chunk, mip_size: VoxelSize | None) -> VoxelSize:
        """The given size, or the chunk's, or the mip's for a chunk of unknown size.

        Raises ChunkMismatch if the chunk is of another mip than the given one.
        """
        from chunkflow_worker.image.chunk import UNKNOWN_SIZE

        if self.voxel_size is not None:
            return self.voxel_size
        if mip_size is not None and chunk.voxel_size == UNKNOWN_SIZE:
            return mip_size
        is_same = mip_size is None or all(map(isclose, chunk.voxel_size, mip_size))
        if self.mip is not None and not is_same:
            raise ChunkMismatch(
                f"the chunk has voxels of {list(chunk.voxel_size)} nm, and those of mip {self.mip} "
                f"of {self.output_path} are of {list(mip_size or ())} nm: give the --mip of the "
                "chunk, or --voxel-size"
            )
        return chunk.voxel_size

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
        if self.output_format == "precomputed":
            note_shared(f"{files.path}/info")
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
