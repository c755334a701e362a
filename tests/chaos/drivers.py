"""Jobs that write through each of the drivers: CloudVolume, tensorstore and single objects."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from chunkflow_worker.cli import chunkflow
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.operators.load_zarr import LoadZarr
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.files import Files
from tests.chaos.calm import place_on_s3
from tests.support.run_command import run_command
from tests.support.s3_semantics import S3Semantics
from tests.support.service import BLOCK, Service

Driver = Literal["precomputed", "Zarr", "files"]
DRIVERS: tuple[Driver, ...] = ("precomputed", "Zarr", "files")
IN_FLIGHT, MAX_RECEIVES = 2, 3
LOOK = 0.5  # seconds between two looks at a ledger, each of which loads the local S3


class DriverJob:
    """A job of one driver, whose workers reach S3 through a proxy of their own.

    aws: the variables that lead to AWS, for all but the workers.
    """

    def __init__(
        self,
        root: Path,
        driver: Driver,
        bucket: str,
        aws: dict[str, str],
        s3: S3Semantics,
        tasks: int,
        task_seconds: float = 1,
    ):
        root.mkdir()
        self._task_seconds = task_seconds
        self.driver, self.s3, self.tasks = driver, s3, tasks
        self.bucket = bucket
        self.service = service = Service(root, bucket, aws)
        place_on_s3(service, bucket)
        service.environment["CHUNKFLOW_LEDGER"] = service.ledger.path
        box = service.volumes(Vec3(1, 1, tasks) * BLOCK)
        self.boxes = [str(part) for part in box.split(BLOCK)]
        if driver == "Zarr":
            self._copy_input()
        self._write_chain()
        service.create_queue(visibility=30, max_receives=MAX_RECEIVES)
        service.enqueue()

    def start_worker(self) -> None:
        before = self.service.environment["AWS_ENDPOINT_URL"]
        self.service.environment["AWS_ENDPOINT_URL"] = self.s3.url
        self.service.start_worker(in_flight=IN_FLIGHT, metrics="none", backoff_seconds=1)
        self.service.environment["AWS_ENDPOINT_URL"] = before

    def wait_until_done(self) -> None:
        """Wait until all tasks are recorded and no message is left."""
        self.service.wait_done(self.tasks, 600, LOOK)
        self.service.wait(lambda: self.service.messages()[:2] == (0, 0), "no message left", 60)

    def prefixes(self) -> dict[str, str]:
        """Those of output, input and ledger; not those of the files that say what is stored."""
        output = {"precomputed": "out/8_8_40/", "Zarr": "out.zarr/0/0", "files": "flags/"}
        source = "in.zarr/0/0" if self.driver == "Zarr" else "in/8_8_40/"
        return {"output": output[self.driver], "input": source, "ledger": "out/log/"}

    def _write_chain(self) -> None:
        path = self.service.path
        hold = {"op": "hold", "folder": str(self.service.root), "seconds": self._task_seconds}
        if self.driver == "Zarr":
            load = {"op": "load-zarr", "store": path("in.zarr")}
            save = {"op": "save-zarr", "store": path("out.zarr"), "chunk_size": list(BLOCK)}
        else:
            load = {"op": "load-precomputed", "volume_path": path("in")}
            save = {"op": "save-precomputed", "volume_path": path("out")}
        if self.driver == "files":
            save = {"op": "mark-complete", "prefix": f"{path('flags')}/"}
        chain = {"operators": [load, hold, save]}
        self.service.pipeline.write_text(yaml.safe_dump(chain))

    def _copy_input(self) -> None:
        """Write the input as Zarr, too."""
        path = self.service.path
        load, save = ("load-precomputed", "-v", path("in")), ("save-zarr", "-s", path("in.zarr"))
        tasks = ("generate-tasks", "-v", path("in"))
        done = run_command(
            chunkflow.main, *tasks, *load, *save, "-c", *map(str, BLOCK),
            environment=self.service.environment,
        )  # fmt: skip
        assert done.status == 0, done.stderr

    def is_equal(self) -> bool:
        """Whether the output is the input; of files, whether they are those of the boxes."""
        if self.driver == "files":
            found = Files(self.service.path("flags")).list()
            return sorted(found) == sorted(self.boxes)
        if self.driver == "precomputed":
            output = self.service.output_where_written()
        else:
            task, run = Task(bbox=None), Run(needed_box=lambda box, bounds: box)
            with LoadZarr(store=self.service.path("out.zarr"), fill_missing=True).open(run) as step:
                step(task)
            output = task.chunk("chunk").array
        return np.array_equal(output, self.service.input())
