"""Builds the images, runs the compose file's job to its end, and meanwhile stops and kills its workers: `make e2e-docker`.

Needs Docker with BuildKit and Compose, 1.29 or 2.x, on Linux; nothing of Python but its library. DOCKER and COMPOSE name
other commands than `docker` and `docker compose`. All traffic stays on loopbacks, but for the packages of the build.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.deploy.containers import (
    PROJECT,
    containers,
    docker,
    in_container,
    inspect,
    logs,
    pids,
    say,
    the_stack,
    until,
)
from tests.deploy.images import build

TASKS = 12
STOP_SECONDS = 30  # STOP_GRACE_PERIOD of e2e.env


def main() -> int:
    build()
    with the_stack() as compose:
        began = time.monotonic()
        compose("up", "--detach", "--no-build", "--scale", "worker=1")
        say("local AWS, queue, sample and a worker started", time.monotonic() - began)
        (worker,) = containers("worker")
        check_hardened(worker)
        until(
            120,
            "the worker is healthy",
            lambda: inspect(worker)["State"]["Health"]["Status"] == "healthy",
        )
        began = time.monotonic()
        compose("run", "--rm", "producer", "enqueue")
        stop_one(worker)
        compose("up", "--detach", "--no-build", "--scale", "worker=3")
        kill_two()
        status = until(420, "all tasks are done", lambda: all_done(compose))
        say(
            f"job of {TASKS} tasks, with a worker stopped, one killed and one that crashed",
            time.monotonic() - began,
        )
        assert (status["failed"], status["missing"], status["dead"]) == (0, 0, 0), status
        print(compose("run", "--rm", "producer", "verify").splitlines()[-1])
        processes = [pid for container in containers() for pid in pids(container)]
        began = time.monotonic()
        compose("down")
        say("compose down", time.monotonic() - began)
        check_gone(processes)
    print("all is well")
    return 0


def check_hardened(worker: str) -> None:
    """Not root, nothing writable but /tmp, no capabilities; tini is process 1, and no settings of the build are left."""
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
              *map(writable, ("/", "/opt/venv", "/job", "/tmp")), pathlib.Path("/etc/pip.conf").exists())
        """,
    )
    assert state.split() == ["10001", "tini", "True", "False", "False", "False", "True", "False"], (
        state
    )


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
    assert state["ExitCode"] == 0, (
        f"a worker that was stopped ended with status {state['ExitCode']}"
    )
    assert seconds < STOP_SECONDS
    assert len(messages) == TASKS - logs(worker).count(" INFO done "), (
        f"messages are hidden: {messages}"
    )
    assert messages[box] == [1, 0], (
        f"received {messages[box][0]} times, {messages[box][1]} attempts before: the stop cost one"
    )
    say(
        f"docker stop in the middle of {box}: exit status 0, its message is back, no attempt was spent",
        seconds,
    )


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
    print(
        f"killed with task {workers[dead]} and {workers[crashed]} in hand; the second started again"
    )


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
        from chunkflow_worker.job.message import open_envelope
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
    status = json.loads(
        compose("run", "--rm", "--no-deps", "producer", "status", "--json").splitlines()[-1]
    )
    return status if status["done"] == status["total"] == TASKS else None


def check_gone(processes: list[int]) -> None:
    assert processes
    assert not containers(), "containers are left"
    for kind in ("volume", "network"):
        left = docker(
            kind, "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"
        )
        assert not left, f"a {kind} is left: {left}"
    alive = [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    assert not alive, f"processes {alive} are left"


if __name__ == "__main__":
    sys.exit(main())
