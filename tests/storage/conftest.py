from __future__ import annotations

from pathlib import Path

import boto3
import pytest


@pytest.fixture(params=["file", "s3", "mem"])
def path(
    request: pytest.FixtureRequest, tmp_path: Path, aws: dict[str, str], unique_name: str
) -> str:
    """The path of a volume on a local disk, in S3 or in memory."""
    if request.param == "file":
        return f"file://{tmp_path}/volume"
    if request.param == "s3":
        boto3.client("s3").create_bucket(Bucket=unique_name)
    return f"{request.param}://{unique_name}/volume"
