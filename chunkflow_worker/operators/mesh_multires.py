"""mesh-multires"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PrivateAttr

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.fragments import by_object
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.sharding import Sharding, ShardWriter
from chunkflow_worker.pipeline.shares import fragments_of
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import note_shared

if TYPE_CHECKING:
    from chunkflow_worker.storage.files import Files


class MeshMultires(Sharding, Operator):
    """Join the fragments of each object's mesh, and write it in several resolutions.

    Neuroglancer then loads only what is visible. Run it when all boxes are meshed, instead of
    mesh-manifest or in addition to it: once, or in a stage with tasks of the kind `shares: 100`,
    each of which does the objects whose ids begin with its digits. Each object becomes two files,
    42 and 42.index. Large objects have more levels; each level has fewer triangles than the one
    before, and is cut into pieces. For a volume, the new folder has the name of the fragments'
    folder with _multires added, and the volume's info is changed to name it.

    With --sharded, the objects go into few large files, as many as the number of objects and the
    size of their fragments ask for. To let many workers write them, run it once with --prepare,
    in a stage with `shares: 1`, and then with all the other options in one with `shares: 100`.
    Without stages, --prepare says how many shards there are, and the boxes of the job are shards,
    counted along z: --roi-size N 1 1 --chunk-size 1 1 1 for N shards, or larger chunks for several
    in a task.
    """

    group: ClassVar[str] = "Mesh and skeleton"
    example: ClassVar[str] = "chunkflow mesh-multires -v file://seg"
    differs: ClassVar[str] = "This operator is new."
    other_volumes: ClassVar[tuple[str, ...]] = ("volume_path",)
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"volume_path": ("precomputed",)}
    writes_paths: ClassVar[tuple[str, ...]] = ("output_path or volume_path",)
    op: Literal["mesh-multires"] = "mesh-multires"
    volume_path: str = field(
        flag="-v", help="Volume of the meshes, or the folder of the fragments."
    )
    output_path: str | None = field(
        None,
        flag="-o",
        help="Folder to write to, instead of one beside the folder of the fragments.",
    )
    prefix: str = field(
        "", flag="-p", help="First digits of the ids of this run's objects; default: all."
    )
    levels: int = field(
        4,
        flag="-l",
        ge=1,
        le=10,
        help="Largest number of resolutions; the coarsest have 500 triangles or more.",
    )
    reduction: int = field(
        4,
        flag="-r",
        ge=2,
        help="How many times fewer triangles each level has than the level before.",
    )

    _writer: ShardWriter | None = PrivateAttr(None)
    """What writes the shards, once it is open."""

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return self._writer.files_of(box) if self._writer else []

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.storage.files import Files
        from chunkflow_worker.volumes import multires
        from chunkflow_worker.volumes.mesh import MULTIRES_SUFFIX, mesh_folder, set_mesh_folder

        zmesh = needs("zmesh", extra="segmentation")
        fragments = mesh_folder(self.volume_path).removesuffix(MULTIRES_SUFFIX)
        source, target = Files(fragments), Files(self.output_path or fragments + MULTIRES_SUFFIX)

        def make(object_id: int, names: list[str], task: Task) -> tuple[bytes, bytes]:
            whole = _joined(zmesh, source, names, task)
            index, pieces = multires.encode(
                multires.make_levels(whole, self.levels, self.reduction)
            )
            return pieces, index

        def name_folder() -> None:
            if self.output_path is None:
                set_mesh_folder(self.volume_path, target.path)

        if self.sharded:
            self._check_target(target.path)
            self._writer = ShardWriter(
                options=self,
                label=self.label,
                source=source,
                target=target,
                separator=":0:",
                info=multires.INFO,
                encoding="raw",  # Draco has compressed the pieces, and readers unpack nothing
                make=make,
                named=name_folder,
                dry_run=run.dry_run,
            )
            yield self._writer.step
            return
        info = target.get_json("info")
        if info is not None and info != multires.INFO:
            raise ConfigError.one(
                target.path,
                "info",
                "meshes of another format are already here",
                "give another --output-path",
            )
        if not run.dry_run:
            target.put_info(multires.INFO)

        def step(task: Task) -> None:
            fragments = fragments_of(task, source, self.label, "meshed", self.prefix)
            found = by_object(fragments, ":0:")
            for done, (object_id, names) in enumerate(found.items(), 1):
                pieces, index = make(object_id, names, task)
                if not run.dry_run:
                    target.put(str(object_id), pieces, "application/octet-stream")
                    target.put(f"{object_id}.index", index, "application/octet-stream")
                    task.bytes_written += len(index) + len(pieces)
                task.progress(f"{done} of {len(found)} meshes")
            if not run.dry_run:
                note_shared(f"{target.path}/info")  # the share may have no objects
                name_folder()

        yield step

    def _check_target(self, path: str) -> None:
        """Raise ConfigError for shards beside the folder that an option names.

        Whoever reads the records of a job opens only what lies below such a folder.
        """
        from chunkflow_worker.storage.path import normal_path

        if self.output_path is None and not path.startswith(f"{normal_path(self.volume_path)}/"):
            problem = f"is needed with --sharded, since {self.volume_path} is no volume"
            raise ConfigError.one(self.label, "output_path", problem, f"for example {path}")


def _joined(zmesh: Any, source: Files, names: list[str], task: Task) -> Any:
    """The mesh of an object, with equal vertices of its fragments fused."""
    contents = source.get_all(names)
    task.bytes_read += sum(len(content or b"") for content in contents.values())
    parts = []
    for name in names:
        try:
            parts.append(zmesh.Mesh.from_precomputed(contents[name]))
        except Exception as error:  # zmesh raises several kinds; TypeError if a fragment is gone
            raise DataMissing(f"{source.path}/{name} cannot be read as a mesh: {error}") from error
    return zmesh.Mesh.concatenate(*parts).consolidate()
