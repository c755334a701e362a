"""`create_once`: makes an object unless there is one, so that of several processes one succeeds."""

from __future__ import annotations

from chunkflow_worker.storage.bucket import client_options
from chunkflow_worker.storage.cloud import storage_errors
from chunkflow_worker.storage.fence import before_write
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.local_file import create_file
from chunkflow_worker.storage.path import local_folder

_NO_CONDITIONS = ("NotImplemented", "InvalidArgument")  # answers of stores that know none
_RACES = 5  # with others that create the same object at this moment


def create_once(files: Files, name: str, content: bytes) -> bool:
    """Write an object below the path of `files`; False when there is one, which is left as it is.

    On a local disk and in S3, just one of those who try at the same time succeeds. In other stores
    it looks first, so that two may succeed within the time of a request.
    Raises StorageUnavailable.
    """
    files.check_writable()
    folder = local_folder(files.path)
    with storage_errors(f"{files.path}/{name}"):
        before_write()
        if folder is not None:
            return create_file(folder / name, content)
        if files.lists_times:
            created = _create_in_s3(files.path, name, content)
            if created is not None:
                return created
    if files.present([name]):
        return False
    files.put(name, content, "application/octet-stream")
    return True


def _create_in_s3(path: str, name: str, content: bytes) -> bool | None:
    """None where the service has no writes with a condition."""
    from botocore.exceptions import ClientError

    from chunkflow_worker.report.aws_session import aws_session

    bucket, _, folder = path.removeprefix("s3://").partition("/")
    client = aws_session().client("s3", **client_options(bucket))
    key = f"{folder}/{name}" if folder else name
    for _ in range(_RACES):
        try:
            client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
            return True
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("PreconditionFailed", "412"):
                return False
            if code in _NO_CONDITIONS:
                return None
            if code != "ConditionalRequestConflict":
                raise
    return False
