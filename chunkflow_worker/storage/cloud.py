"""CloudVolume and cloudfiles: opened with the credentials that boto3 uses, their errors translated.

No other module opens them, so the environment that they read is prepared in one place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chunkflow_worker.errors import ConfigError, StorageRefused
from chunkflow_worker.report.access import Meaning, is_refused, meaning
from chunkflow_worker.storage.local_file import storage_error
from chunkflow_worker.storage.path import public_path
from chunkflow_worker.storage.unpacking import bound_unpacking

_GOOGLE_SECONDS = "1"  # that Google's metadata service may take, which answers on its machines only


def cloud_files(path: str) -> Any:
    """The CloudFiles of a normal path. Raises the errors of `check_access`."""
    check_access(path)
    from cloudfiles import CloudFiles

    _try_again_only_what_may_succeed()
    bound_unpacking()
    return CloudFiles(path, progress=False, num_threads=8)


def cloud_volume(path: str, *, use_https: bool = False, **options: Any) -> Any:
    """The CloudVolume of a normal path. Raises the errors of `check_access`.

    use_https: read an object store through its public https links, without credentials.
    """
    prepare_environment()
    if not use_https:
        check_access(path)
    from cloudvolume import CloudVolume

    _try_again_only_what_may_succeed()
    bound_unpacking()
    # The provenance is of no use here, and CloudVolume would read it, and fail if it is damaged.
    return CloudVolume(path, progress=False, provenance={}, use_https=use_https, **options)


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
    os.environ.setdefault("GCE_METADATA_TIMEOUT", _GOOGLE_SECONDS)


def check_access(path: str) -> None:
    """Raise at once what no other attempt can change, and what cloudfiles would try seven times.

    Raises ConfigError when the bucket of an ``s3://`` path does not exist or AWS_ENDPOINT_URL is no
    URL, StorageRefused when there are no credentials or they are refused, and StorageUnavailable
    when AWS_ENDPOINT_URL names this machine and nothing answers there.
    """
    prepare_environment()
    from botocore.exceptions import BotoCoreError, ClientError
    from google.auth.exceptions import GoogleAuthError

    protocol, _, place = path.partition("://")
    bucket = place.partition("/")[0]
    try:
        if protocol == "s3" and "://" not in place:  # s3://https://... is of another service
            _find_bucket(bucket)
        elif protocol == "gs":
            _find_google_credentials(bucket)
    except (BotoCoreError, ClientError, GoogleAuthError) as error:
        raise _error(path, error) from error


@cache
def _find_bucket(bucket: str) -> None:
    """Look for a bucket, once a process. Reads and writes report every other problem with it."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        ParamValidationError,
    )
    from cloudfiles.secrets import aws_credentials

    keys = aws_credentials(bucket, "s3")
    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
    try:
        client = boto3.client(
            "s3",
            aws_access_key_id=keys.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=keys.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=keys.get("AWS_SESSION_TOKEN"),
            region_name=keys.get("AWS_DEFAULT_REGION"),
            config=config,
        )
        client.list_objects_v2(Bucket=bucket, MaxKeys=1)
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


def _find_google_credentials(bucket: str) -> None:
    """Look for credentials, and hand them to cloudfiles, which would look for each connection."""
    from cloudfiles import secrets
    from google.auth import default

    files = (f"{bucket}-google-secret.json", "google-secret.json")
    is_known = bucket in secrets.GOOGLE_CREDENTIALS_CACHE or "STORAGE_EMULATOR_HOST" in os.environ
    if is_known or any(Path(secrets.secretpath(name)).exists() for name in files):
        return
    credentials, project = default()
    secrets.GOOGLE_CREDENTIALS_CACHE[bucket] = (project, credentials)


@cache
def _try_again_only_what_may_succeed() -> None:
    """cloudfiles tries everything seven times, which takes half a minute: a refusal too."""
    from cloudfiles import connectionpools, interfaces

    tenacity = interfaces.tenacity
    may_succeed = tenacity.retry_if_exception(lambda error: not is_refused(error))
    for kind in (
        interfaces.GoogleCloudStorageInterface,
        interfaces.HttpInterface,
        interfaces.S3Interface,
        connectionpools.GCloudBucketPool,
        connectionpools.S3ConnectionPool,
    ):
        for method in vars(kind).values():
            attempts = getattr(method, "retry", None)
            if isinstance(attempts, tenacity.Retrying):
                attempts.retry = attempts.retry & may_succeed
    interfaces.retry = tenacity.retry(  # of functions that it defines within methods
        reraise=True,
        stop=tenacity.stop_after_attempt(7),
        wait=tenacity.wait_random_exponential(0.5, 60.0),
        retry=may_succeed,
    )


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
    except unavailable as error:
        raise _error(subject, error) from error


def _error(subject: str, error: Exception) -> Exception:
    """The error that tells what an error of a library means."""
    found = meaning(error)
    if not found.is_refused:
        return storage_error(f"{subject}: {found}", error)
    return StorageRefused(f"{subject}: {_with_public_link(subject, found)}")


def _with_public_link(path: str, found: Meaning) -> Meaning:
    """Add to the error that there are no credentials how a public volume is read without."""
    endpoints = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    is_local = path.startswith("s3:") and any(map(os.environ.get, endpoints))
    if not found.is_missing or not path.startswith(("s3://", "gs://")) or is_local:
        return found
    link = f"to read a public volume without: add --use-https, or give {public_path(path)}"
    return found._replace(cure=f"{link}\n    {found.cure}")
