"""Builds the images of `make e2e-docker`, with the settings that pip has on this machine."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.deploy.containers import ROOT, docker, say

IMAGES = {
    "producer": "chunkflow-producer:e2e",
    "local-aws": "chunkflow-local-aws:e2e",
    "worker-cpu": "chunkflow-worker:e2e-cpu",
}


def build() -> None:
    """Build all images, and tell seconds and sizes."""
    with _pip_settings() as options:
        for target, image in IMAGES.items():
            began = time.monotonic()
            docker(
                "build",
                "--quiet",
                "--network",
                "host",
                *options,
                "--target",
                target,
                "--tag",
                image,
                str(ROOT),
                limit=1500,
            )
            say(f"{image} built, {_size_of(image) / 1e6:,.0f} MB", time.monotonic() - began)


@contextmanager
def _pip_settings() -> Iterator[list[str]]:
    """What pip is told on this machine (an index, folders of wheels), as options of a build; a secret, kept by no layer."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    told: dict[str, list[str]] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        told.setdefault(name.rpartition(".")[2].strip(":"), []).extend(
            value.strip("'\"").replace("\\n", " ").split()
        )
    folders = [
        Path(place) for place in dict.fromkeys(told.get("find-links", [])) if Path(place).is_dir()
    ]
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
        for folder in folders
    ]
    # Other folders and files of this machine are not there in a build.
    settings = {
        name: [v for v in told.get(name, []) if not v.startswith("file:")]
        for name in ("index-url", "extra-index-url")
    }
    settings["find-links"] = [f"http://127.0.0.1:{server.server_port}/" for server in servers]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pip.conf"
        file.write_text(
            "\n".join(
                ["[global]", *(f"{name} = {' '.join(v)}" for name, v in settings.items() if v), ""]
            )
        )
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--secret", f"id=pip.conf,src={file}"]
        if any(folder.glob("torch-*+cpu*") for folder in folders):
            options += ["--build-arg", "TORCH_INDEX="]
        try:
            yield [*options, *shlex.split(os.environ.get("DOCKER_BUILD_ARGS", ""))]
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _size_of(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))
