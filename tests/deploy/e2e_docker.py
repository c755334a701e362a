"""Builds the images, runs the compose file's job to its end, and meanwhile stops and kills its workers: `make e2e-docker`.

Needs Docker with BuildKit and Compose, 1.29 or 2.x, on Linux; nothing of Python but its library. DOCKER and COMPOSE name
other commands than `docker` and `docker compose`. All traffic stays on loopbacks, but for the packages of the build.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT, TAG = "chunkflow-e2e", "e2e"
IMAGES = {
    "producer": f"chunkflow-producer:{TAG}",
    "local-aws": f"chunkflow-local-aws:{TAG}",
    "worker-cpu": f"chunkflow-worker:{TAG}-cpu",
}
TASKS = 12
STOP_SECONDS = 30  # STOP_GRACE_PERIOD of e2e.env

DOCKER = shlex.split(os.environ.get("DOCKER", "docker"))


def main() -> int:
    build()
    with the_stack() as compose:
        began = time.monotonic()
        compose("up", "--detach", "--no-build", "--scale", "worker=1")
        say("local AWS, queue, sample and a worker started", time.monotonic() - began)
        (worker,) = containers("worker")
        check_hardened(worker)
        until(120, "the worker is healthy", lambda: inspect(worker)["State"]["Health"]["Status"] == "healthy")
        began = time.monotonic()
        compose("run", "--rm", "producer", "enqueue")
        stop_one(worker)
        compose("up", "--detach", "--no-build", "--scale", "worker=3")
        kill_two()
        status = until(420, "all tasks are done", lambda: all_done(compose))
        say(f"job of {TASKS} tasks, with a worker stopped, one killed and one that crashed", time.monotonic() - began)
        assert (status["failed"], status["missing"], status["dead"]) == (0, 0, 0), status
        print(compose("run", "--rm", "producer", "verify").splitlines()[-1])
        processes = [pid for container in containers() for pid in pids(container)]
        began = time.monotonic()
        compose("down")
        say("compose down", time.monotonic() - began)
        check_gone(processes)
    print("all is well")
    return 0


# ---------------------------------------------------------------- images


def build() -> None:
    with pip_settings() as options:
        for target, image in IMAGES.items():
            began = time.monotonic()
            docker("build", "--quiet", "--network", "host", *options, "--target", target, "--tag", image, str(ROOT), limit=1500)
            say(f"{image} built, {size_of(image) / 1e6:,.0f} MB", time.monotonic() - began)
            layers = docker("history", "--no-trunc", image)
            assert "find-links" not in layers, "pip's settings stand in a layer"


@contextmanager
def pip_settings() -> Iterator[list[str]]:
    """What pip is told on this machine (an index, folders of wheels), as options of a build; a secret, kept by no layer."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    told: dict[str, list[str]] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        told.setdefault(name.rpartition(".")[2].strip(":"), []).extend(value.strip("'\"").replace("\\n", " ").split())
    folders = [Path(place) for place in dict.fromkeys(told.get("find-links", [])) if Path(place).is_dir()]
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) for folder in folders]
    # Other folders and files of this machine are not there in a build.
    settings = {name: [v for v in told.get(name, []) if not v.startswith("file:")] for name in ("index-url", "extra-index-url")}
    settings["find-links"] = [f"http://127.0.0.1:{server.server_port}/" for server in servers]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pip.conf"
        file.write_text("\n".join(["[global]", *(f"{name} = {' '.join(v)}" for name, v in settings.items() if v), ""]))
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


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def size_of(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


# ---------------------------------------------------------------- what happens to workers


def check_hardened(worker: str) -> None:
    """Not root, nothing writable but /tmp, no capabilities, and tini is process 1."""
    told = inspect(worker)
    assert told["HostConfig"]["ReadonlyRootfs"]
    assert told["Config"]["User"] == "10001:10001"
    state = in_container(
        worker,
        """
        import os, pathlib
        def writable(folder):
            try:
                (pathlib.Path(folder) / "probe").write_text("")
                return True
            except OSError:
                return False
        status = pathlib.Path("/proc/self/status").read_text()
        capabilities = {line.split()[1] for line in status.splitlines() if line.startswith("Cap")}
        print(os.getuid(), pathlib.Path("/proc/1/comm").read_text().strip(), capabilities == {"0" * 16},
              *map(writable, ("/", "/opt/venv", "/job", "/tmp")))
        """,
    )
    assert state.split() == ["10001", "tini", "True", "False", "False", "False", "True"], state


def stop_one(worker: str) -> None:
    """SIGTERM in the middle of a task: exit status 0 within the time, and the task can be had at once, no attempt spent."""
    seen = logs(worker).count(" INFO started ")
    until(120, "a task is at its beginning", lambda: logs(worker).count(" INFO started ") > seen)
    box = box_in_hand(worker)
    began = time.monotonic()
    docker("stop", "--time", str(STOP_SECONDS), worker)
    seconds = time.monotonic() - began
    messages = receives()
    state = inspect(worker)["State"]
    assert state["ExitCode"] == 0, f"a worker that was stopped ended with status {state['ExitCode']}"
    assert seconds < STOP_SECONDS
    assert len(messages) == TASKS - logs(worker).count(" INFO done "), f"messages are hidden: {messages}"
    assert messages[box] == [1, 0], f"received {messages[box][0]} times, {messages[box][1]} attempts before: the stop cost one"
    say(f"docker stop in the middle of {box}: exit status 0, its message is back, no attempt was spent", seconds)


def kill_two() -> None:
    """SIGKILL to a container, which stays dead, and to the worker inside another, which starts again."""
    workers = until(120, "three workers have a task in hand", lambda: busy(3))
    dead, crashed = list(workers)[:2]
    docker("kill", dead)
    before = inspect(crashed)["RestartCount"]
    in_container(
        crashed,
        """
        import os, pathlib, signal
        (worker,) = pathlib.Path("/proc/1/task/1/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        """,
    )
    until(30, "the crashed worker started again", lambda: inspect(crashed)["RestartCount"] > before)
    assert inspect(dead)["State"]["ExitCode"] == 137
    print(f"killed with task {workers[dead]} and {workers[crashed]} in hand; the second started again")


def busy(count: int) -> dict[str, str] | None:
    """The tasks of all running workers, when there are `count` and each has one."""
    running = [c for c in containers("worker") if inspect(c)["State"]["Running"]]
    tasks = {container: box for container in running if (box := box_in_hand(container))}
    return tasks if len(tasks) == count else None


def box_in_hand(worker: str) -> str:
    """The box that a worker, of one task at a time, is at; empty when none."""
    box = ""
    for line in logs(worker).splitlines():
        words = line.split(" INFO ", 1)[-1].split()
        if words[:1] in (["started"], ["done"]):
            box = words[1] if words[0] == "started" else ""
    return box


def receives() -> dict[str, list[int]]:
    """Boxes of the messages that can be had now: how often each was received, this time included, and attempts spent before."""
    (aws,) = containers("aws")
    told = in_container(
        aws,
        """
        import json, boto3
        from chunkflow_worker.message import open_envelope
        sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url="http://127.0.0.1:5000",
                           aws_access_key_id="local", aws_secret_access_key="local")
        url = sqs.get_queue_url(QueueName="chunkflow")["QueueUrl"]
        found, held = {}, []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"]).get("Messages"):
            for message in messages:
                task, _ = open_envelope(message["Body"], "chunkflow")
                found[task.bbox] = [int(message["Attributes"]["ApproximateReceiveCount"]), task.attempts]
                held.append(message["ReceiptHandle"])
        for handle in held:
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
        print(json.dumps(found))
        """,
    )
    return dict(json.loads(told))


def all_done(compose: Callable[..., str]) -> dict[str, Any] | None:
    status = json.loads(compose("run", "--rm", "--no-deps", "producer", "status", "--json").splitlines()[-1])
    return status if status["done"] == status["total"] == TASKS else None


def check_gone(processes: list[int]) -> None:
    assert processes
    assert not containers(), "containers are left"
    for kind in ("volume", "network"):
        left = docker(kind, "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")
        assert not left, f"a {kind} is left: {left}"
    alive = [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    assert not alive, f"processes {alive} are left"


# ---------------------------------------------------------------- commands


@contextmanager
def the_stack() -> Iterator[Callable[..., str]]:
    """Runs compose's commands; whatever happens, all is down when the block ends."""
    command = shlex.split(os.environ.get("COMPOSE", "")) or compose_command()
    files = ["--file", "docker-compose.yml", "--file", "tests/deploy/compose.loopback.yml", "--env-file", "tests/deploy/e2e.env"]
    prefix = [*command, "--project-name", PROJECT, *files]
    # What the shell sets would take the place of the file's settings.
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME") or k.startswith("DOCKER_")}
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
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        said = done.stdout[-4000:] + done.stderr[-4000:]
        raise SystemExit(f"{shlex.join(command)}\nended with status {done.returncode}\n{said}")
    return done.stdout.strip()


def containers(service: str = "") -> list[str]:
    of = f"label=com.docker.compose.project={PROJECT}", f"label=com.docker.compose.service={service}"
    return docker("ps", "--all", "--quiet", *(f"--filter={label}" for label in (of if service else of[:1]))).split()


def inspect(container: str) -> dict[str, Any]:
    return dict(json.loads(docker("inspect", container))[0])


def pids(container: str) -> list[int]:
    if not inspect(container)["State"]["Running"]:
        return []
    return [int(line.split()[0]) for line in docker("top", container, "-o", "pid").splitlines()[1:]]


def logs(container: str) -> str:
    done = subprocess.run([*DOCKER, "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return done.stdout


def in_container(container: str, code: str) -> str:
    lines = code.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return docker("exec", container, "python", "-c", "\n".join(line[indent:] for line in lines))


def until(seconds: float, what: str, find: Callable[[], Any]) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := find():
            return found
        time.sleep(0.3)
    raise SystemExit(f"waited {seconds:.0f} s in vain until {what}")


def say(what: str, seconds: float) -> None:
    print(f"{seconds:7.1f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
