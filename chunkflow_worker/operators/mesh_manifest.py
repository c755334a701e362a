"""mesh-manifest"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.shares import fragments_of
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import note_shared


class MeshManifest(Operator):
    """Write for each object the manifest by which Neuroglancer finds its mesh.

    The manifest is {"fragments": [...]} in the file 42:0. Run it once, when all boxes are meshed.
    The work can be split among several runs by the first digits of the ids: with --digits 2, the
    prefixes 0 to 99 name each object exactly once; a prefix with fewer digits is a whole id.
    Without a prefix, all objects are done. In a stage with tasks of the kind `shares: 100`, each
    task does the objects whose ids begin with its digits.
    """

    group: ClassVar[str] = "Mesh and skeleton"
    example: ClassVar[str] = "chunkflow mesh-manifest -v file://seg"
    other_volumes: ClassVar[tuple[str, ...]] = ("volume_path",)
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"volume_path": ("precomputed",)}
    writes_paths: ClassVar[tuple[str, ...]] = ("volume_path",)
    removed: ClassVar[Mapping[str, str]] = {
        "-i, --input-name": "give `--prefix`",
    }
    op: Literal["mesh-manifest"] = "mesh-manifest"
    prefix: int | None = field(
        None, flag="-p", ge=0, help="First digits of the ids of this run's objects."
    )
    disbatch: bool = field(False, help="Take the prefix from the variable DISBATCH_REPEAT_INDEX.")
    digits: int = field(
        1,
        flag="-d",
        ge=1,
        help="Number of digits of a prefix; a prefix with fewer digits is a whole id.",
    )
    volume_path: str = field(flag="-v", help="Volume of the meshes, or the folder that holds them.")

    @model_validator(mode="after")
    def _one_prefix(self) -> MeshManifest:
        if self.disbatch and self.prefix is not None:
            raise ValueError("prefix and disbatch have the same meaning: give one of them")
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.fragments import by_object
        from chunkflow_worker.storage.files import Files
        from chunkflow_worker.volumes.mesh import mesh_folder

        prefix = self._prefix()
        files = Files(mesh_folder(self.volume_path))

        def step(task: Task) -> None:
            found = by_object(fragments_of(task, files, self.label, "meshed", prefix), ":0:")
            manifests = {
                f"{object_id}:0": json.dumps({"fragments": names}).encode()
                for object_id, names in found.items()
            }
            if not run.dry_run:
                files.put_all(manifests, "application/json")
                task.bytes_written += sum(map(len, manifests.values()))
                if not manifests and files.present(["info"]):
                    note_shared(f"{files.path}/info")  # so that the record tells what to check

        yield step

    def _prefix(self) -> str:
        """What the names of the fragments begin with."""
        text = "" if self.prefix is None else str(self.prefix)
        if self.disbatch:
            text = os.environ.get("DISBATCH_REPEAT_INDEX", "")
            if not (text.isascii() and text.isdigit()):
                raise ConfigError.one(
                    self.label,
                    "disbatch",
                    f"DISBATCH_REPEAT_INDEX is {text!r}",
                    "a number from 0 on",
                )
            text = str(int(text))
        return f"{text}:" if 0 < len(text) < self.digits else text
