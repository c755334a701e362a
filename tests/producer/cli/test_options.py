from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue
from producer.cli import main
from producer.cli.options import open_ledger, require_ledger


def test_the_ledger_is_the_one_given_or_the_pipeline_s(pipeline: Path, tmp_path: Path) -> None:
    given, default = f"file://{tmp_path}/given", f"file://{tmp_path}/log"
    for path, expected in ((given, given), (None, default)):
        ledger = open_ledger(pipeline, path)
        assert ledger is not None
        assert ledger.path == require_ledger(pipeline, path, "verify").path == expected
    assert open_ledger(None, None) is None
    with pytest.raises(click.UsageError, match="verify needs a ledger: give --ledger or"):
        require_ledger(None, None, needed_by="verify")


def test_a_queue_whose_dead_letters_expire_first_gives_a_warning(
    client: Any, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    longest = {"MessageRetentionPeriod": str(14 * 86_400)}
    client.set_queue_attributes(QueueUrl=queue.url, Attributes=longest)
    assert main(["status", "--queue", queue.name, "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"warning: queue {queue.name}: SQS keeps messages for 14 days")
    assert json.loads(printed.out)["waiting"] == 0


def test_the_pipeline_file_is_not_read_when_a_ledger_is_given(tmp_path: Path) -> None:
    assert open_ledger(tmp_path / "absent.yaml", str(tmp_path)) is not None
    with pytest.raises(ConfigError, match="cannot be read"):
        open_ledger(tmp_path / "absent.yaml", None)


def test_queue_and_ledger_may_come_from_the_environment(
    queue: Queue,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CHUNKFLOW_QUEUE", queue.name)
    monkeypatch.setenv("CHUNKFLOW_LEDGER", ledger.path)
    assert main(["enqueue", "--job", "j", "-c", "2", "2", "2", "-z", "4", "4", "4"]) == 0
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["job"] == "j"
