"""The overlay `local` runs without a cluster.

Its containers are processes, with the variables and files that Kubernetes would give them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.deploy.manifests import containers, environment, find, pods, render

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ENTRYPOINTS = {
    "chunkflow-worker": ["-c", "from chunkflow_worker.cli.worker import main; main()"],
    "chunkflow-producer": ["-m", "producer"],
}


class Node:
    """Starts containers of the overlay as processes, with their ConfigMaps below `root`."""

    def __init__(self, root: Path, aws: dict[str, str]):
        self.root, self.aws = root, aws
        self.manifests = render("local")
        (root / "tmp").mkdir()

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start the container `pod/container`, or another command in it."""
        container = containers(self.manifests)[name]
        self._mount(name)
        image = container["image"].rpartition(":")[0].rsplit("/", 1)[-1]
        words = list(command) or container.get("command", []) + container.get("args", [])
        if words[0] == "python":
            words = words[1:]
        elif words[0] == "chunkflow-worker":
            words = [*ENTRYPOINTS["chunkflow-worker"], *words[1:]]
        else:
            words = [*ENTRYPOINTS[image], *words]
        variables = (
            environment(self.manifests, container) | self.aws | {"TMPDIR": str(self.root / "tmp")}
        )
        variables = {key: self._inside(value) for key, value in variables.items()}
        base = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("CHUNKFLOW_", "AWS_"))
        }
        with (self.root / f"{name.replace('/', '-')}.log").open("ab") as log:
            arguments = [sys.executable, *map(self._inside, words)]
            return subprocess.Popen(
                arguments, env=base | variables, cwd=self.root, stdout=log, stderr=log
            )

    def run(self, name: str, *command: str) -> int:
        return self.start(name, *command).wait(60)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-3000:]}"
            for path in sorted(self.root.glob("*.log"))
        )

    def _mount(self, name: str) -> None:
        volumes = {v["name"]: v for v in pods(self.manifests)[name.split("/")[0]]["volumes"]}
        for mount in containers(self.manifests)[name]["volumeMounts"]:
            if "configMap" in volumes[mount["name"]]:
                source = volumes[mount["name"]]["configMap"]["name"].rsplit("-", 1)[0]
                data = find(self.manifests, "ConfigMap", source)["data"]
                folder = Path(self._inside(mount["mountPath"]))
                folder.mkdir(parents=True, exist_ok=True)
                for file, content in data.items():
                    (folder / file).write_text(content)

    def _inside(self, text: str) -> str:
        for folder in ("/etc/chunkflow", "/sample"):
            if text.startswith(folder):
                return f"{self.root}{text}"
        return text


def test_the_sample_job_runs_to_its_end_and_the_worker_leaves_in_time(
    tmp_path: Path, aws: dict[str, str]
) -> None:
    node = Node(tmp_path, aws)
    for _ in range(2):  # a Job may be repeated
        assert node.run("sample/queue") == 0, node.logs()
        assert node.run("sample/volumes") == 0, node.logs()
    assert node.run("worker/worker", "chunkflow-worker", "health", "--live") == 1, "no worker yet"
    worker = node.start("worker/worker")
    try:
        probes = containers(node.manifests)["worker/worker"]
        until = time.monotonic() + 60
        while node.run("worker/worker", *probes["startupProbe"]["exec"]["command"]) != 0:
            assert time.monotonic() < until, node.logs()
            assert worker.poll() is None, node.logs()
        alive = node.run("worker/worker", *probes["livenessProbe"]["exec"]["command"])
        assert alive == 0, node.logs()
        assert node.run("enqueue/producer") == 0, node.logs()
        ledger = Ledger("s3://sample/copy/log")
        until = time.monotonic() + 120
        while len(ledger.boxes()[0]) < 2 * 4 * 4:
            assert time.monotonic() < until, node.logs()
            time.sleep(0.2)
        stopped = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, node.logs()
        grace = pods(node.manifests)["worker"]["terminationGracePeriodSeconds"]
        assert time.monotonic() - stopped < grace
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
    image, copy = (PrecomputedVolume(f"s3://sample/{name}") for name in ("em", "copy"))
    assert np.array_equal(image.read(image.bounds), copy.read(copy.bounds))
