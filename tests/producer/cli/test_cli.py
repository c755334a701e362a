from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from producer.cli import main
from tests.support.aws_keys import without_aws_keys

HEAVY = {
    "torch",
    "numpy",
    "cloudvolume",
    "cloudfiles",
    "celery",
    "kombu",
    "boto3",
    "botocore",
    "rich",
    "pydantic_settings",
    "yaml",
}
COMMANDS = [
    "",
    "enqueue",
    "queue",
    "queue create",
    "queue delete",
    "queue purge",
    "jobs",
    "pause",
    "resume",
    "cancel",
    "wait",
    "drop",
    "status",
    "redrive",
    "verify",
    "failures",
]


def test_help_shows_each_command_in_a_line_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    commands = capsys.readouterr().out.partition("Commands:")[2]
    assert "verify" in commands
    assert "..." not in commands


def test_help_loads_nothing_heavy() -> None:
    """In one process for all commands: a module that one of them loads stays loaded."""
    program = (
        "import json, sys\n"
        "from producer.cli import main\n"
        "status = [main([*command.split(), '--help']) for command in json.loads(sys.argv[1])]\n"
        "print(json.dumps([status, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    line = [sys.executable, "-c", program, json.dumps(COMMANDS)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    status, loaded = json.loads(done.stdout.splitlines()[-1])
    assert status == [0] * len(COMMANDS)
    assert done.stdout.count("Usage: chunkflow-producer") == len(COMMANDS)
    assert "producer" in loaded
    assert set(loaded) & HEAVY == set()


def test_an_unreachable_endpoint_is_reported_in_two_lines(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert main(["status", "--queue", "q"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: queue q: 127.0.0.1:1 cannot be reached",
        "    if it was chunkflow-worker local-aws, start it again, and then source its aws.sh in "
        "each shell: its address changes; or correct AWS_ENDPOINT_URL",
    ]


def test_missing_credentials_are_reported_in_two_lines(
    aws: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    without_aws_keys(monkeypatch, tmp_path)
    assert main(["queue", "create", "q"]) == 2
    problem, cure = capsys.readouterr().err.splitlines()
    assert problem == "error: queue q: no AWS credentials were found"
    assert "AWS_PROFILE" in cure
    assert "chunkflow-worker local-aws > aws.sh" in cure


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("enqueue", "Missing option '--queue'"),
        ("enqueue --queue q.fifo -c 1 1 1", "is a FIFO queue"),
        ("enqueue --queue q", "nothing says which region to cut"),
        ("enqueue --queue q -c 1 1", "requires 3 arguments"),
        ("enqueue --queue q -c 1 1 1 --job a/b", "is not a job name"),
        ("enqueue --queue q --pipeline absent.yaml", "cannot be read"),
        ("enqueue --queue q -c 1 1 1 --skip-done", "--skip-done needs a ledger"),
        ("status --queue q --watch", "--watch needs a ledger"),
        ("status --queue q --job j", "--job needs a ledger"),
        ("redrive --queue q --cause c", "--cause needs a ledger"),
        ("redrive --queue q --box b", "is not a box"),
        ("queue delete q", "add --yes"),
        ("jobs", "jobs needs a ledger"),
        ("pause --job j", "pause needs a ledger"),
        ("drop --queue q", "drop needs --job, --cause, --box or --malformed"),
        ("drop --queue q --box b", "is not a box"),
        ("wait --queue q --timeout -1", "is not in the range"),
        ("queue create q.fifo", "is a FIFO queue"),
        ("nonsense", "No such command"),
    ],
)
def test_mistakes_of_the_user_end_with_2(
    line: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    assert text in capsys.readouterr().err


def test_an_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("producer.plan.job.make_plan", interrupt)
    assert main(["enqueue", "--queue", "q", "-c", "1", "1", "1"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"
    assert "Traceback" not in capsys.readouterr().err
