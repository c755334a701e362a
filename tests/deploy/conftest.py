"""A job of one box, and a guard that takes permissions away from the roles of the stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.deploy.one_worker import new_credentials
from tests.deploy.role_service import RoleService, role_service
from tests.deploy.roles import Guard, guarded


@pytest.fixture
def guard() -> Iterator[Guard]:
    with guarded() as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, aws: dict[str, str]) -> Iterator[RoleService]:
    """A job of one box."""
    with role_service(tmp_path, aws) as made:
        made.volumes(Vec3(16, 64, 64))
        made.chain()
        yield made


@pytest.fixture
def role(service: RoleService, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has the role of a worker. The clients of `service` keep all rights."""
    service.enqueue()
    service.come_as("worker")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    for name in ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.setenv(name, service.environment[name])
    with new_credentials():
        yield
