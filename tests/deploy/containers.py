"""The commands of Docker and Compose that `make e2e-docker` uses."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.paths import ROOT

PROJECT = "chunkflow-e2e"
DOCKER = shlex.split(os.environ.get("DOCKER", "docker"))


@contextmanager
def the_stack() -> Iterator[Callable[..., str]]:
    """Yield a function that runs commands of compose. When the block ends, everything is down."""
    command = shlex.split(os.environ.get("COMPOSE", "")) or compose_command()
    files = ["--file=docker-compose.yml", "--file=tests/deploy/compose.loopback.yml"]
    prefix = [*command, "--project-name", PROJECT, *files, "--env-file=tests/deploy/e2e.env"]
    # Variables of the shell would override those of the file.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME") or name.startswith("DOCKER_")
    }
    print(f"{' '.join(command)}: {run([*command, 'version', '--short'])}")

    def compose(*arguments: str) -> str:
        return run([*prefix, *arguments], environment, limit=300)

    compose("down", "--remove-orphans", "--volumes")
    try:
        yield compose
    except BaseException:
        for worker in containers("worker"):
            print(f"--- {worker}\n{logs(worker)}", file=sys.stderr)
        raise
    finally:
        compose("down", "--remove-orphans", "--volumes", "--timeout", "5")


def compose_command() -> list[str]:
    plugin = subprocess.run([*DOCKER, "compose", "version"], capture_output=True, check=False)
    return ["docker-compose"] if plugin.returncode else [*DOCKER, "compose"]


def docker(*arguments: str, limit: float = 60) -> str:
    return run([*DOCKER, *arguments], os.environ | {"DOCKER_BUILDKIT": "1"}, limit)


def run(command: list[str], environment: dict[str, str] | None = None, limit: float = 60) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    if done.returncode:
        output = done.stdout[-4000:] + done.stderr[-4000:]
        raise SystemExit(f"{shlex.join(command)}\nexited with status {done.returncode}\n{output}")
    return done.stdout.strip()


def containers(service: str = "") -> list[str]:
    """Return the ids of the containers of a service; of all services if none is given."""
    filters = [f"--filter=label=com.docker.compose.project={PROJECT}"]
    if service:
        filters.append(f"--filter=label=com.docker.compose.service={service}")
    return docker("ps", "--all", "--quiet", *filters).split()


def inspect(container: str) -> dict[str, Any]:
    return dict(json.loads(docker("inspect", container))[0])


def pids(container: str) -> list[int]:
    """Return the processes of a container, as numbered on this machine."""
    if not inspect(container)["State"]["Running"]:
        return []
    return [int(line.split()[0]) for line in docker("top", container, "-o", "pid").splitlines()[1:]]


def logs(container: str) -> str:
    done = subprocess.run(
        [*DOCKER, "logs", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def in_container(container: str, code: str) -> str:
    """Run Python code in a container; return what it prints."""
    lines = code.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return docker("exec", container, "python", "-c", "\n".join(line[indent:] for line in lines))


def until(seconds: float, what: str, find: Callable[[], Any]) -> Any:
    """Wait until `find` returns a true value, and return it. Raises SystemExit after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := find():
            return found
        time.sleep(0.3)
    raise SystemExit(f"after {seconds:.0f} s it is still not true that {what}")


def say(what: str, seconds: float) -> None:
    print(f"{seconds:7.1f} s  {what}", flush=True)
