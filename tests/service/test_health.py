from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.service.health import Health, HealthFile, probe

WELL = Health(
    name="w",
    phase="running",
    turn_age=1,
    turn_limit=60,
    lost_seconds=0,
    lease_seconds=60,
    queue_answers=True,
)


@pytest.mark.parametrize(
    ("change", "alive", "ready"),
    [
        ({}, "", ""),
        ({"phase": "opening", "turn_age": 900}, "", "being opened"),
        ({"phase": "stopping"}, "", "stopping"),
        ({"turn_age": 61}, "made no progress", "made no progress"),
        ({"queue_answers": False}, "", "queue does not answer"),
        ({"lost_seconds": 61}, "lease was lost", "lease was lost"),
        ({"lost_seconds": 61, "queue_answers": False}, "", "queue does not answer"),
    ],
)
def test_what_a_probe_makes_of_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], alive: str, ready: str
) -> None:
    monkeypatch.setenv("CHUNKFLOW_HEALTH_FOLDER", str(tmp_path))
    HealthFile(None).write(replace(WELL, **change))
    for wants_ready, fault in ((False, alive), (True, ready)):
        good, line = probe(wants_ready)
        assert good is not bool(fault)
        assert fault in line


def test_the_worst_worker_counts_and_dead_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHUNKFLOW_HEALTH_FOLDER", str(tmp_path))
    assert not probe(False)[0]
    file = HealthFile(str(tmp_path))
    file.write(WELL)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"chunkflow-worker-{dead.pid}.health").write_text(
        json.dumps({"pid": dead.pid, "written": 0})
    )
    assert probe(True) == (True, "1 ready")
    stale = {"pid": os.getppid(), "written": 0, "name": "stale"}
    (tmp_path / f"chunkflow-worker-{os.getppid()}.health").write_text(json.dumps(stale))
    good, line = probe(False)
    assert not good
    assert line.startswith("stale: its state is")
    file.remove()
    file.remove()
