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

from chunkflow_worker.errors import StorageRefused
from chunkflow_worker.report.access import Meaning, meaning
from chunkflow_worker.storage.bucket import find_bucket
from chunkflow_worker.storage.local_file import storage_error
from chunkflow_worker.storage.mended_cloudfiles import mend_cloudfiles
from chunkflow_worker.storage.path import public_path
from chunkflow_worker.storage.unpacking import bound_unpacking

_GOOGLE_SECONDS = "1"  # that Google's metadata service may take, which answers on its machines only


def cloud_files(path: str) -> Any:
    """The CloudFiles of a normal path. Raises the errors of `check_access`."""
    check_access(path)
    from cloudfiles import CloudFiles

    mend_cloudfiles()
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

    mend_cloudfiles()
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
            find_bucket(bucket)
        elif protocol == "gs":
            _find_google_credentials(bucket)
    except (BotoCoreError, ClientError, GoogleAuthError) as error:
        raise _error(path, error) from error


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


@contextmanager
def storage_errors(subject: str) -> Iterator[None]:
    """Translate errors of the storage libraries to StorageUnavailable.

    subject: what is read or written, for the message.
    """
    try:
        yield
    except _failures() as error:
        raise _error(subject, error) from error


@cache
def _failures() -> tuple[type[Exception], ...]:
    """What the storage libraries raise."""
    import botocore.exceptions
    import cloudfiles.exceptions
    import google.api_core.exceptions
    import google.auth.exceptions
    import requests

    return (
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
        cloudfiles.exceptions.AuthorizationError,
        cloudfiles.exceptions.IntegrityError,
        google.api_core.exceptions.GoogleAPIError,
        google.auth.exceptions.GoogleAuthError,
        requests.RequestException,
        OSError,
    )


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
