"""Pods ask for the memory that `chunkflow-worker check` tells for their chain."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.storage.precomputed_info import create_volume
from tests.deploy.manifests import FOLDER, containers, environment, find, memory, render

WATCHED = 0.95  # of its limit, at which a worker fails its newest task


def needed(pipeline: str, in_flight: int, folder: Path) -> float:
    """Bytes for a worker with that many tasks in flight, measured with volumes of the same kind on disk."""
    chain = yaml.safe_load(pipeline)
    for operator in (chain["tasks"], *chain["operators"]):
        if "volume_path" in operator:
            operator["volume_path"] = f"file://{folder}/{operator['volume_path'].rsplit('/', 1)[1]}"
            box = BoundingBox.sized((0, 0, 0), Vec3(128, 1024, 1024))
            create_volume(
                operator["volume_path"],
                bounds=box,
                voxel_size=(40, 8, 8),
                block_size=(16, 64, 64),
                dtype="uint8",
            )
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(chain))
    # A process of its own, since it measures what it takes.
    command = [
        sys.executable,
        "-c",
        "from chunkflow_worker.cli.worker import main; main()",
        "check",
        "--open",
        str(file),
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    total = re.search(r"^peak memory ([0-9.]+) GB", told, re.MULTILINE)
    further = re.search(r"of each further one in flight ([0-9.]+)", told)
    assert total
    assert further
    return (float(total[1]) + (in_flight - 1) * float(further[1])) * 1e9


@pytest.mark.parametrize("overlay", ["local", "aws-gpu-spot"])
def test_a_worker_asks_for_what_its_chain_takes(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER.parent)  # the shipped chain names its net from there
    manifests = render(overlay)
    worker = containers(manifests)["worker/worker"]
    in_flight = int(environment(manifests, worker)["CHUNKFLOW_IN_FLIGHT"])
    pipeline = find(manifests, "ConfigMap", "chunkflow-pipeline")["data"]["pipeline.yaml"]
    takes, asks = (
        needed(pipeline, in_flight, tmp_path),
        memory(worker["resources"]["requests"]["memory"]),
    )
    assert takes < WATCHED * asks
    if overlay == "local":
        assert asks < 4 * takes, "and not for much more"
