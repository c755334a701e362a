"""A bucket of S3: whether it exists, its region, and the keys that open it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.report.access import is_refused
from chunkflow_worker.report.aws_session import aws_session

_regions: dict[str, str | None] = {}


@cache
def find_bucket(bucket: str) -> None:
    """Look for a bucket, once a process. Reads and writes report every other problem with it.

    Raises ConfigError when it does not exist, and the errors of boto3 that no retry can change.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        ParamValidationError,
    )

    try:
        _client(bucket).list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            cure = f"correct its name, or create it: aws s3 mb s3://{bucket}"
            raise ConfigError.one(
                f"s3://{bucket}", "bucket", "there is no such bucket", cure
            ) from None
        # Who may not list the bucket may still read its objects.
        if is_refused(error) and "Denied" not in code:
            raise
    except ParamValidationError:
        cure = "use 3 to 63 lower-case letters, digits, hyphens and dots"
        problem = "is not the name of a bucket"
        raise ConfigError.one(f"s3://{bucket}", repr(bucket), problem, cure) from None
    except EndpointConnectionError as error:
        host = urlsplit(str(error.kwargs["endpoint_url"])).hostname
        if host in ("127.0.0.1", "localhost", "::1"):
            raise
    except BotoCoreError as error:
        if is_refused(error):
            raise
    except ValueError as error:
        cure = "for example http://127.0.0.1:5000"
        raise ConfigError.one("AWS_ENDPOINT_URL", "value", str(error), cure) from None


def bucket_region(bucket: str) -> str | None:
    """The region of a bucket, asked for once a process; None while S3 does not tell it."""
    from botocore.exceptions import BotoCoreError, ClientError

    if bucket not in _regions:
        try:
            answer = _client(bucket).head_bucket(Bucket=bucket)
        except ClientError as error:  # redirections and refusals tell the region, too
            answer = error.response
        except (BotoCoreError, ValueError):
            return None
        about = answer.get("ResponseMetadata", {})
        region = about.get("HTTPHeaders", {}).get("x-amz-bucket-region")
        if region is None and about.get("HTTPStatusCode") != 200:
            return None
        _regions[bucket] = region
    return _regions[bucket]


def s3_keys(bucket: str) -> Any:
    """The AWS keys for a bucket, as boto3's ReadOnlyCredentials; None when there are none.

    They are the bucket's own, or else those of boto3's session, as they are now. Raises the errors
    of boto3 for a profile or a login that is wrong.
    """
    from botocore.credentials import ReadOnlyCredentials

    if has_own_keys(bucket):
        return ReadOnlyCredentials(*(client_options(bucket)[f"aws_{name}"] for name in _KEYS))
    found = aws_session().get_credentials()
    return found and found.get_frozen_credentials()


def has_own_keys(bucket: str) -> bool:
    """Whether cloudfiles' folder of secrets, ~/.cloudvolume/secrets, has keys for a bucket."""
    from cloudfiles.secrets import secretpath

    files = (f"{bucket}-aws-secret.json", "aws-secret.json")
    return any(Path(secretpath(name)).exists() for name in files)


_KEYS = ("access_key_id", "secret_access_key", "session_token")


def _client(bucket: str) -> Any:
    """A client of S3 with the keys that cloudfiles uses, which answers soon."""
    from botocore.config import Config

    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
    return aws_session().client("s3", config=config, **client_options(bucket))


def client_options(bucket: str) -> dict[str, str | None]:
    """Keys and region of a client of S3 for a bucket, as cloudfiles finds them."""
    from cloudfiles.secrets import aws_credentials

    found = aws_credentials(bucket, "s3")
    keys = {f"aws_{name}": found.get(f"AWS_{name.upper()}") for name in _KEYS}
    return {**keys, "region_name": found.get("AWS_DEFAULT_REGION")}
