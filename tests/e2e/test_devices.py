"""A supervisor starts one worker process for each device.

Workers take seconds of a processor to start: tests/service/test_supervise.py has the same promises
with small processes.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.support.service import Service

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@pytest.fixture(autouse=True)
def two_gpus(service: Service) -> None:
    """The tests do not depend on the GPUs of this machine."""
    program = service.root / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA (UUID: GPU-aaaa)'\necho 'GPU 1: NVIDIA (UUID: GPU-bbbb)'\n"
    )
    program.chmod(0o755)
    service.environment["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def hold(service: Service, tasks: int, visibility: int) -> None:
    """Enqueue tasks that wait for `go`."""
    service.volumes(Vec3(16, 64, 64 * tasks))
    service.chain({"op": "hold", "folder": str(service.root)})
    service.create_queue(visibility=visibility)
    service.enqueue()


def pids(service: Service) -> list[int]:
    """The process of each start of a task, oldest first."""
    file = service.root / "starts"
    return [int(line.split()[1]) for line in file.read_text().splitlines()] if file.exists() else []


def variable(pid: int, name: str) -> str:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)[name]


def is_alive(pid: int) -> bool:
    try:
        # The file is empty when the process has ended and nobody waited for it.
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_each_device_has_a_process_and_all_take_tasks(service: Service) -> None:
    hold(service, tasks=2, visibility=60)
    supervisor = service.start_command(devices="all", worker_name="lab")
    service.wait(lambda: len(pids(service)) == 2, "a task on each device", 60)
    workers = {variable(pid, "CUDA_VISIBLE_DEVICES"): pid for pid in pids(service)}
    assert workers.keys() == {"0", "1"}
    assert {os.getpgid(pid) for pid in pids(service)} == set(pids(service)), (
        "a Ctrl-C in the terminal reaches each once"
    )
    service.go()
    service.wait_done(2)
    assert np.array_equal(service.output(), service.input())
    assert {r.worker for r in service.records()} == {"lab-gpu0", "lab-gpu1"}
    lines = service.logs().splitlines()
    for name in ("lab-gpu0", "lab-gpu1"):
        assert any(f"INFO {name} started" in line for line in lines), "lines name their worker"
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(20) == 0
    assert not any(is_alive(pid) for pid in workers.values())


@pytest.mark.long
def test_killed_process_comes_back_and_all_tasks_get_done(service: Service) -> None:
    hold(service, tasks=3, visibility=5)
    supervisor = service.start_command(devices="0,1")
    service.wait(lambda: len(pids(service)) == 2, "a task on each device", 60)
    victim, other = pids(service)
    device = variable(victim, "CUDA_VISIBLE_DEVICES")
    os.kill(victim, signal.SIGKILL)
    service.wait(lambda: len(pids(service)) == 3, "a task on the process that came back", 60)
    successor = pids(service)[2]
    assert successor not in (victim, other)
    assert variable(successor, "CUDA_VISIBLE_DEVICES") == device
    (line,) = [line for line in service.logs().splitlines() if "restarting it" in line]
    assert f"gpu{device} (pid {victim}) was killed by SIGKILL, restarting it in 1 s" in line
    service.go()
    service.wait_done(3)
    assert np.array_equal(service.output(), service.input())
    service.wait(lambda: service.messages() == (0, 0, 0), "empty queues")
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(20) == 0


@pytest.mark.long
def test_stopped_supervisor_gives_all_tasks_back(service: Service) -> None:
    hold(service, tasks=2, visibility=60)
    supervisor = service.start_command(devices="0,1", grace_seconds=0, lease_seconds=60)
    service.wait(lambda: len(pids(service)) == 2, "a task on each device", 60)
    assert service.messages() == (0, 2, 0)
    supervisor.send_signal(signal.SIGTERM)
    visible_after = service.wait(lambda: service.messages()[0] == 2, "both messages visible again")
    assert visible_after < 5, f"{visible_after:.2f} s"
    assert supervisor.wait(20) == 0
    assert not any(is_alive(pid) for pid in pids(service))
    service.go()
    service.start_worker()
    service.wait_done(2)
    assert [r.attempts for r in service.records()] == [1, 1], "being stopped costs no attempt"


@pytest.mark.long
def test_killed_supervisor_takes_its_workers_along(service: Service) -> None:
    hold(service, tasks=2, visibility=60)
    supervisor = service.start_command(devices="0,1", grace_seconds=0, lease_seconds=60)
    service.wait(lambda: len(pids(service)) == 2, "a task on each device", 60)
    supervisor.kill()
    service.wait(lambda: not any(is_alive(pid) for pid in pids(service)), "the workers gone")
    assert service.messages() == (2, 0, 0)


@pytest.mark.long
def test_wrong_configuration_ends_with_status_2(service: Service) -> None:
    service.volumes(Vec3(16, 64, 64))
    service.chain()
    supervisor = service.start_command(devices="0,1")  # no queue was created
    assert supervisor.wait(60) == 2
    assert f"error: queue: {service.queue}: there is no such queue" in service.logs(), (
        service.logs()
    )
    assert "its configuration is wrong" in service.logs()


@pytest.mark.long
def test_configuration_that_turns_wrong_stops_all_and_loses_nothing(service: Service) -> None:
    hold(service, tasks=2, visibility=60)
    supervisor = service.start_command(devices="0,1", grace_seconds=0, lease_seconds=60)
    service.wait(lambda: len(pids(service)) == 2, "a task on each device", 60)
    victim, other = pids(service)
    service.pipeline.write_text("operators: []")
    os.kill(victim, signal.SIGKILL)
    assert supervisor.wait(60) == 2
    assert not is_alive(other)
    assert service.messages() == (1, 1, 0), (
        "the other gave its task back; the victim's is hidden until its lease expires"
    )
