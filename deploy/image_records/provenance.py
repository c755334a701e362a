"""`provenance`: what an image was built from, as an in-toto statement with SLSA's predicate.

It is a record by whoever ran the build, and is not signed: `cosign attest --predicate` or a builder
such as `docker buildx build --provenance=mode=max` can do that where images are pushed.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy.image_records.content import Content

SOURCES = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("chunkflow_worker", "producer", "deploy/requirements")
_BUILD_TYPE = "urn:chunkflow-worker:make-images:v1"


def provenance(content: Content, target: str, root: Path, locks: Iterable[Path]) -> dict[str, Any]:
    """The statement for an image.

    target: of the Dockerfile. root: the checkout. locks: the requirements that were installed.
    """
    materials = [root / "Dockerfile", *locks]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": content.name, "digest": {"sha256": content.digest}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"dockerfile": "Dockerfile", "target": target},
                "resolvedDependencies": [
                    _revision(root),
                    _base(content.labels.get("org.opencontainers.image.base.name", "")),
                    *(_file(root, path) for path in materials),
                ],
            },
            "runDetails": {
                "builder": {"id": f"{_BUILD_TYPE}#local"},
                "metadata": {"finishedOn": content.created},
            },
        },
    }


def _revision(root: Path) -> dict[str, Any]:
    """The commit, and the files of the build that differ from it."""
    commit = _git(root, "rev-parse", "HEAD").strip()
    status = _git(root, "status", "--porcelain", "--", *SOURCES, *FOLDERS)
    changed = [line[3:] for line in status.splitlines()]
    found: dict[str, Any] = {"name": "source", "digest": {"gitCommit": commit}}
    if changed:
        found["annotations"] = {"uncommitted": changed}
    return found


def _base(reference: str) -> dict[str, Any]:
    """The base image. Its digest is part of the reference, and Docker checks it when it pulls."""
    name, _, digest = reference.partition("@sha256:")
    found: dict[str, Any] = {"name": "base image", "uri": f"docker://{name}"}
    if digest:
        found["digest"] = {"sha256": digest}
    else:
        found["annotations"] = {"unknown": "the build was given a base image without a digest"}
    return found


def _file(root: Path, path: Path) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": path.relative_to(root).as_posix(), "digest": {"sha256": digest}}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout
