from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.ledger import Ledger
from producer.cli import main
from producer.page.job_watch import JobWatch, Target
from tests.support.http import ask
from tests.support.paths import ROOT
from tests.support.shown_job import ShownJob


@pytest.fixture
def job(tmp_path: Path) -> ShownJob:
    """A job without a queue."""
    job = ShownJob(tmp_path, Vec3(2, 2, 2))
    record = job.ledger.job(job.job)
    assert record is not None
    job.ledger.write_job(record.model_copy(update={"queue": ""}))
    return job


def test_a_page_is_served_until_it_is_interrupted(job: ShownJob) -> None:
    command = [sys.executable, "-m", "producer", "page", "--port", "0", "--pipeline"]
    with subprocess.Popen(
        [*command, str(job.pipeline)],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name, _, address = process.stdout.readline().strip().partition(": ")
        assert (name, address[:17]) == (f"job {job.job}", "http://127.0.0.1:")
        assert "#" not in address, "there is no token for a page to read"
        sent = ask(address, "/api/job").json
        assert (sent["status"]["total"], sent["actions"]) == (8, False)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_a_port_in_use_is_told_with_a_cure(
    job: ShownJob, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["page", "--ledger", job.ledger.path, "--port", port]) == 2
    error = capsys.readouterr().err
    assert f"127.0.0.1:{port}: cannot be served: Address already in use" in error
    assert "--port 0" in error


def test_an_installation_without_the_extra_is_told_which(
    job: ShownJob, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["page", "--ledger", job.ledger.path]) == 2
    assert 'pip install "chunkflow-worker[page]"' in capsys.readouterr().err


def test_a_page_needs_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page"]) == 2
    assert "page needs a ledger" in capsys.readouterr().err
    assert main(["page", "--ledger", str(tmp_path)]) == 2
    assert "has no job" in capsys.readouterr().err


def test_a_token_of_a_file_is_kept_and_not_printed(
    job: ShownJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(
        "producer.page.serve.serve",
        lambda *_, actions, started, **__: (served.append(actions), started("http://here/")),
    )
    file = tmp_path / "token"
    words = ["page", "--ledger", job.ledger.path, f"--token-file={file}"]
    assert main(words) == 2
    assert "--token-file needs --allow-actions" in capsys.readouterr().err
    for text, problem in ((None, "cannot be read"), ("short\n", "at least 16 characters")):
        if text is not None:
            file.write_text(text)
        assert main([*words, "--allow-actions"]) == 2
        assert problem in capsys.readouterr().err
    file.write_text("a-secret-of-the-tests\n")
    assert main([*words, "--allow-actions"]) == 0
    assert served[0].allows("a-secret-of-the-tests")
    assert not served[0].allows("a-secret-of-the-test")
    assert "a-secret" not in capsys.readouterr().out


def test_boxes_in_neuroglancer_need_a_pipeline(job: ShownJob, capsys: Any) -> None:
    assert main(["page", "--ledger", job.ledger.path, "--neuroglancer"]) == 2
    assert "--neuroglancer needs --pipeline" in capsys.readouterr().err


def test_the_page_of_a_stage_shows_the_workers_of_its_file(
    job: ShownJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = job.ledger.job(job.job)
    assert record is not None
    stage = Ledger(f"{job.ledger.path}/stages/masks")
    stage.write_job(record.model_copy(update={"stage": "masks"}))
    targets = list[Target]()
    monkeypatch.setattr(
        "producer.page.serve.serve", lambda target, *_, **__: targets.append(target)
    )
    assert main(["page", "--ledger", job.ledger.path, "--stage", "masks"]) == 0
    shown = JobWatch(targets[0]).look().facts["workers"]
    assert [worker["worker"] for worker in shown][:2] == ["gpu-1", "gpu-2"]
