"""boto3's session, whose credentials follow the files that they are in."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ProfileNotFound

from chunkflow_worker.report import aws_session as module
from chunkflow_worker.report.aws_session import aws_session
from tests.support.aws_keys import without_aws_keys


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_aws_keys(monkeypatch, tmp_path)
    monkeypatch.setattr(module, "_READ_AGAIN_SECONDS", 0)


def write_keys(path: Path, key: str, profile: str = "default") -> None:
    path.write_text(f"[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = s\n")


def key_in_use() -> str:
    return str(aws_session().get_credentials().get_frozen_credentials().access_key)


@pytest.mark.parametrize("name", ["credentials", "config"])
def test_keys_that_are_replaced_in_their_file_are_used(tmp_path: Path, name: str) -> None:
    write_keys(tmp_path / name, "FIRST")
    assert key_in_use() == "FIRST"
    write_keys(tmp_path / name, "SECOND")
    assert key_in_use() == "SECOND"


def test_keys_of_a_profile_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lab")
    for key in ("FIRST", "SECOND"):
        write_keys(tmp_path / "credentials", key, "lab")
        assert key_in_use() == key


def test_the_last_keys_hold_while_the_file_is_being_replaced(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    write_keys(file, "FIRST")
    assert key_in_use() == "FIRST"
    for damage in ("", "[default\n", "[default]\naws_access_key_id = HALF\n"):
        file.write_text(damage)
        assert key_in_use() == "FIRST"
    file.unlink()
    assert key_in_use() == "FIRST"
    write_keys(file, "SECOND")
    assert key_in_use() == "SECOND"


def test_the_file_is_not_read_for_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ_AGAIN_SECONDS", 3600)
    write_keys(tmp_path / "credentials", "FIRST")
    assert key_in_use() == "FIRST"
    write_keys(tmp_path / "credentials", "SECOND")
    assert key_in_use() == "FIRST"


def test_variables_come_first_and_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_keys(tmp_path / "credentials", "FILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "VARIABLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert key_in_use() == "VARIABLE"


def test_a_session_that_the_user_has_made_is_kept() -> None:
    boto3.setup_default_session(aws_access_key_id="OWN", aws_secret_access_key="s")
    assert aws_session() is boto3.DEFAULT_SESSION
    assert key_in_use() == "OWN"


def test_a_profile_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lap")
    with pytest.raises(ProfileNotFound, match="lap"):
        aws_session()


def test_without_credentials_there_are_none() -> None:
    assert aws_session().get_credentials() is None
