"""aggregate-skeleton-fragments"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from pydantic import PrivateAttr

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.fragments import by_object
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.sharding import Sharding, ShardWriter
from chunkflow_worker.pipeline.shares import fragments_of
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import note_shared

_ATTRIBUTES = [
    {"id": "radius", "data_type": "float32", "num_components": 1},
    {"id": "vertex_types", "data_type": "uint8", "num_components": 1},
]

_AS_THEY_ARE = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
"""The transform of an info whose positions are in nanometres already; CloudVolume needs one."""


class AggregateSkeletonFragments(Sharding, Operator):
    """Join the skeleton fragments of each object from all boxes, in Neuroglancer's format.

    Run it when all boxes are done: once, or in a stage with tasks of the kind `shares: 100`, each
    of which does the objects whose ids begin with its digits. A fragment is named by its object and
    its box, for example 42:0-512_0-512_0-64, as igneous and skeletonize name them. kimimaro fuses
    equal nodes, opens loops and joins components that touch; it removes small components and short
    twigs. If nothing of an object is left, no file is written for it.

    With --sharded, the objects go into few large files, as many as the number of objects and the
    size of their fragments ask for; if the folder lies directly below a volume, the volume's info
    names it. To let many workers write them, run it once with --prepare, in a stage with `shares:
    1`, and then with all the other options in one with `shares: 100`. Without stages, --prepare
    says how many shards there are, and the boxes of the job are shards, counted along z:
    --roi-size N 1 1 --chunk-size 1 1 1 for N shards, or larger chunks for several in a task.
    """

    group: ClassVar[str] = "Mesh and skeleton"
    example: ClassVar[str] = (
        "chunkflow aggregate-skeleton-fragments -f s3://lab/seg/fragments -o s3://lab/seg/skeletons"
    )
    differs: ClassVar[str] = (
        "Without a prefix, all objects are processed. The sizes below which components and twigs "
        "are removed are options."
    )
    reads_paths: ClassVar[tuple[str, ...]] = ("fragments_path",)
    writes_paths: ClassVar[tuple[str, ...]] = ("output_path or fragments_path",)
    op: Literal["aggregate-skeleton-fragments"] = "aggregate-skeleton-fragments"
    input_name: str = field(
        "prefix", flag="-i", help="Value of the task that contains the prefix, if it exists."
    )
    prefix: str | None = field(
        None, flag="-p", help="Prefix of the fragments' names, used instead of that value."
    )
    fragments_path: str = field(flag="-f", help="Folder of the fragments: file://, s3:// or gs://.")
    output_path: str | None = field(
        None, flag="-o", help="Folder to write to; default: the folder of the fragments."
    )
    dust_threshold: float = field(
        1000, ge=0, help="Remove components whose cable is shorter than this, in nanometres."
    )
    tick_threshold: float = field(
        3500, ge=0, help="Remove twigs that are shorter than this, in nanometres."
    )

    _writer: ShardWriter | None = PrivateAttr(None)
    """What writes the shards, once it is open."""

    def reads(self) -> tuple[str, ...]:
        return ()  # the value is optional

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return self._writer.files_of(box) if self._writer else []

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.storage.files import Files
        from chunkflow_worker.volumes.mesh import set_skeleton_folder

        osteoid, kimimaro = (
            needs("osteoid", extra="segmentation"),
            needs("kimimaro", extra="segmentation"),
        )
        source, target = Files(self.fragments_path), Files(self.output_path or self.fragments_path)
        info = {
            key: value
            for key, value in (source.get_json("info") or {}).items()
            if key not in ("sharding", "spatial_index")  # of the fragments, if igneous wrote them
        }
        attributes = info.get("vertex_attributes") or _ATTRIBUTES
        info = {"@type": "neuroglancer_skeletons", "vertex_attributes": attributes} | info

        def make(object_id: int, names: list[str], task: Task) -> tuple[bytes, bytes] | None:
            contents = source.get_all(names)
            parts = [
                _decode(osteoid, f"{source.path}/{n}", contents.get(n), object_id, attributes)
                for n in names
            ]
            task.bytes_read += sum(len(c or b"") for c in contents.values())
            whole = self._joined(kimimaro, osteoid, object_id, parts)
            return None if whole.empty() else (b"", whole.to_precomputed())

        if self.sharded:
            self._writer = ShardWriter(
                options=self,
                label=self.label,
                source=source,
                target=target,
                separator=":",
                info={"transform": _AS_THEY_ARE} | info,
                encoding="gzip",
                make=make,
                named=lambda: set_skeleton_folder(target.path),
                dry_run=run.dry_run,
            )
            yield self._without_prefix(self._writer.step)
            return
        stored = target.get_json("info")
        if isinstance(stored, dict) and stored.get("sharding"):
            raise ConfigError.one(
                target.path, "info", "skeletons in shards are already here",
                "add --sharded, or give another --output-path",
            )  # fmt: skip
        if stored is None and not run.dry_run:
            target.put_info(info)

        def step(task: Task) -> None:
            fragments = fragments_of(task, source, self.label, "done", self._prefix(task))
            found = by_object(fragments, ":")
            for done, (object_id, names) in enumerate(found.items(), 1):
                made = make(object_id, names, task)
                if made is not None and not run.dry_run:
                    target.put(str(object_id), made[1], "application/octet-stream")
                    task.bytes_written += len(made[1])
                task.progress(f"{done} of {len(found)} skeletons")
            if not run.dry_run:
                note_shared(f"{target.path}/info")  # the share may have no objects

        yield step

    def _without_prefix(self, step: Step) -> Step:
        """The step; it refuses a task with a prefix, whose objects are in the shards of others."""

        def checked(task: Task) -> None:
            if self.input_name in task.values:
                problem = f"{self.input_name!r} names a part of the objects of each shard"
                cure = "leave it out, or split the work by shards, with --prepare"
                raise ConfigError.one(self.label, "input_name", problem, cure)
            step(task)

        return checked

    def _joined(self, kimimaro: Any, osteoid: Any, object_id: int, parts: list[Any]) -> Any:
        merged = osteoid.Skeleton.simple_merge(parts).consolidate()
        merged.id, merged.space = object_id, "physical"
        whole = kimimaro.postprocess(
            merged.clone(), dust_threshold=self.dust_threshold, tick_threshold=self.tick_threshold
        )
        # kimimaro loses a skeleton that is a single loop, as of a flat object in four boxes.
        if whole.empty():
            large = [
                part for part in merged.components() if part.cable_length() >= self.dust_threshold
            ]
            whole = osteoid.Skeleton.simple_merge(large) if large else whole
        return whole

    def _prefix(self, task: Task) -> str:
        given = self.prefix if self.prefix is not None else task.values.get(self.input_name, "")
        if not isinstance(given, str | int):
            raise ChunkMismatch(
                f"{self.input_name!r} is a {type(given).__name__}, and the start of a name is "
                "needed"
            )
        return str(given)


def _decode(
    osteoid: Any, name: str, content: bytes | None, object_id: int, attributes: list[dict[str, Any]]
) -> Any:
    try:
        if content is None:
            raise ValueError("it is no longer there")
        skeleton = osteoid.Skeleton.from_precomputed(
            content, segid=object_id, vertex_attributes=attributes
        )
    except Exception as error:  # osteoid raises errors of several kinds
        raise DataMissing(f"{name} cannot be read as a skeleton: {error}") from error
    skeleton.space = "physical"
    return skeleton
