"""Permissions in the local AWS: a role may do what its policies allow, and its use is recorded.

moto has its own check, but without the conditions and the details of S3 that matter here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from unittest.mock import patch

from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError
from moto.iam.models import iam_backends
from moto.s3.exceptions import S3AccessDeniedError
from moto.s3.models import s3_backends
from moto.sts.models import sts_backends

from chunkflow_worker.local_aws.sqs.protocol import SqsProtocol

ACCOUNT = "123456789012"
_SAME = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "s3:HeadBucket": "s3:ListBucket",
}


@dataclass(frozen=True, order=True)
class Right:
    """An action and a resource; the resource may be a pattern."""

    action: str
    resource: str


@dataclass
class Guard:
    """Checks requests against the policies of their roles.

    granted: what each role may do, by the short name of the role, for example `WorkerRole`.
    used: what each role has done.
    refused: requests that were not allowed, with their role.
    denied: permissions that are taken from all roles. Their resources may be patterns.
    """

    granted: dict[str, set[Right]] = field(default_factory=dict)
    used: dict[str, set[Right]] = field(default_factory=dict)
    refused: list[tuple[str, Right]] = field(default_factory=list)
    denied: set[Right] = field(default_factory=set)

    def check(self, request: Any, resource: str) -> None:
        """Raise the error of AWS if the role that signed the request may not do it."""
        signature = re.search(
            r"Credential=(\w+)/\d+/[\w-]+/(\w+)/", request.headers.get("Authorization", "")
        )
        if signature is None:
            if request._get_action() != "AssumeRoleWithWebIdentity":
                self.refused.append(("nobody", Right(request._get_action(), resource)))
            return
        key, service = signature.groups()
        roles = [
            assumed.role_arn
            for assumed in sts_backends[ACCOUNT]["aws"].assumed_roles
            if assumed.access_key_id == key
        ]
        if not roles:
            return  # the test itself
        role = roles[0].rsplit("/", 1)[1]
        name = role.split("-")[-2]
        statements = list(_statements(role))
        self.granted[name] = {
            Right(action, pattern)
            for statement in statements
            for action in _list(statement["Action"])
            for pattern in _list(statement["Resource"])
        }
        for right, context in _needed(request, service, resource):
            matching = _matching(statements, right, context)
            if not matching or self._is_taken_away(right):
                self.refused.append((name, right))
                raise _refusal(service, role, right)
            self.used.setdefault(name, set()).update(matching)

    def _is_taken_away(self, right: Right) -> bool:
        return any(
            taken.action == right.action and fnmatchcase(right.resource, taken.resource)
            for taken in self.denied
        )


def _refusal(service: str, role: str, right: Right) -> Exception:
    """The error in the words of AWS. SQS writes actions in lower case."""
    action = right.action.lower() if service == "sqs" else right.action
    place = f'"{right.resource}"' if service == "s3" else right.resource
    where = "" if service == "monitoring" else f" on resource: {place}"
    text = (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{role}/test is not authorized to perform: "
        f"{action}{where} because no identity-based policy allows the {action} action"
    )
    if service == "sqs":
        return _SqsDenial(text)
    if service != "s3":
        return _Denial(text)
    error = S3AccessDeniedError()
    error.message = text
    return error


class _SqsDenial(Exception):
    def answer(self, start_response: Any) -> list[bytes]:
        start_response("403 Forbidden", [("Content-Type", "application/x-amz-json-1.0")])
        kind = "com.amazon.coral.service#AccessDeniedException"
        return [json.dumps({"__type": kind, "message": str(self)}).encode()]


class _Denial(AccessDeniedError):
    def __init__(self, text: str):
        super(AccessDeniedError, self).__init__("AccessDenied", text)


@contextmanager
def guarded() -> Iterator[Guard]:
    """Check the requests of roles until the block ends. The test itself may do everything."""
    guard = Guard()

    def ask(request: Any, kind: type, resource: str = "*") -> None:
        guard.check(request, resource)

    call, answer = SqsProtocol.__call__, SqsProtocol.answer

    def ask_sqs(protocol: SqsProtocol, request: Any, operation: str, given: Any) -> Any:
        name = given.get("QueueUrl", "*").rsplit("/", 1)[-1]
        resource = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
        guard.check(_SqsRequest(request.headers, operation, given), resource)
        return answer(protocol, request, operation, given)

    def answer_denials(protocol: SqsProtocol, environ: Any, start_response: Any) -> Any:
        try:
            return call(protocol, environ, start_response)
        except _SqsDenial as denial:
            return denial.answer(start_response)

    with (
        patch.object(ActionAuthenticatorMixin, "_authenticate_and_authorize_action", ask),
        patch.object(SqsProtocol, "__call__", answer_denials),
        patch.object(SqsProtocol, "answer", ask_sqs),
    ):
        yield guard


@dataclass(frozen=True)
class _SqsRequest:
    """A request to SQS, with what the guard asks those to moto."""

    headers: Any
    operation: str
    given: dict[str, Any]

    def _get_action(self) -> str:
        return self.operation

    def _get_param(self, name: str) -> Any:
        return self.given.get(name)


def _needed(request: Any, service: str, resource: str) -> Iterator[tuple[Right, dict[str, str]]]:
    """Yield the permissions that AWS checks for a request, with the values for conditions."""
    service = {"monitoring": "cloudwatch"}.get(service, service)
    action = f"{service}:{request._get_action()}"
    action = _SAME.get(action, action)
    context = (
        {"cloudwatch:namespace": request._get_param("Namespace")} if service == "cloudwatch" else {}
    )
    if action == "sqs:GetQueueUrl":
        resource = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{request._get_param('QueueName')}"
    if action == "s3:DeleteObject" and "/" not in resource:  # many objects in one request
        for key in re.findall(r"<Key>([^<]*)</Key>", request.body.decode()):
            yield Right(action, f"{resource}/{key}"), {}
        return
    yield Right(action, resource), context
    if service == "s3":
        if action == "s3:PutObject" and "x-amz-acl" in request.headers:
            yield (
                Right("s3:PutObjectAcl", resource),
                {"s3:x-amz-acl": request.headers["x-amz-acl"]},
            )
        bucket, _, key = resource.removeprefix("arn:aws:s3:::").partition("/")
        # S3 says that an object does not exist only to roles that may list the bucket.
        if action == "s3:GetObject" and s3_backends[ACCOUNT]["aws"].get_object(bucket, key) is None:
            yield Right("s3:ListBucket", f"arn:aws:s3:::{bucket}"), {}


def _matching(
    statements: list[dict[str, Any]], right: Right, context: dict[str, str]
) -> list[Right]:
    """Return the granted permissions that allow a request."""
    return [
        Right(right.action, pattern)
        for statement in statements
        if right.action in _list(statement["Action"])
        if statement.get("Condition", {}).get("StringEquals", context) == context
        for pattern in _list(statement["Resource"])
        if fnmatchcase(right.resource, pattern)
    ]


def _statements(role: str) -> Iterator[dict[str, Any]]:
    iam = iam_backends[ACCOUNT]["aws"]
    for policy in iam.list_attached_role_policies(role)[0]:
        document = next(v.document for v in policy.versions if v.is_default)
        for statement in json.loads(document)["Statement"]:
            assert statement["Effect"] == "Allow"
            assert not {"NotAction", "NotResource"} & statement.keys()
            actions = _list(statement["Action"])
            assert not any("*" in action for action in actions), "each action is named"
            yield statement


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
