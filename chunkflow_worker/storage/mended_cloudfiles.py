"""cloudfiles, mended: which ETags it takes for MD5s, what it tries again, how long it waits."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from chunkflow_worker.report.access import is_refused
from chunkflow_worker.report.aws_session import aws_session

_ERROR_SECONDS = 0.1  # after which an error ends the rest of the work
_MD5 = re.compile(r'"?[0-9a-f]{32}"?')


@cache
def mend_cloudfiles() -> None:
    """Mend cloudfiles in this process."""
    _let_google_say_that_an_object_is_absent()
    _try_again_only_what_may_succeed()
    _check_what_can_be_checked()
    _wait_no_longer_than_needed()


def _check_what_can_be_checked() -> None:
    """cloudfiles takes the ETag of each object for its MD5, and fails where it is not."""
    from cloudfiles.connectionpools import S3ConnectionPool

    connect = S3ConnectionPool._create_connection

    def connect_and_check(pool: Any, *secrets_and_place: Any) -> Any:
        aws_session()  # so that its credentials are those of the client
        client = connect(pool, *secrets_and_place)
        client.meta.events.register("after-call.s3.GetObject", _check_by_checksum_instead)
        return client

    S3ConnectionPool._create_connection = connect_and_check


def _check_by_checksum_instead(parsed: dict[str, Any], **_: Any) -> None:
    """Remove an ETag that is no MD5 from an answer, and check the body by its CRC32C instead.

    cloudfiles checks the MD5 if there is an ETag. S3 stores the CRC32C of what cloudfiles writes.
    """
    if "ETag" not in parsed or "ContentRange" in parsed or _etag_is_md5(parsed):
        return
    del parsed["ETag"]
    checksum = parsed.get("ChecksumCRC32C", "")
    if checksum and "-" not in checksum:  # otherwise it is one of checksums of parts
        parsed["Body"] = _CheckedBody(parsed["Body"], base64.b64decode(checksum))


def _etag_is_md5(answer: dict[str, Any]) -> bool:
    """Whether S3 promises so: for an object that was uploaded at once (otherwise the ETag ends with
    the number of parts), and is not encrypted with a key of KMS or of the user.
    """
    has_key_of_kms = answer.get("ServerSideEncryption", "").startswith("aws:")
    if has_key_of_kms or "SSECustomerAlgorithm" in answer:
        return False
    return _MD5.fullmatch(answer["ETag"]) is not None


class _CheckedBody:
    """The body of an answer, which raises CRC32CIntegrityError at its end if it is damaged.

    crc32c: as S3 gives it, four bytes.
    """

    def __init__(self, body: Any, crc32c: bytes):
        self._body, self._expected, self._sum = body, int.from_bytes(crc32c), 0

    def read(self, size: int | None = None) -> bytes:
        """Read at most `size` bytes; everything that is left when it is None."""
        from cloudfiles.exceptions import CRC32CIntegrityError
        from crc32c import crc32c

        content: bytes = self._body.read(size)
        self._sum = crc32c(content, self._sum)
        is_end = size is None or (size > 0 and not content)
        if is_end and self._sum != self._expected:
            raise CRC32CIntegrityError("the CRC32C of what arrived is not that of the object")
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def _wait_no_longer_than_needed() -> None:
    """cloudfiles looks ten times a second whether its threads have done all, for each call.

    Also, it looks for their errors when all is done, and a thread tells its error after that.
    """
    from cloudfiles.threaded_queue import ThreadedQueue

    wait_and_show = ThreadedQueue.wait

    def execute(self: Any, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._error_queue.put(error)
        finally:
            with self._processed_lock:
                self.processed += 1
            self._queue.task_done()

    def wait(self: Any, progress: Any = None) -> Any:
        if progress or not self._threads:
            return wait_and_show(self, progress)
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and self._error_queue.empty():
                self._queue.all_tasks_done.wait(_ERROR_SECONDS)
        self._check_errors()
        self._inserted = 0
        return self

    ThreadedQueue._consume_queue_execution = execute
    ThreadedQueue.wait = wait


def _let_google_say_that_an_object_is_absent() -> None:
    """cloudfiles asks what it did not find about its properties, and that seven times."""
    from cloudfiles import interfaces

    kind = interfaces.GoogleCloudStorageInterface
    ask = kind.head.__wrapped__

    def head(self: Any, file_path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = ask(self, file_path)
        except AttributeError:
            return None
        return found

    kind.head = interfaces.retry(head)


def _try_again_only_what_may_succeed() -> None:
    """cloudfiles tries everything seven times, which takes half a minute: a refusal too.

    Google's library ends each of its attempts after two minutes of retries.
    """
    from cloudfiles import connectionpools, interfaces
    from google.api_core.exceptions import RetryError

    tenacity = interfaces.tenacity
    may_succeed = tenacity.retry_if_exception(
        lambda error: (
            not is_refused(error)
            and not is_past_the_end(error)
            and not isinstance(error, RetryError)
        )
    )
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


def is_past_the_end(error: BaseException) -> bool:
    """Whether an object ends before the range of bytes that was asked for: it may be empty."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        return bool(answer.get("Error", {}).get("Code") in ("InvalidRange", "416"))
    return 416 in (getattr(answer, "status_code", None), getattr(error, "code", None))
