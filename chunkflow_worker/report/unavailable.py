"""Whether an error says that a service is overloaded or away, or speaks of what was asked for."""

from __future__ import annotations

import errno
import re

from chunkflow_worker.errors import StorageFull

_STATUSES = {408, 429, 500, 502, 503, 504, 509}
_CODES = {
    "BandwidthLimitExceeded", "InternalError", "InternalFailure", "KMSThrottledException",
    "LimitExceededException", "PriorRequestNotComplete", "ProvisionedThroughputExceededException",
    "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "RequestTimeout",
    "RequestTimeoutException", "ServiceUnavailable", "ServiceUnavailableException", "SlowDown",
    "ThrottledException", "Throttling", "ThrottlingException", "TooManyRequests",
    "TooManyRequestsException",
}  # fmt: skip
_NO_ANSWER = {  # errors of botocore, google, requests, urllib3 and Python
    "ChunkedEncodingError", "ConnectionError", "EndpointConnectionError", "HTTPClientError",
    "HTTPException", "IncompleteRead", "IncompleteReadError", "ProtocolError", "RetryError",
    "Timeout", "TimeoutError", "TransportError",
}  # fmt: skip
_UNREACHED = {errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH}
# tensorstore raises errors of Python, whose text tells the rest.
_TENSORSTORE = re.compile(
    "(UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED): |.*(CURL error|Failed to get credentials)"
)
_TENSORSTORE_ANSWER = re.compile(r"\[http_response_code='(\d+)'\]|<Code>([\w.]+)</Code>")


def is_overload(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that a service is overloaded or away.

    So it is for throttling (SlowDown, 429), errors of a service's own (500, 503), answers that do
    not come or break off. It is not for what is absent, refused or damaged: the service works, and
    the error speaks of one object. error: of boto3, cloudfiles, google, requests, tensorstore, or
    of this package with one of those as its cause.
    """
    while error is not None and not isinstance(error, StorageFull):
        if _says_overload(error):
            return True
        error = error.__cause__
    return False


def _says_overload(error: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _NO_ANSWER or getattr(error, "errno", None) in _UNREACHED:
        return True
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # of boto3
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return _means_overload(status, response.get("Error", {}).get("Code"))
    if "GoogleAPICallError" in kinds:
        return _means_overload(getattr(error, "code", None))
    if response is not None:  # of requests
        return _means_overload(getattr(response, "status_code", None))
    text = str(error)
    return bool(_TENSORSTORE.match(text)) or any(
        _means_overload(*found.groups()) for found in _TENSORSTORE_ANSWER.finditer(text)
    )


def _means_overload(status: object, code: object = None) -> bool:
    """status: of HTTP. code: of AWS's error; in answers without a body, boto3 gives the status."""
    numbers = {int(text) for text in (str(status), str(code)) if text.isdecimal()}
    return bool(numbers & _STATUSES) or str(code).rpartition(".")[2] in _CODES
