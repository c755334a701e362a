"""aggregate-skeleton-fragments"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

_ATTRIBUTES = [
    {"id": "radius", "data_type": "float32", "num_components": 1},
    {"id": "vertex_types", "data_type": "uint8", "num_components": 1},
]


class AggregateSkeletonFragments(Operator):
    """Join the skeleton fragments of each object from all boxes, in Neuroglancer's format.

    Run it once, when all boxes are done. A fragment is named by its object and its box, for example
    42:0-512_0-512_0-64, as igneous and skeletonize name them. kimimaro fuses equal nodes, opens
    loops and joins components that touch; it removes small components and short twigs. If nothing
    of an object is left, no file is written for it.
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

    def reads(self) -> tuple[str, ...]:
        return ()  # the value is optional

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.fragments import by_object
        from chunkflow_worker.storage.files import Files

        osteoid, kimimaro = (
            needs("osteoid", extra="segmentation"),
            needs("kimimaro", extra="segmentation"),
        )
        source, target = Files(self.fragments_path), Files(self.output_path or self.fragments_path)
        info = source.get_json("info") or {}
        attributes = info.get("vertex_attributes") or _ATTRIBUTES
        if target.get_json("info") is None and not run.dry_run:
            target.put_info(
                {"@type": "neuroglancer_skeletons", "vertex_attributes": attributes} | info
            )

        def step(task: Task) -> None:
            if task.bbox is not None:
                cure = (
                    "run it by itself when all boxes are done: chunkflow "
                    "aggregate-skeleton-fragments"
                )
                raise ConfigError.one(
                    self.label, f"box {task.bbox}", "holds only a part of the fragments", cure
                )
            found = by_object(source.list(self._prefix(task)), ":")
            for done, (object_id, names) in enumerate(found.items(), 1):
                contents = source.get_all(names)
                parts = [
                    _decode(osteoid, f"{source.path}/{n}", contents.get(n), object_id, attributes)
                    for n in names
                ]
                task.bytes_read += sum(len(c or b"") for c in contents.values())
                whole = self._joined(kimimaro, osteoid, object_id, parts)
                if not whole.empty() and not run.dry_run:
                    content = whole.to_precomputed()
                    target.put(str(object_id), content, "application/octet-stream")
                    task.bytes_written += len(content)
                task.progress(f"{done} of {len(found)} skeletons")

        yield step

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
