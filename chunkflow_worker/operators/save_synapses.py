"""save-synapses"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.formats.h5_file import create_h5
from chunkflow_worker.storage.local_file import (
    OneBoxPerFile,
    atomic_file,
    in_folder,
    own_file,
    task_file,
)

if TYPE_CHECKING:
    from pathlib import Path

    from chunkflow_worker.image.synapses import Synapses


class SaveSynapses(Operator):
    """Write synapses to an HDF5 or JSON file of chunkflow, which appears whole or not at all.

    Axes are zyx.
    """

    group: ClassVar[str] = "Write"
    example: ClassVar[str] = "chunkflow load-synapses -f synapses.h5 save-synapses -f synapses.json"
    differs: ClassVar[str] = (
        "With a folder or prefix, each task has its own file. load-synapses reads the JSON, which "
        "keeps the voxel size."
    )
    writes_files: ClassVar[tuple[str, ...]] = ("file_path",)
    op: Literal["save-synapses"] = "save-synapses"
    input_name: str = field("syns", flag="-i", help="Synapses to write.")
    file_path: str = field(
        flag="-f",
        help="File that ends in .h5 or .json, else a folder or prefix: the box and .h5 are added.",
    )

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        return own_file(in_folder(self.file_path), box, ".h5", ".json")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.synapses import Synapses

        needs("h5py", extra="files")
        files = OneBoxPerFile.named_by(
            "file_path", self.file_path, ".h5", ".json", workers=run.recorded
        )

        def step(task: Task) -> None:
            synapses = task.values.get(self.input_name)
            if not isinstance(synapses, Synapses):
                raise ChunkMismatch(
                    f"{self.input_name!r} is a {type(synapses).__name__}, and synapses are needed"
                )
            path = task_file(in_folder(self.file_path), task.bbox, ".h5", ".json")
            if task.bbox is not None:
                files.claim(path, task.bbox)
            if run.dry_run:
                return
            if path.suffix == ".json":
                _write_json(path, synapses)
            else:
                _write_hdf5(path, synapses)
            task.bytes_written += path.stat().st_size

        yield step


def _write_json(path: Path, synapses: Synapses) -> None:
    import json

    content = {
        key: value if isinstance(value, str) else value.tolist()
        for key, value in synapses.mapping().items()
    }
    with atomic_file(path) as part:
        part.write_text(json.dumps({"order": ["z", "y", "x"]} | content))


def _write_hdf5(path: Path, synapses: Synapses) -> None:
    content = synapses.mapping()
    with atomic_file(path) as part, create_h5(part) as file:
        if "users" in content:
            file.attrs["users"] = content.pop("users")
        for name, array in content.items():
            file[name] = array
