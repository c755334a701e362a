from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.storage.path import local_folder, normal_path, public_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/x/", "s3://b/x"),
        ("precomputed://gs://b/x", "gs://b/x"),
        ("file:///x//", "file:///x"),
        ("/x/y/", "file:///x/y"),
    ],
)
def test_paths_have_one_form(path: str, expected: str) -> None:
    assert normal_path(path) == expected
    assert normal_path(expected) == expected


def test_a_path_without_a_protocol_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert normal_path("x/y") == f"file://{tmp_path}/x/y"


def test_local_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert normal_path("file://x/y") == f"file://{tmp_path}/x/y"
    assert normal_path("file://~/x") == normal_path("~/x") == "file:///home/me/x"


def test_unknown_protocols_are_refused() -> None:
    with pytest.raises(ConfigError, match="ftp://x"):
        normal_path("ftp://x")


def test_only_a_local_path_has_a_folder() -> None:
    assert local_folder("file:///x/y") == Path("/x/y")
    assert local_folder("s3://bucket/file") is None
    assert local_folder("mem://x") is None


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("gs://lab/em/", "https://storage.googleapis.com/lab/em"),
        ("precomputed://s3://lab/em", "https://s3.amazonaws.com/lab/em"),
        ("/x/y", "file:///x/y"),
    ],
)
def test_object_stores_have_public_links(path: str, link: str) -> None:
    assert public_path(path) == link
