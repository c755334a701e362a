"""Does a worker run at the speed of its slowest stage: load, net, or save?

The net only waits, so that the stages take alike and compete for nothing but time.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.options import options
from benchmarks.small_tasks import BUCKET, far_s3
from benchmarks.table import markdown, record, rounds
from chunkflow_worker.api import BoundingBox, Vec3
from chunkflow_worker.inference.plan import gigabytes
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume

BIN = Path(sys.executable).parent
LATENCY, BANDWIDTH = 0.02, 50e6  # seconds, and bytes a second in each direction
TASKS, IN_FLIGHT = 40, 4
BLOCK, BOX = Vec3(32, 256, 256), Vec3(128, 256, 256)
PATCH = BLOCK
BOUNDS = BoundingBox.sized((0, 0, 0), (128, 256, 256 * TASKS))
NET_SECONDS = LATENCY + BOX.product / BANDWIDTH  # of a box
PATCHES = BOX.z // PATCH.z
HEAD = ["Stage or run", "s", "times the longest stage", "times its own longest stage"]
STAGES = ("load-volume", "inference", "save-volume")
_NET = f"""
import time

class PatchInferencer:
    def __init__(self, weights, mask): pass
    def __call__(self, patches):
        time.sleep({NET_SECONDS / PATCHES})
        return patches
"""


@dataclass(frozen=True)
class Ran:
    """seconds: of each stage, summed up over the tasks.

    wall: seconds from the start of the first task to the end of the last one.
    peak: resident memory of the process, in bytes.
    """

    seconds: dict[str, float]
    wall: float
    peak: int


def main() -> None:
    given = options(__doc__, repeats=3)
    with tempfile.TemporaryDirectory() as name, far_s3() as s3:
        folder = Path(name)
        (folder / "net.py").write_text(_NET)
        make_volumes()
        planned = planned_bytes(folder)
        s3.latency, s3.bandwidth = LATENCY, BANDWIDTH
        whole = [run(folder, 1, whole=True) for _ in range(given.repeats)]
        one_by_one = [run(folder, 1) for _ in range(given.repeats)]
        together = [run(folder, IN_FLIGHT) for _ in range(given.repeats)]
        s3.latency, s3.bandwidth = 0.0, math.inf
    stages = {stage: median(ran.seconds[stage] for ran in whole) for stage in STAGES}
    longest = max(stages.values())
    rows = [[stage, f"{seconds:.1f}", "", ""] for stage, seconds in stages.items()]
    for title, runs in (
        ("one task in flight, saved as a whole", whole),
        ("one task in flight", one_by_one),
        (f"{IN_FLIGHT} in flight", together),
    ):
        wall = median(ran.wall for ran in runs)
        of_its_own = median(ran.wall / max(ran.seconds.values()) for ran in runs)
        rows.append([title, f"{wall:.1f}", f"{wall / longest:.2f}", f"{of_its_own:.2f}"])
    peak = max(ran.peak for ran in together)
    text = (
        f"{TASKS} boxes of {_text(BOX)} uint8, from S3 to S3, which answers after 20 ms and moves "
        f"50 MB/s each way; a net that waits for {NET_SECONDS * 1e3:.0f} ms in "
        f"{PATCHES} patches; {rounds(given.repeats)}. Stages are the sums of all tasks, one in "
        "flight and saved as a whole, so that none waits for another; in the last column, those of "
        "the same run. Peak memory "
        f"with {IN_FLIGHT} in flight: {gigabytes(peak)} GB, planned {gigabytes(planned)}.\n\n"
        f"{markdown(HEAD, rows)}"
    )
    record("Stages that overlap", text, [], given.write)


def _text(size: Vec3) -> str:
    return "x".join(map(str, size))


def make_volumes() -> None:
    for name in ("in", "out"):
        create_volume(
            f"precomputed://s3://{BUCKET}/{name}",
            bounds=BOUNDS,
            voxel_size=(40, 8, 8),
            block_size=BLOCK,
            dtype="uint8",
        )
    volume = open_volume(f"s3://{BUCKET}/in")
    noise = np.random.default_rng(0).integers(1, 255, BOX, np.uint8)
    for box in BOUNDS.split(BOX):
        volume.write(box, noise)


def operators(folder: Path, whole: bool) -> list[dict[str, Any]]:
    """whole: boxes are saved when they are complete, since another operator needs them first."""
    copy = {"op": "copy-var", "from_name": "chunk", "to_name": "copy"}
    return [
        {"op": "load-volume", "volume_path": f"s3://{BUCKET}/in"},
        {
            "op": "inference",
            "framework": "universal",
            "convnet_model": str(folder / "net.py"),
            "input_patch_size": list(PATCH),
            "output_patch_overlap": [0, 0, 0],
            "num_output_channels": 1,
            "mask_output_chunk": True,
            "dtype": "uint8",
        },
        *([copy] if whole else []),
        {"op": "save-volume", "volume_path": f"s3://{BUCKET}/out"},
    ]


def pipeline(folder: Path, whole: bool = False) -> Path:
    """The file of the chain."""
    tasks = {"op": "generate-tasks", "volume_path": f"s3://{BUCKET}/in", "chunk_size": list(BOX)}
    path = folder / "pipeline.json"
    path.write_text(json.dumps({"tasks": tasks, "operators": operators(folder, whole)}))
    return path


def planned_bytes(folder: Path) -> float:
    """What `check` says that a process with so many tasks in flight takes, in bytes."""
    command = [BIN / "chunkflow-worker", "check", "--open", pipeline(folder)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak = re.search(r"peak memory ([\d.]+) GB", told)
    further = re.search(r"each further task in flight ([\d.]+)", told)
    if peak is None or further is None:
        raise SystemExit(f"check does not tell the memory:\n{told}")
    return (float(peak[1]) + (IN_FLIGHT - 1) * float(further[1])) * 1e9


def run(folder: Path, in_flight: int, whole: bool = False) -> Ran:
    """Run the tasks in a process of their own."""
    ledger = Ledger(f"file://{folder}/{uuid.uuid4().hex}")
    command = [str(BIN / "chunkflow"), "--pipeline", str(pipeline(folder, whole))]
    command += ["--ledger", ledger.path, "--in-flight", str(in_flight)]
    process, peak = subprocess.Popen(command), 0
    while process.poll() is None:
        peak = max(peak, _peak(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    records = list(ledger.records(ledger.boxes()[0]))
    times = [datetime.fromisoformat(t) for r in records for t in (r.started, r.finished)]
    return Ran(
        {stage: sum(record.timer[stage] for record in records) for stage in STAGES},
        (max(times) - min(times)).total_seconds(),
        peak,
    )


def _peak(process: int) -> int:
    """Largest resident memory so far of a running process, in bytes. That of wait4 counts ours."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
