"""Pods request the memory that `chunkflow-worker check` reports for their chain."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.precomputed.info import create_volume
from tests.deploy.manifests import FOLDER, containers, environment, find, memory, render

WATCHED = 0.95  # share of the limit at which a worker fails its newest task


def needed(pipeline: str, in_flight: int, folder: Path) -> float:
    """Return the bytes that a worker with that many tasks in flight needs.

    They are measured with volumes of the same kind on disk.
    """
    chain = yaml.safe_load(pipeline)
    box = BoundingBox.sized((0, 0, 0), Vec3(128, 1024, 1024))
    for operator in (chain["tasks"], *chain["operators"]):
        if "volume_path" in operator:
            path = f"file://{folder}/{operator['volume_path'].rsplit('/', 1)[1]}"
            operator["volume_path"] = path
            create_volume(
                path, bounds=box, voxel_size=(40, 8, 8), block_size=(16, 64, 64), dtype="uint8"
            )
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(chain))
    # In a process of its own, because `check` measures the memory of its process.
    program = "from chunkflow_worker.cli.worker import main; main()"
    command = [sys.executable, "-c", program, "check", "--open", str(file)]
    report = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    total = re.search(r"^peak memory ([0-9.]+) GB", report, re.MULTILINE)
    further = re.search(r"each further task in flight ([0-9.]+)", report)
    assert total
    assert further
    return (float(total[1]) + (in_flight - 1) * float(further[1])) * 1e9


# On the CPU, a patch of the net for GPUs takes half a minute.
@pytest.mark.parametrize("overlay", ["local", pytest.param("aws-gpu-spot", marks=pytest.mark.long)])
def test_a_worker_requests_the_memory_of_its_chain(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER.parent)  # the paths in the shipped chain start there
    manifests = render(overlay)
    worker = containers(manifests)["worker/worker"]
    in_flight = int(environment(manifests, worker)["CHUNKFLOW_IN_FLIGHT"])
    pipeline = find(manifests, "ConfigMap", "chunkflow-pipeline")["data"]["pipeline.yaml"]
    needs = needed(pipeline, in_flight, tmp_path)
    requests = memory(worker["resources"]["requests"]["memory"])
    assert needs < WATCHED * requests
    if overlay == "local":
        assert requests < 4 * needs, "and not much more"
