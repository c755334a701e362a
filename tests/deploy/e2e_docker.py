"""Build the images and run the sample job with compose, while workers are stopped and killed.

`make e2e-docker` runs this script. It needs Linux, Docker with BuildKit, Compose 1.29 or 2.x, and
Python with its standard library only. The variables DOCKER and COMPOSE replace the commands
`docker` and `docker compose`. All traffic stays on loopback devices, except the build's packages.
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
        until(120, "the worker is healthy", lambda: health(worker) == "healthy")
        began = time.monotonic()
        compose("run", "--rm", "producer", "enqueue")
        stop_one(worker)
        compose("up", "--detach", "--no-build", "--scale", "worker=3")
        kill_two()
        status = until(420, "all tasks are done", lambda: all_done(compose))
        seconds = time.monotonic() - began
        say(f"job of {TASKS} tasks, with one worker stopped, one killed and one crashed", seconds)
        assert (status["failed"], status["missing"], status["dead"]) == (0, 0, 0), status
        print(compose("run", "--rm", "producer", "verify").splitlines()[-1])
        check_page(compose)
        processes = [pid for container in containers() for pid in pids(container)]
        began = time.monotonic()
        compose("down")
        say("compose down", time.monotonic() - began)
        check_gone(processes)
    print("all checks passed")
    return 0


def check_page(compose: Callable[..., str]) -> None:
    """Check that the page's container, which is hardened too, shows the job."""
    page = compose("run", "--detach", "page").split()[-1]
    check_hardened(page)

    def shown() -> str:
        return in_container(
            page,
            """
            import contextlib, urllib.request
            with contextlib.suppress(OSError):
                with urllib.request.urlopen("http://127.0.0.1:8760/", timeout=5) as answer:
                    print(answer.status, "unsafe" in answer.headers["Content-Security-Policy"])
            """,
        )

    answer = until(60, "the page answers", shown)
    assert answer.split() == ["200", "False"], answer
    docker("stop", page)
    print("the page's container shows the job")


def health(container: str) -> str:
    """Return Docker's word for the health of a container."""
    return str(inspect(container)["State"]["Health"]["Status"])


def check_hardened(worker: str) -> None:
    """Check that the worker is not root, has no capabilities and can write to /tmp only.

    Also: tini is process 1, and the image contains no pip settings of the build.
    """
    container = inspect(worker)
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert container["Config"]["User"] == "10001:10001"
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
        first = pathlib.Path("/proc/1/comm").read_text().strip()
        print(os.getuid(), first, capabilities == {"0" * 16})
        print(*map(writable, ("/", "/opt/venv", "/job", "/tmp")))
        print(pathlib.Path("/etc/pip.conf").exists())
        """,
    )
    process, folders, settings = state.splitlines()
    assert process == "10001 tini True"
    assert folders == "False False False True"
    assert settings == "False"


def stop_one(worker: str) -> None:
    """Stop a worker in the middle of a task.

    The worker must exit with status 0 in time. The task is visible at once and loses no attempt.
    """
    seen = logs(worker).count(" INFO started ")

    def new_box() -> str:
        return current_box(worker) if logs(worker).count(" INFO started ") > seen else ""

    box = until(120, "a task has started", new_box)
    began = time.monotonic()
    docker("stop", "--time", str(STOP_SECONDS), worker)
    seconds = time.monotonic() - began
    messages = receives()
    status = inspect(worker)["State"]["ExitCode"]
    assert status == 0, f"a worker that was stopped exited with status {status}"
    assert seconds < STOP_SECONDS
    done = logs(worker).count(" INFO done ")
    assert len(messages) == TASKS - done, f"messages are hidden: {messages}"
    received, attempts = messages[box]
    assert (received, attempts) == (1, 0), (
        f"received {received} times, {attempts} attempts before: the stop cost an attempt"
    )
    say(f"docker stop during {box}: status 0, its message is back, no attempt lost", seconds)


def kill_two() -> None:
    """Kill a container, which stays dead, and the worker inside another, which is restarted."""
    workers = until(120, "three workers are working on a task", lambda: busy(3))
    dead, crashed = list(workers)[:2]
    docker("kill", dead)
    before = restarts(crashed)
    in_container(
        crashed,
        """
        import os, pathlib, signal
        (worker,) = pathlib.Path("/proc/1/task/1/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        """,
    )
    until(30, "the crashed worker has restarted", lambda: restarts(crashed) > before)
    assert inspect(dead)["State"]["ExitCode"] == 137
    print(f"killed during {workers[dead]} and {workers[crashed]}; the second was restarted")


def restarts(container: str) -> int:
    return int(inspect(container)["RestartCount"])


def busy(count: int) -> dict[str, str] | None:
    """Return the tasks of all running workers, if `count` workers have one; else None."""
    running = [c for c in containers("worker") if inspect(c)["State"]["Running"]]
    tasks = {container: box for container in running if (box := current_box(container))}
    return tasks if len(tasks) == count else None


def current_box(worker: str) -> str:
    """Return the box that a worker is working on, one task at a time; empty if none."""
    box = ""
    for line in logs(worker).splitlines():
        words = line.split(" INFO ", 1)[-1].split()
        if words[:1] in (["started"], ["done"]):
            box = words[1] if words[0] == "started" else ""
    return box


def receives() -> dict[str, list[int]]:
    """Return the boxes of the visible messages.

    Each has two numbers: how often it was received, this time included, and its earlier attempts.
    """
    (aws,) = containers("aws")
    printed = in_container(
        aws,
        """
        import json, boto3
        from chunkflow_worker.job.message import open_envelope
        sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url="http://127.0.0.1:5000",
                           aws_access_key_id="local", aws_secret_access_key="local")
        url = sqs.get_queue_url(QueueName="chunkflow")["QueueUrl"]
        request = {"QueueUrl": url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
        found, held = {}, []
        while messages := sqs.receive_message(**request).get("Messages"):
            for message in messages:
                task, _ = open_envelope(message["Body"], "chunkflow")
                received = int(message["Attributes"]["ApproximateReceiveCount"])
                found[task.bbox] = [received, task.attempts]
                held.append(message["ReceiptHandle"])
        for handle in held:
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
        print(json.dumps(found))
        """,
    )
    return dict(json.loads(printed))


def all_done(compose: Callable[..., str]) -> dict[str, Any] | None:
    """Return the status of the job if all its tasks are done; else None."""
    printed = compose("run", "--rm", "--no-deps", "producer", "status", "--json")
    status = json.loads(printed.splitlines()[-1])
    return status if status["done"] == status["total"] == TASKS else None


def check_gone(processes: list[int]) -> None:
    """Check that no container, volume, network or process of the stack remains."""
    assert processes
    assert not containers(), "containers remain"
    for kind in ("volume", "network"):
        ours = f"label=com.docker.compose.project={PROJECT}"
        remaining = docker(kind, "ls", "--quiet", "--filter", ours)
        assert not remaining, f"a {kind} remains: {remaining}"
    alive = [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    assert not alive, f"processes {alive} remain"


if __name__ == "__main__":
    sys.exit(main())
