"""`TwoBoxes`: a job of two boxes that the worker's own handler does, without a queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.cli import main
from tests.support.handled_job import do_job

BOUNDS = BoundingBox.parse("0-16_0-16_0-16")
CHUNK = Vec3(8, 16, 16)
FIRST, SECOND = "0-8_0-16_0-16", "8-16_0-16_0-16"


class TwoBoxes:
    """The job, with volumes to read in a folder: `em` is noise, `seg` has the objects 7 and 9.

    Object 9 lies in the first box only.
    """

    def __init__(self, folder: Path):
        self.folder, self.file = folder, folder / "pipeline.yaml"
        self.ledger = Ledger(str(folder / "ledger"))
        em = np.random.default_rng(0).integers(1, 255, BOUNDS.size, np.uint8)
        seg = np.zeros(BOUNDS.size, np.uint32)
        seg[2:14, 2:8, 2:14], seg[2:6, 9:15, 2:14] = 7, 9
        self.make_volume("em", em)
        self.make_volume("seg", seg)

    def make_volume(self, name: str, array: np.ndarray | None = None, **options: Any) -> None:
        """A volume of that name in the folder; for an output, without voxels."""
        is_ids = array is not None and array.dtype.itemsize > 1
        kind: dict[str, Any] = {
            "dtype": "uint8" if array is None else str(array.dtype),
            "layer_type": "segmentation" if is_ids else "image",
        }
        shape: dict[str, Any] = {"bounds": BOUNDS, "voxel_size": (40, 8, 8), "block_size": CHUNK}
        path = f"file://{self.folder}/{name}"
        create_volume(path, **(shape | kind | options))
        if array is not None:
            PrecomputedVolume(path).write(BOUNDS, array)

    def load(self, name: str = "em") -> dict[str, Any]:
        return {"op": "load-precomputed", "volume_path": f"file://{self.folder}/{name}"}

    def work(self, *operators: dict[str, Any]) -> list[Record]:
        """Do both boxes with this chain. Returns their records."""
        self.file.write_text(yaml.safe_dump({"operators": list(operators)}))
        grid = Grid(volume_path=f"file://{self.folder}/em", chunk_size=CHUNK)
        return do_job(self.file, self.ledger, grid)

    def verify(
        self, capsys: pytest.CaptureFixture[str], *options: str
    ) -> tuple[int, dict[str, Any]]:
        """The exit status of `verify --json`, and what it prints."""
        capsys.readouterr()
        place = ["--pipeline", str(self.file), "--ledger", self.ledger.path]
        status = main(["verify", *place, "--json", *options])
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        return status, report

    def left_out(self, capsys: pytest.CaptureFixture[str]) -> int:
        """The number of boxes that `enqueue --skip-done` would leave out."""
        capsys.readouterr()
        place = ["--pipeline", str(self.file), "--ledger", self.ledger.path]
        grid = ["-v", f"file://{self.folder}/em", "-c", *map(str, CHUNK)]
        line = ["enqueue", "--queue", "q", "--job", "j", *place, *grid]
        assert main([*line, "--skip-done", "--dry-run"]) == 0
        said = capsys.readouterr().out.partition("tasks of job j, ")[2]
        return int(said.partition(" ")[0])
