"""The records of an image: what is in it, and what it was built from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.utils import canonicalize_name

from deploy.image_records.__main__ import LOCKS, main
from deploy.image_records.bom import bill_of_materials
from deploy.image_records.content import Content
from deploy.image_records.provenance import FOLDERS, SOURCES, provenance
from tests.deploy.test_locked_requirements import IMAGES, pins
from tests.support.paths import ROOT

BASE = f"python:3.11-slim-bookworm@sha256:{'ab' * 32}"
REQUIREMENTS = ROOT / "deploy" / "requirements"
LOCK_FILES = [REQUIREMENTS / "core.txt"]
COMPONENT = {
    "type": "object",
    "required": ["type", "name", "version", "bom-ref"],
    "additionalProperties": False,
    "properties": {
        "type": {"enum": ["library", "application", "operating-system", "container"]},
        "bom-ref": {"type": "string", "minLength": 1},
        "name": {"type": "string", "minLength": 1},
        "version": {"type": "string", "minLength": 1},
        "purl": {"type": "string", "pattern": "^pkg:(pypi|deb|generic)/"},
        "hashes": {"type": "array"},
        "licenses": {"type": "array"},
        "externalReferences": {"type": "array"},
    },
}


def content(**changes: Any) -> Content:
    version = pins("core")["boto3"]
    values: dict[str, Any] = {
        "name": "chunkflow-producer:0.1.0",
        "digest": "cd" * 32,
        "created": "2026-09-01T12:00:00Z",
        "labels": {"org.opencontainers.image.base.name": BASE},
        "interpreter": "3.11.16",
        "system": ("debian", "12"),
        "python": (("boto3", version, "Apache-2.0"), ("own_package", "0.1.0", "")),
        "debian": (("libc6", "2.36-9+deb12u10", "amd64"), ("tini", "0.19.0-1", "amd64")),
    }
    return Content(**values | changes)


def test_the_bill_has_every_package_with_the_hashes_of_its_lock() -> None:
    bill = bill_of_materials(content(), LOCK_FILES)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    image = bill["metadata"]["component"]
    assert (image["type"], image["name"], image["version"]) == (
        "container",
        "chunkflow-producer",
        "0.1.0",
    )
    assert image["hashes"] == [{"alg": "SHA-256", "content": "cd" * 32}]
    found = {component["name"]: component for component in bill["components"]}
    assert set(found) == {"debian", "python", "libc6", "tini", "boto3", "own_package"}
    purl = "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12"
    assert found["libc6"]["purl"] == purl
    assert found["own_package"]["purl"] == "pkg:pypi/own-package@0.1.0"
    assert "externalReferences" not in found["own_package"], "no lock has it"
    (files,) = found["boto3"]["externalReferences"]
    hashes = {each["content"] for each in files["hashes"]}
    assert hashes
    assert all(f"--hash=sha256:{each}" in LOCK_FILES[0].read_text() for each in hashes)
    for component in [image, *bill["components"]]:
        jsonschema.validate(component, COMPONENT)
    references = [component["bom-ref"] for component in [image, *bill["components"]]]
    assert len(references) == len(set(references))


def test_the_provenance_names_commit_base_and_locks() -> None:
    statement = provenance(content(), "producer", ROOT, LOCK_FILES)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [
        {"name": "chunkflow-producer:0.1.0", "digest": {"sha256": "cd" * 32}}
    ]
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    build = statement["predicate"]["buildDefinition"]
    assert build["externalParameters"] == {"dockerfile": "Dockerfile", "target": "producer"}
    sources = {each["name"]: each for each in build["resolvedDependencies"]}
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert sources["source"]["digest"] == {"gitCommit": head.stdout.strip()}
    assert sources["base image"]["digest"] == {"sha256": "ab" * 32}
    digests = {"Dockerfile", "deploy/requirements/core.txt"}
    assert sources.keys() == digests | {"source", "base image"}
    for name in digests:
        assert re.fullmatch("[0-9a-f]{64}", sources[name]["digest"]["sha256"])


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    labels = {"org.opencontainers.image.base.name": "my-python:3.11"}
    for name in SOURCES:
        (tmp_path / name).write_text("")
    for arguments in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "first"],
    ):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    def sources() -> dict[str, Any]:
        statement = provenance(content(labels=labels), "producer", tmp_path, [])
        build = statement["predicate"]["buildDefinition"]
        return {each["name"]: each for each in build["resolvedDependencies"]}

    base = sources()["base image"]
    assert base["uri"] == "docker://my-python:3.11"
    assert "digest" not in base
    assert "without a digest" in base["annotations"]["unknown"]
    assert "annotations" not in sources()["source"]
    (tmp_path / "pyproject.toml").write_text("changed")
    (tmp_path / "notes").write_text("not part of a build")
    assert sources()["source"]["annotations"] == {"uncommitted": ["pyproject.toml"]}


def test_the_sources_are_what_the_dockerfile_copies() -> None:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    }
    for path in copied:
        assert path.startswith((*SOURCES, *FOLDERS)), path


def test_each_image_is_recorded_with_the_locks_that_it_installs() -> None:
    assert {target: list(locks) for target, locks in LOCKS.items()} == {
        target: locks for target, (locks, _) in IMAGES.items()
    }
    makefile = (ROOT / "Makefile").read_text()
    for target in IMAGES:
        assert f"--target {target} " in makefile
        assert re.search(rf"\s{target}=chunkflow-", makefile), "its records are made with it"


DOCKER = """
import json, subprocess, sys
words = sys.argv[1:]
if words[:2] == ["image", "inspect"]:
    labels = {"org.opencontainers.image.base.name": "%s"}
    print(json.dumps([{"Id": "sha256:" + "cd" * 32, "Created": "2026-09-01T12:00:00Z",
                       "Config": {"Labels": labels}}]))
else:
    assert words[0] == "run" and "--network=none" in words and "--cap-drop=ALL" in words, words
    sys.exit(subprocess.run([sys.executable, *words[words.index("-c"):]]).returncode)
"""


def test_both_records_are_written_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that runs in the image runs here, so the packages are those of this machine."""
    docker = tmp_path / "docker.py"
    docker.write_text(DOCKER % BASE)
    monkeypatch.setenv("DOCKER", f"{sys.executable} {docker}")
    monkeypatch.chdir(tmp_path)
    assert main(["producer=chunkflow-producer:0.1.0"]) == 0
    folder = tmp_path / "build" / "images"
    assert sorted(path.name for path in folder.iterdir()) == [
        "chunkflow-producer-0.1.0.cdx.json",
        "chunkflow-producer-0.1.0.provenance.json",
    ]
    bill = json.loads((folder / "chunkflow-producer-0.1.0.cdx.json").read_text())
    names = {canonicalize_name(component["name"]) for component in bill["components"]}
    assert {"boto3", "pytest", "python"} <= names
    assert bill["components"][1]["version"] == ".".join(map(str, sys.version_info[:3]))
