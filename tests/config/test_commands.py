"""Wrong usage is told in a line or two, with status 2; the same in all programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli as chunkflow
from chunkflow_worker.cli.worker import cli as worker
from chunkflow_worker.config.commands import run_command
from chunkflow_worker.errors import (
    ChunkflowError,
    ConfigError,
    DataMissing,
    StorageRefused,
    StorageUnavailable,
)
from chunkflow_worker.job.sqs import QueueRefused, QueueUnavailable
from producer.cli import cli as producer

PROGRAMS = {"chunkflow": chunkflow, "chunkflow-worker": worker, "chunkflow-producer": producer}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("chunkflow --vebose create-chunk", "chunkflow: No such option '--vebose'. Did you mean"),
        ("chunkflow --mip", "chunkflow: Option '--mip' requires an argument"),
        ("chunkflow --mip x create-chunk", "chunkflow: Invalid value for '--mip' / '-m': 'x'"),
        ("chunkflow create-chunk --sise 4", "create-chunk: No such option '--sise'. Did you mean"),
        ("chunkflow create-chunk -q", "chunkflow create-chunk: No such option '-q'"),
        ("chunkflow create-chunk -s 4 4", "Option '-s' requires 3 arguments"),
        ("chunkflow create-chunk -s 4 4 save-h5 -f x", "takes 3 numbers, and 'save-h5' is none"),
        ("chunkflow create-chunk -d int3", "'int3' is not one of 'uint8'"),
        ("chunkflow create-chunk --pattern=", "'' is not one of 'sin'"),
        (
            "chunkflow debug --verbose",
            "'--verbose': it is an option of chunkflow, before its first",
        ),
        ("chunkflow load-h5", "chunkflow load-h5: Missing option '-f' / '--file-name'"),
        ("chunkflow cutout", "Missing option '-v' / '--volume-path'"),
        ("chunkflow-worker chek", "chunkflow-worker: No such command 'chek'"),
        ("chunkflow-worker check", "chunkflow-worker check: Missing argument 'PIPELINE'"),
        ("chunkflow-worker check a b", "Got unexpected extra argument (b)"),
        ("chunkflow-worker run --que q", "No such option '--que'. Did you mean"),
        ("chunkflow-producer enqeue", "No such command 'enqeue'"),
        ("chunkflow-producer enqueue --skip", "chunkflow-producer enqueue: No such option"),
        ("chunkflow-producer redrive", "chunkflow-producer redrive: Missing"),
        ("chunkflow-producer status", "give --queue, or --pipeline or --ledger"),
        ("chunkflow-producer queue create", "queue create: Missing argument"),
    ],
)
def test_wrong_usage_is_told_in_two_lines(line: str, told: str) -> None:
    name, *words = line.split()
    done = CliRunner().invoke(PROGRAMS[name], words, prog_name=name)
    assert done.exit_code == 2
    first, second = [text for text in done.stderr.splitlines() if not text.startswith("note: ")]
    assert first.startswith(f"error: {name}")
    assert told in first
    assert second.startswith(f"    see {name}")
    assert second.endswith("--help")


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_words_there_is_help(program: str) -> None:
    done = CliRunner().invoke(PROGRAMS[program], [], prog_name=program)
    assert f"Usage: {program}" in done.output
    assert "error: " not in done.output


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("create-chunk -s 4 4 4 4", "-s of create-chunk takes 3 values: see its --help"),
        ("create-chunk --size=4 4 4 9", "takes 3 values"),
        ("load-h5 -f a.h5 b.h5", "-f of load-h5 takes 1 value: see its --help"),
        ("write-h5 -f x.h5 --touch yes", "--touch of save-h5 takes no values: see its --help"),
        ("create-chunk threshold 7", "threshold takes values by options: see its --help"),
    ],
)
def test_too_many_values_are_told_with_the_option(line: str, told: str) -> None:
    done = CliRunner().invoke(chunkflow, line.split())
    text = str(done.exception)
    assert text.startswith("chunkflow: operators: no operator is named")
    assert told in text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("create-chunk -s 4 4 4 treshold", "did you mean 'threshold'?"),
        ("cutot -v file://em", "did you mean 'load-precomputed'?"),
        ("create-chunk write-hdf5", "did you mean 'save-h5'?"),
    ],
)
def test_a_mistyped_operator_is_told_the_nearest(line: str, told: str) -> None:
    assert told in str(CliRunner().invoke(chunkflow, line.split()).exception)


def test_enqueue_takes_the_old_options_of_a_grid() -> None:
    line = "enqueue --queue q --layer-path file:///none -c 1 1 1 --dry-run"
    done = CliRunner().invoke(producer, line.split())
    assert "note: enqueue: --layer-path is written --volume-path today" in done.stderr
    done = CliRunner().invoke(producer, ["enqueue", "--queue", "q", "-o", "0", "0", "0"])
    assert "leave it out: boxes do not overlap" in str(done.exception)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError.one("a", "b", "is wrong"), 2),
        (DataMissing("there is no file a"), 2),
        (StorageRefused("s3://lab: no AWS credentials were found"), 2),
        (QueueRefused("queue q: access denied"), 2),
        (StorageUnavailable("s3://lab: cannot be reached"), 1),
        (QueueUnavailable("queue q: cannot be reached"), 1),
    ],
)
def test_the_status_says_whether_a_person_must_act(
    error: ChunkflowError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def command() -> None:
        raise error

    assert run_command(command, "command", []) == status
    assert capsys.readouterr().err == f"error: {error}\n"


def test_other_errors_pass() -> None:
    @click.command()
    def command() -> None:
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        run_command(command, "command", [])


@pytest.mark.parametrize(
    "line",
    [
        "chunkflow_worker.cli.worker schema",
        pytest.param("chunkflow_worker.cli.worker settings", marks=pytest.mark.long),
        "producer.cli verify --help",
        "chunkflow_worker.cli.chunkflow inference --help",
        pytest.param("chunkflow_worker.cli.chunkflow log-summary -l {log}", marks=pytest.mark.long),
    ],
)
def test_a_command_ends_quietly_when_nobody_reads_on(line: str, tmp_path: Path) -> None:
    record = {"timer": {"a": 1.0}, "bbox": "0-1_0-1_0-1", "state": "done"}
    (tmp_path / "0-1_0-1_0-1.json").write_text(json.dumps(record))
    module, *words = line.format(log=tmp_path).split()
    code = f"import sys, {module} as m; sys.exit(m.main())"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as broken:
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, stdout=broken, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.stderr == ""
    assert done.returncode in (0, 1)
