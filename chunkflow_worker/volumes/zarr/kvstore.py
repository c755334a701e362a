"""A folder as tensorstore's key-value store: its driver, endpoint, region and credentials."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from chunkflow_worker.storage.bucket import bucket_region, has_own_keys, s3_keys
from chunkflow_worker.storage.cloud import check_access
from chunkflow_worker.volumes.zarr.credentials import credentials

_IN_ADDRESSES = ":/%@!$&'()*+,;=~[]"  # % too, since an address may be quoted already


def kvstore(place: str) -> dict[str, Any]:
    """What tensorstore calls a folder. Raises the errors of `check_access` for one in S3."""
    protocol, _, rest = place.partition("://")
    if protocol == "file":
        return {"driver": "file", "path": f"{rest}/"}
    if protocol == "mem":
        return {"driver": "memory", "path": f"{rest}/"}
    if protocol in ("http", "https"):
        return {"driver": "http", "base_url": f"{quote(place, safe=_IN_ADDRESSES)}/"}
    bucket, _, key = rest.partition("/")
    folder = {"bucket": bucket, "path": f"{key}/" if key else ""}
    if protocol == "gs":
        return {"driver": "gcs", **folder}
    return {"driver": "s3", **folder, **_aws(place, bucket)}


def _aws(place: str, bucket: str) -> dict[str, Any]:
    """Endpoint, region and credentials of S3 for a bucket.

    Without an endpoint and a region, tensorstore looks for the region by itself.
    """
    options: dict[str, Any] = {}
    if address := endpoint():
        options["endpoint"] = address
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if has_credentials(bucket):
        check_access(place)
        region = bucket_region(bucket) or region
        is_variable = os.environ.get("AWS_ACCESS_KEY_ID") and not has_own_keys(bucket)
        options["aws_credentials"] = {"type": "environment"} if is_variable else credentials(bucket)
    else:
        # tensorstore would look for some for minutes; a public bucket needs none.
        options["aws_credentials"] = {"type": "anonymous"}
        region = region if address else None
    if region:
        options["aws_region"] = region
    return options


def endpoint() -> str | None:
    """The address that stands for S3, if there is one."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


@lru_cache
def has_credentials(bucket: str) -> bool:
    """Whether there are AWS credentials for a bucket.

    Raises boto3's errors for a profile or login that is wrong, which tensorstore would not tell
    from missing ones.
    """
    return s3_keys(bucket) is not None


def bucket_of(place: str) -> str:
    """The name of the bucket of an ``s3://`` or ``gs://`` path."""
    return place.partition("://")[2].partition("/")[0]
