"""A user without AWS credentials, for tests of where credentials come from."""

from __future__ import annotations

from pathlib import Path

import pytest

_VARIABLES = (
    "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "ROLE_ARN",
    "WEB_IDENTITY_TOKEN_FILE", "CONTAINER_CREDENTIALS_FULL_URI",
    "CONTAINER_CREDENTIALS_RELATIVE_URI",
)  # fmt: skip


def without_aws_keys(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Leave no credentials but those that the test puts into `config` and `credentials` there."""
    for name in _VARIABLES:
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # the same of Google
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it remembers credentials
