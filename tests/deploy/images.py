"""Builds the images of `make e2e-docker`, with the pip settings of this machine."""

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
    """Build all images; print how long each takes and how large it is."""
    with _pip_settings() as options:
        for target, image in IMAGES.items():
            began = time.monotonic()
            names = ["--target", target, "--tag", image]
            command = ["build", "--quiet", "--network", "host", *options, *names, str(ROOT)]
            docker(*command, limit=1500)
            say(f"{image} built, {_size_of(image) / 1e6:,.0f} MB", time.monotonic() - began)


@contextmanager
def _pip_settings() -> Iterator[list[str]]:
    """Yield the options of a build that pass on this machine's pip settings.

    They are an index and folders of wheels. A build gets them as a secret, which no layer keeps.
    """
    local = _local_pip_settings()
    places = dict.fromkeys(local.get("find-links", []))
    folders = [Path(place) for place in places if Path(place).is_dir()]
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
        for folder in folders
    ]
    # A build does not see the other folders and files of this machine.
    settings = {
        name: [value for value in local.get(name, []) if not value.startswith("file:")]
        for name in ("index-url", "extra-index-url")
    }
    settings["find-links"] = [f"http://127.0.0.1:{server.server_port}/" for server in servers]
    lines = [f"{name} = {' '.join(values)}\n" for name, values in settings.items() if values]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pip.conf"
        file.write_text("".join(["[global]\n", *lines]))
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


def _local_pip_settings() -> dict[str, list[str]]:
    """Return the settings that `pip config list` shows: name -> values."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[str, list[str]] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        values = value.strip("'\"").replace("\\n", " ").split()
        found.setdefault(name.rpartition(".")[2].strip(":"), []).extend(values)
    return found


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def _size_of(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))
