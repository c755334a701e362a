"""The local AWS asks for permission: it lets a role do what its policies allow, and notes what of that is used.

moto has a check of its own, which knows neither the conditions nor the finer rules of S3 that matter here.
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

ACCOUNT = "123456789012"
_SAME = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "s3:HeadBucket": "s3:ListBucket",
}


@dataclass(frozen=True, order=True)
class Right:
    """An action, and a resource (or a pattern of such)."""

    action: str
    resource: str


@dataclass
class Guard:
    """What each role may do, has used of that, and was refused. A role's name is cut down to `WorkerRole` or the like."""

    granted: dict[str, set[Right]] = field(default_factory=dict)
    used: dict[str, set[Right]] = field(default_factory=dict)
    refused: list[tuple[str, Right]] = field(default_factory=list)

    def check(self, request: Any, resource: str) -> None:
        """Raises what AWS answers when the role that signed the request may not do it."""
        found = re.search(
            r"Credential=(\w+)/\d+/[\w-]+/(\w+)/", request.headers.get("Authorization", "")
        )
        if found is None:
            if request._get_action() != "AssumeRoleWithWebIdentity":
                self.refused.append(("nobody", Right(request._get_action(), resource)))
            return
        roles = [
            r.role_arn
            for r in sts_backends[ACCOUNT]["aws"].assumed_roles
            if r.access_key_id == found[1]
        ]
        if not roles:
            return  # the test itself
        role = roles[0].rsplit("/", 1)[1]
        name = role.split("-")[-2]
        statements = list(_statements(role))
        self.granted[name] = {
            Right(a, r)
            for s in statements
            for a in _list(s["Action"])
            for r in _list(s["Resource"])
        }
        for right, context in _needed(request, found[2], resource):
            matching = [
                Right(right.action, pattern)
                for s in statements
                if right.action in _list(s["Action"])
                and s.get("Condition", {}).get("StringEquals", context) == context
                for pattern in _list(s["Resource"])
                if fnmatchcase(right.resource, pattern)
            ]
            if not matching:
                self.refused.append((name, right))
                raise (
                    S3AccessDeniedError()
                    if found[2] == "s3"
                    else AccessDeniedError(user_arn=role, action=right.action)
                )
            self.used.setdefault(name, set()).update(matching)


@contextmanager
def guarded() -> Iterator[Guard]:
    """Until the block ends, who comes with a role is held to its policies. Others are the test, and may do anything."""
    guard = Guard()

    def ask(request: Any, kind: type, resource: str = "*") -> None:
        guard.check(request, resource)

    with patch.object(ActionAuthenticatorMixin, "_authenticate_and_authorize_action", ask):
        yield guard


def _needed(request: Any, service: str, resource: str) -> Iterator[tuple[Right, dict[str, str]]]:
    """The rights that AWS asks for on a request, each with what conditions may look at."""
    service = {"monitoring": "cloudwatch"}.get(service, service)
    action = f"{service}:{request._get_action()}"
    action = _SAME.get(action, action)
    context = (
        {"cloudwatch:namespace": request._get_param("Namespace")} if service == "cloudwatch" else {}
    )
    if action == "sqs:GetQueueUrl":
        resource = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{request._get_param('QueueName')}"
    if action == "s3:DeleteObject" and "/" not in resource:  # of many at once
        for key in re.findall(r"<Key>([^<]*)</Key>", request.body.decode()):
            yield Right(action, f"{resource}/{key}"), {}
        return
    yield Right(action, resource), context
    if service == "s3":
        if action == "s3:PutObject" and "x-amz-acl" in request.headers:
            yield Right("s3:PutObjectAcl", resource), {}
        bucket, _, key = resource.removeprefix("arn:aws:s3:::").partition("/")
        # Of an object that is absent, S3 tells so only to those who may list.
        if action == "s3:GetObject" and s3_backends[ACCOUNT]["aws"].get_object(bucket, key) is None:
            yield Right("s3:ListBucket", f"arn:aws:s3:::{bucket}"), {}


def _statements(role: str) -> Iterator[dict[str, Any]]:
    iam = iam_backends[ACCOUNT]["aws"]
    for policy in iam.list_attached_role_policies(role)[0]:
        document = next(v.document for v in policy.versions if v.is_default)
        for statement in json.loads(document)["Statement"]:
            assert (
                statement["Effect"],
                statement.get("NotAction"),
                statement.get("NotResource"),
            ) == ("Allow", None, None)
            assert not any("*" in action for action in _list(statement["Action"])), (
                "each action is named"
            )
            yield statement


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
