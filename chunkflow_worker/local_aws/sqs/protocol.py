"""`SqsProtocol`: SQS in its two protocols, JSON and query, as a WSGI application.

moto reads and writes both by Amazon's own model of SQS, which comes with boto3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from botocore.validate import ParamValidator

from chunkflow_worker.local_aws.sqs.call import Call
from chunkflow_worker.local_aws.sqs.refused import Refused
from chunkflow_worker.local_aws.sqs.sqs import LocalSqs

VERSION = "2012-11-05"
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([\w-]+)/([\w-]+)/aws4_request")
_DEFAULT_REGION = "us-east-1"


def service_of(environ: dict[str, Any]) -> str:
    """The service that a request is for: `sqs`, or the one that its signature names.

    Requests without a signature are for SQS or S3.
    """
    if environ.get("HTTP_X_AMZ_TARGET", "").startswith("AmazonSQS."):
        return "sqs"
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if scope:
        return scope[2]
    return "sqs" if f"Version={VERSION}" in environ.get("QUERY_STRING", "") else "s3"


class SqsProtocol:
    """A WSGI application."""

    def __init__(self, sqs: LocalSqs):
        from moto.core.utils import get_service_model

        self._sqs, self._model = sqs, get_service_model("sqs")

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        from moto.core.serialize import get_serializer_class
        from werkzeug.wrappers import Request

        request = Request(environ)
        target = request.headers.get("X-Amz-Target", "")
        operation = target.rpartition(".")[2] or request.values.get("Action", "")
        protocol = "json" if target else "query"
        known = operation in self._model.operation_names
        shape = self._model.operation_model(operation if known else "ListQueues")
        result: Any
        try:
            if not known:
                raise Refused("UnsupportedOperation", f"SQS has no operation {operation!r}.")
            result = self.answer(request, operation, _parameters(request, shape, protocol))
        except Refused as refused:
            result = refused
        answer = get_serializer_class("sqs", protocol)(shape).serialize(result)
        body = str(answer["body"]).encode()
        headers = {**answer["headers"], "Content-Length": str(len(body))}
        start_response(_STATUS.get(answer["status_code"], "400 Bad Request"), list(headers.items()))
        return [body]

    def answer(self, request: Any, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """The result of a request that is well formed. Raises Refused."""
        scope = _SCOPE.search(request.headers.get("Authorization", ""))
        region = scope[1] if scope else _DEFAULT_REGION
        return self._sqs.do(Call(operation, given, region, request.host_url.rstrip("/")))


_STATUS = {200: "200 OK", 403: "403 Forbidden", 404: "404 Not Found"}


def _parameters(request: Any, shape: Any, protocol: str) -> dict[str, Any]:
    """The parameters of a request. Raises Refused for those that the model does not have so."""
    from moto.core.parse import PROTOCOL_PARSERS

    content: Any = {"body": request.get_data(), "values": request.values}
    try:
        given: dict[str, Any] = PROTOCOL_PARSERS[protocol](shape).parse(content)
    except (ValueError, TypeError, AttributeError) as error:
        text = f"The request is not one of the {protocol} protocol: {error}"
        raise Refused("InvalidParameterValue", text) from None
    if "QueueUrl" in shape.input_shape.members and len(request.path) > 1:
        given.setdefault("QueueUrl", request.path)  # old clients send to the URL of the queue
    found = ParamValidator().validate(given, shape.input_shape)
    if found.has_errors():
        code = (
            "MissingParameter" if "Missing" in found.generate_report() else "InvalidParameterValue"
        )
        raise Refused(code, found.generate_report())
    return given
