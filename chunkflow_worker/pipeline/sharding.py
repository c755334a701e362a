"""`Sharding`: what the operators that pack finished meshes or skeletons into shards have in common.

A shard is written once, whole, by one task. Which shard holds an object follows from a hash of its
id, so no prefix of ids and no box of voxels owns a shard: a task is a range of numbers of shards.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationInfo, field_validator

from chunkflow_worker.config.options import Options, field
from chunkflow_worker.errors import BoxOutsideVolume, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.fragments import by_object
from chunkflow_worker.job.share import Share
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import note_shared

if TYPE_CHECKING:
    from chunkflow_worker.storage.files import Files
    from chunkflow_worker.volumes.shards import Shards
    from chunkflow_worker.volumes.spatial_index import Cells

Fragments = dict[int, list[str]]
"""The names of the fragments of each object, by its id."""
Make = Callable[[int, list[str], Task], tuple[bytes, bytes] | None]
"""Makes an object of its fragments, as `Shards.pack` takes it; None if nothing is left of it."""

_MEASURED = 1000  # fragments whose sizes are asked for, to estimate the size of all


class Sharding(Options):
    """The options of such an operator. All but the first need it."""

    sharded: bool = field(
        False,
        help="Pack the objects into shards, few large files (neuroglancer_uint64_sharded_v1).",
    )
    shard_size: int = field(
        10**9,
        ge=1,
        help="Bytes of fragments that make up one shard, approximately. A task holds a shard in "
        "memory.",
    )
    prepare: bool = field(
        False,
        help="Write no objects, but the info and a list of the fragments of each shard: the tasks "
        "of a job then write the shards, and the spatial index.",
    )
    spatial_index: bool = field(
        False,
        help="Also write which objects lie where, as CloudVolume and igneous read it; the "
        "fragments must be made with --spatial-index, too. CloudVolume takes a box to look in only "
        "where voxels measure whole nanometres.",
    )

    @field_validator("shard_size", "prepare", "spatial_index")
    @classmethod
    def _is_of_shards(cls, value: int | bool, info: ValidationInfo) -> int | bool:
        if value and not info.data.get("sharded", False):
            raise ValueError("is an option of shards: add --sharded")
        return value

    @field_validator("prefix", check_fields=False)
    @classmethod
    def _no_part_of_each_shard(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("sharded", False):
            raise ValueError(
                "objects of one prefix are in all shards, and two runs would write each shard: "
                "leave it out, or split the work by shards, with --prepare"
            )
        return value


@dataclass(frozen=True)
class ShardWriter:
    """Writes the shards of a folder of fragments.

    A task without a box writes all shards. The first voxel of a task's box along z is the number of
    its first shard, and the voxel after its last one is the number after its last shard; along y
    and x, the box is 0-1. Or it is a `Share` of all shards, of which one may have none. What
    `Sharding.prepare` has left says which fragments a shard is made of, so that tasks need not list
    all fragments, and each knows the same.

    options: of the operator. label: its name in errors.
    source, target: folders of the fragments, and of the shards.
    separator: follows an object's id in the name of a fragment.
    info: of the target, without what it says of shards.
    encoding: of the objects; raw if they are compressed already.
    make: see `Make`.
    named: called when there are shards to look at, so that a volume's info names them.
    """

    options: Sharding
    label: str
    source: Files
    target: Files
    separator: str
    info: Mapping[str, Any]
    encoding: Literal["raw", "gzip"]
    make: Make
    named: Callable[[], None]
    dry_run: bool

    def step(self, task: Task) -> None:
        """Do one task.

        Raises ConfigError if the target has another layout than the fragments ask for, or none for
        a task with a box; BoxOutsideVolume if there are no shards of these numbers; DataMissing and
        StorageUnavailable.
        """
        if task.bbox is None or (self.options.prepare and Share.of(task.bbox) == Share(0, 1, 1)):
            shards, work = self._prepared()
            if not self.options.prepare:
                self._write(task, shards, work.items())
            if not self.dry_run:
                self.named()
            task.progress(f"{shards.count} shards, numbers 0 to {shards.count - 1}")
            return
        if self.options.prepare:
            cure = f"run it before the job: chunkflow {self.label}, or a stage with shares: 1"
            raise ConfigError.one(self.label, "prepare", "is done once, for all boxes", cure)
        shards, cells = self._laid_out()
        numbers = self._numbers(task.bbox, shards)
        note_shared(f"{self.target.path}/info")
        self._write(task, shards, ((number, self._listed(shards, number)) for number in numbers))
        if cells is not None and not self.dry_run:
            for number in numbers:
                cells.copy_to(self.target, cells.share(number, shards.count))

    def files_of(self, box: BoundingBox) -> list[str]:
        """The files that only a task with this box writes; see `Operator.files_of`."""
        if self.options.prepare:
            return []
        shards, cells = self._laid_out()
        numbers = self._numbers(box, shards)
        names = [_file(shards, number) for number in numbers]
        if cells is not None:
            names += [name for n in numbers for name in cells.share(n, shards.count)]
        return [f"{self.target.path}/{name}" for name in names]

    def _write(self, task: Task, shards: Shards, work: Iterable[tuple[int, Fragments]]) -> None:
        for number, objects in work:
            made = {}
            for done, (object_id, names) in enumerate(objects.items(), 1):
                content = self.make(object_id, names, task)
                if content is not None:
                    made[object_id] = content
                task.progress(f"shard {number}: {done} of {len(objects)} objects")
            if made and not self.dry_run:
                packed = shards.pack(made)
                self.target.put(_file(shards, number), packed, "application/octet-stream")
                task.bytes_written += len(packed)

    def _prepared(self) -> tuple[Shards, dict[int, Fragments]]:
        """Lay out the shards, and write what says so. Returns the fragments of each shard."""
        from chunkflow_worker.volumes.shards import Shards

        names = self.source.list()
        found = by_object(names, self.separator)
        if not found:
            raise DataMissing(f"{self.source.path} has no fragments of objects")
        size = self._size_of([name for fragments in found.values() for name in fragments])
        shards = Shards.for_objects(len(found), size, self.options.shard_size, self.encoding)
        info = {**self.info, "sharding": dict(shards.sharding)}
        cells = self._cells(names, found) if self.options.spatial_index else None
        if cells is not None:
            info |= cells.info
        stored = self.target.get_json("info")
        if stored is not None and stored != info:
            cure = "delete the folder if nobody needs it, or give another --output-path"
            problem = "describes another format, or other shards than the fragments make up now"
            raise ConfigError.one(self.target.path, "info", problem, cure)
        work: dict[int, Fragments] = {number: {} for number in range(shards.count)}
        for object_id, fragments in found.items():
            work[shards.number_of(object_id)][object_id] = fragments
        if not self.dry_run:
            if cells is not None and not self.options.prepare:
                cells.copy_to(self.target, cells.names)
            if self.options.prepare:
                for number, objects in work.items():
                    self.target.put_json(_list(shards, number), objects)
            self.target.put_info(info)
        return shards, work

    def _size_of(self, names: list[str]) -> int:
        """The size of all fragments in bytes, estimated from some that lie evenly among them."""
        sample = names[:: -(-len(names) // _MEASURED)]
        known = [stored.size for stored in self.source.stored(sample).values() if stored]
        return round(len(names) * sum(known) / max(len(known), 1))

    def _cells(self, names: list[str], found: Fragments) -> Cells:
        from chunkflow_worker.volumes.mesh import is_volume
        from chunkflow_worker.volumes.spatial_index import Cells

        volume = self.target.path.rpartition("/")[0]
        if not is_volume(volume):
            raise ConfigError.one(
                self.label,
                "spatial_index",
                f"{volume} is no precomputed volume, in whose bounds the index lies",
                "give an --output-path directly below the volume",
            )
        parts: dict[str, set[int]] = {}
        for object_id, fragments in found.items():
            for name in fragments:
                parts.setdefault(name.partition(self.separator)[2], set()).add(object_id)
        return Cells.of_fragments(self.source, names, parts, volume)

    def _laid_out(self) -> tuple[Shards, Cells | None]:
        """The shards, and the cells of a spatial index, as the target's info describes them."""
        from chunkflow_worker.volumes.mesh import check_shards
        from chunkflow_worker.volumes.shards import Shards
        from chunkflow_worker.volumes.spatial_index import Cells

        stored = self.target.get_json("info")
        if not isinstance(stored, dict) or not stored.get("sharding"):
            cure = f"run it once with --prepare, before the job: chunkflow {self.label}"
            raise ConfigError.one(self.target.path, "info", "describes no shards", cure)
        check_shards(stored, self.target.path)
        cells = Cells.of_info(self.source, stored, self.target.path.rpartition("/")[0])
        return Shards(stored["sharding"]), cells

    def _numbers(self, box: BoundingBox, shards: Shards) -> range:
        share = Share.of(box)
        if share is not None:
            return share.part_of(shards.count)
        (z0, *start), (z1, *stop) = box.start, box.stop
        if (start, stop) != ([0, 0], [1, 1]):
            raise ConfigError.one(
                self.label,
                f"box {box}",
                "is no range of shards: they are counted along z, and y and x are 0-1",
                f"for all {shards.count} shards, --roi-size {shards.count} 1 1 --chunk-size 1 1 1",
            )
        numbers = range(max(z0, 0), min(z1, shards.count))
        if not numbers:
            raise BoxOutsideVolume(
                f"{self.target.path} has the shards 0 to {shards.count - 1}, and none in {box}"
            )
        return numbers

    def _listed(self, shards: Shards, number: int) -> Fragments:
        """The fragments of a shard, as `_prepared` listed them."""
        name = _list(shards, number)
        found = self.target.get_json(name)
        listed: list[Any] = [*found.values()] if isinstance(found, dict) else [None]
        if all(isinstance(names, list) and all(map(_is_name, names)) for names in listed):
            objects = by_object(itertools.chain.from_iterable(listed), self.separator)
            if {*map(str, objects)} == {*found} and {*map(shards.number_of, objects)} <= {number}:
                return objects
        raise DataMissing(
            f"{self.target.path}/{name}, the list of the fragments of a shard, is missing or "
            "damaged: run the operator with --prepare again"
        )


def _is_name(value: Any) -> bool:
    """Whether it can be the name of a file in a folder, not a path that leads out of it."""
    return isinstance(value, str) and "/" not in value


def _file(shards: Shards, number: int) -> str:
    return f"{shards.name(number)}.shard"


def _list(shards: Shards, number: int) -> str:
    return f"{shards.name(number)}.fragments"
