"""CloudVolume and cloudfiles: opened with the credentials that boto3 uses, their errors translated.

No other module opens them, so the environment that they read is prepared in one place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from chunkflow_worker.errors import NO_AWS_CREDENTIALS, ConfigError
from chunkflow_worker.storage.local_file import storage_error


def cloud_files(path: str) -> Any:
    """The CloudFiles of a normal path. Raises ConfigError when its bucket does not exist."""
    prepare_environment()
    check_bucket(path)
    from cloudfiles import CloudFiles

    return CloudFiles(path, progress=False, num_threads=8)


def cloud_volume(path: str, **options: Any) -> Any:
    """The CloudVolume of a normal path. Raises ConfigError when its bucket does not exist."""
    prepare_environment()
    check_bucket(path)
    from cloudvolume import CloudVolume

    # It is of no use here, and CloudVolume would read it, and fail if it is damaged.
    return CloudVolume(path, progress=False, provenance={}, **options)


def prepare_environment() -> None:
    """Make cloudfiles find AWS credentials and region where boto3 finds them.

    cloudfiles 6 raises KeyError for a key pair without a session token, takes empty variables for
    keys, and ignores AWS_REGION. Once prepared, the environment stays as it is: calling this again
    only matters when credentials were set in the meantime, as in a notebook.
    """
    has_key = bool(os.environ.get("AWS_ACCESS_KEY_ID"))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        is_token_of_key = has_key and name == "AWS_SESSION_TOKEN"
        if not os.environ.get(name) and not is_token_of_key:
            os.environ.pop(name, None)
    if has_key:
        os.environ.setdefault("AWS_SESSION_TOKEN", "")
    if region := os.environ.get("AWS_REGION"):
        os.environ.setdefault("AWS_DEFAULT_REGION", region)


def check_bucket(path: str) -> None:
    """Raise ConfigError when the bucket of an ``s3://`` path does not exist.

    cloudfiles would retry for half a minute.
    """
    protocol, _, place = path.partition("://")
    if protocol == "s3":
        _find_bucket(place.partition("/")[0])


@cache
def _find_bucket(bucket: str) -> None:
    """Look for a bucket, once a process. Reads and writes report every other problem with it."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
    try:
        boto3.client("s3", config=config).list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            cure = f"correct its name, or create it: aws s3 mb s3://{bucket}"
            raise ConfigError.one(
                f"s3://{bucket}", "bucket", "there is no such bucket", cure
            ) from None
    except (BotoCoreError, ValueError):
        pass


@contextmanager
def storage_errors(subject: str) -> Iterator[None]:
    """Translate errors of the storage libraries to StorageUnavailable.

    subject: what is read or written, for the message.
    """
    import botocore.exceptions
    import cloudfiles.exceptions
    import google.api_core.exceptions
    import google.auth.exceptions
    import requests

    no_credentials = (
        botocore.exceptions.NoCredentialsError,
        botocore.exceptions.PartialCredentialsError,
    )
    unavailable = (
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
        cloudfiles.exceptions.AuthorizationError,
        cloudfiles.exceptions.IntegrityError,
        google.api_core.exceptions.GoogleAPIError,
        google.auth.exceptions.GoogleAuthError,
        requests.RequestException,
        OSError,
    )
    try:
        yield
    except no_credentials as error:
        raise storage_error(f"{subject}: {NO_AWS_CREDENTIALS}", error) from error
    except unavailable as error:
        raise storage_error(f"{subject}: {type(error).__name__}: {error}", error) from error
