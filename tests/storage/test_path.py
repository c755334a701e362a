from __future__ import annotations

import re
from pathlib import Path

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.storage.path import (
    local_folder,
    normal_path,
    public_path,
    writable_path,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/x/", "s3://b/x"),
        ("precomputed://gs://b/x", "gs://b/x"),
        ("gs://b/x/|neuroglancer-precomputed:", "gs://b/x"),
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


@pytest.mark.parametrize(
    ("path", "cure"),
    [
        ("s3:/lab", "did you mean s3://lab"),
        ("$OUT/x", "write ${env:OUT}"),
        ("brainmaps://x", "known: graphene, n5, precomputed, zarr"),
        ("~no-such-user/x", "no user of this machine is named no-such-user"),
    ],
)
def test_mistyped_paths_are_refused_with_a_cure(path: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(cure)) as refused:
        normal_path(path)
    assert path in str(refused.value)


def test_a_folder_with_a_colon_in_its_name_can_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert normal_path("./s3:/x") == normal_path("file://s3:/x") == f"file://{tmp_path}/s3:/x"


def test_variables_of_the_environment_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUT", "s3://lab")
    assert normal_path("${env:OUT}/log") == "s3://lab/log"


def test_a_web_address_cannot_be_written() -> None:
    assert writable_path("s3://lab/x/") == "s3://lab/x"
    with pytest.raises(ConfigError, match="https://host/x: is read only"):
        writable_path("https://host/x")


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
