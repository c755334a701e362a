"""The output of a run that nobody disturbs, to compare others with."""

from __future__ import annotations

import subprocess
import sys

import boto3
import yaml

from chunkflow_worker.image.bbox import Vec3
from tests.support.service import BLOCK, Service


def place_on_s3(service: Service, bucket: str) -> None:
    """Let the volumes and the ledger lie in a new bucket of the local AWS."""
    boto3.client("s3").create_bucket(Bucket=bucket)
    service.place = f"s3://{bucket}"


def calm_run(service: Service, chunk: Vec3 = BLOCK) -> None:
    """Run the service's chain on the same boxes, by the command line, in one process without queue and faults.

    It writes to `whole`. The operator `hold`, which only takes time, is left out.
    """
    chain = yaml.safe_load(service.pipeline.read_text())
    chain["operators"] = [operator for operator in chain["operators"] if operator["op"] != "hold"]
    chain["operators"][-1]["volume_path"] = service.path("whole")
    file = service.root / "calm.yaml"
    file.write_text(yaml.safe_dump(chain))
    code = "from chunkflow_worker.cli.chunkflow import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "--pipeline",
        str(file),
        "generate-tasks",
        "-v",
        service.path("in"),
    ]
    command += ["--chunk-size", *map(str, chunk)]
    done = subprocess.run(
        command, env=service.environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr


def blocks(service: Service, name: str) -> dict[str, bytes]:
    """The stored blocks of a volume's finest mip, by their names, decompressed."""
    from cloudfiles import CloudFiles

    folder = CloudFiles(f"{service.path(name)}/8_8_40", progress=False)
    return {found["path"]: found["content"] for found in folder.get(list(folder.list()))}
