from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.service.health import Health, HealthFile, health_folder, probe

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


def write_state(folder: Path, pid: int, mode: int = 0o600, **change: Any) -> Path:
    """A file as a worker of that process writes it."""
    path = folder / f"chunkflow-worker-{pid}.health"
    path.write_text(json.dumps(asdict(WELL) | {"pid": pid, "written": 0} | change))
    path.chmod(mode)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is set for health files."""
    monkeypatch.setenv("CHUNKFLOW_HEALTH_FOLDER", str(tmp_path))
    return tmp_path


def test_the_worst_worker_counts_and_dead_ones_do_not(folder: Path) -> None:
    assert not probe(False)[0]
    file = HealthFile(str(folder))
    file.write(WELL)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    write_state(folder, dead.pid)
    assert probe(True) == (True, "1 ready")
    write_state(folder, os.getppid(), name="stale")
    good, line = probe(False)
    assert not good
    assert line.startswith("stale: its state is")
    file.remove()
    file.remove()


def test_nothing_is_written_through_links_and_only_the_user_may_read(folder: Path) -> None:
    victim = folder / "victim"
    victim.write_text("precious")
    for suffix in (".part", ".health"):
        (folder / f"chunkflow-worker-{os.getpid()}{suffix}").symlink_to(victim)
    HealthFile(None).write(WELL)
    assert victim.read_text() == "precious"
    written = folder / f"chunkflow-worker-{os.getpid()}.health"
    assert not written.is_symlink()
    assert written.stat().st_mode & 0o777 == 0o600
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".health", ".part"]
    assert probe(False) == (True, "1 alive")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, which is used when no folder is set."""
    monkeypatch.delenv("CHUNKFLOW_HEALTH_FOLDER", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_without_a_setting_the_folder_is_the_user_s_own(temporary: Path) -> None:
    assert "no worker has written its state" in probe(False)[1]
    HealthFile(None).write(WELL)
    (own,) = temporary.iterdir()
    assert own.stat().st_mode & 0o777 == 0o700
    assert probe(False) == (True, "1 alive")
    own.chmod(0o777)
    HealthFile(None).write(WELL)
    assert own.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("made", ["link", "file", "other"])
def test_a_folder_of_that_name_that_is_not_the_user_s_is_not_used(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    own = health_folder()
    if made == "link":
        own.symlink_to(elsewhere)
    elif made == "file":
        own.write_text("")
    else:
        own.mkdir()
        monkeypatch.setattr("os.geteuid", lambda: 12345)
        own.rename(health_folder())
    with pytest.raises(OSError, match="is not a folder of this user"):
        HealthFile(None).write(WELL)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "lay",
    [
        lambda folder: write_state(folder, 1, name="forged", mode=0o644),
        lambda folder: write_state(folder, 1).rename(folder / "chunkflow-worker-2.health"),
        lambda folder: write_state(folder, 1, written="never"),
        lambda folder: write_state(folder, 1, more=1),
        lambda folder: write_state(folder, 1).write_text("[" * 100_000),
        lambda folder: write_state(folder, 1).write_text(" " * 10**6 + "{}"),
        lambda folder: os.mkfifo(folder / "chunkflow-worker-1.health", 0o600),
        lambda folder: (folder / "chunkflow-worker-1.health").mkdir(),
        lambda folder: (folder / "chunkflow-worker-1.health").symlink_to("/dev/zero"),
        lambda folder: (folder / "chunkflow-worker-\x1b[2J.health").write_text("{}"),
    ],
    ids=[
        "for all to read", "of another process", "of other types", "of more fields", "nested",
        "long", "pipe", "folder", "link", "odd name",
    ],
)  # fmt: skip
def test_what_no_worker_wrote_does_not_count(folder: Path, lay: Callable[[Path], object]) -> None:
    HealthFile(None).write(WELL)
    lay(folder)
    assert probe(True) == (True, "1 ready")


def test_the_files_of_other_users_do_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    HealthFile(None).write(WELL)
    owner = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    assert "no worker has written its state" in probe(False)[1]
