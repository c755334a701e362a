"""The output of an undisturbed run, to compare other runs with."""

from __future__ import annotations

import boto3

from tests.support.service import BLOCK, Service

_FINEST = ("8_8_40/", "0/c/")  # folders of blocks, of precomputed volumes and of Zarr 3


def place_on_s3(service: Service, bucket: str) -> None:
    """Keep the volumes and the ledger in a new bucket of the local AWS."""
    boto3.client("s3").create_bucket(Bucket=bucket)
    service.place = f"s3://{bucket}"


def calm_run(service: Service) -> None:
    """Run the service's chain on the same boxes, in one process, without queue and faults.

    It writes to `whole`.
    """
    service.run_in_one_box("--chunk-size", *map(str, BLOCK))


def blocks(service: Service, name: str) -> dict[str, bytes]:
    """The stored blocks or shards of a volume's finest mip, decompressed, by their names."""
    from cloudfiles import CloudFiles

    folder = CloudFiles(service.path(name), progress=False)
    names = [path for path in folder.list() if path.startswith(_FINEST)]
    return {found["path"]: found["content"] for found in folder.get(names)}
