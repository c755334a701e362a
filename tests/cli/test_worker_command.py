from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from chunkflow_worker.cli.worker import cli, main
from chunkflow_worker.config.settings import Settings, settings_table
from chunkflow_worker.errors import ConfigError
from tests.support.run_command import Finished, run_command

MAIN = "from chunkflow_worker.cli.worker import main; main()"


def run(*arguments: str) -> Finished:
    return run_command(main, *arguments)


def pipeline(path: Path, *operators: dict) -> str:
    path.write_text(yaml.safe_dump({"operators": list(operators)}))
    return str(path)


def test_check_prints_what_a_chain_will_do(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path / "p.yaml",
        {"op": "load-precomputed", "volume_path": "s3://lab/em"},
        {
            "op": "inference",
            "framework": "identity",
            "input_patch_size": [16, 64, 64],
            "output_patch_overlap": [4, 16, 16],
        },
        {"op": "threshold", "threshold": 0.25},
        {"op": "save-precomputed", "volume_path": "s3://lab/mask"},
    )
    done = run("check", file)
    assert done.status == 0, done.stderr
    assert "4 operators" in done.stdout
    assert "reads [4, 16, 16] voxels before the box and [4, 16, 16] after it" in done.stdout
    assert "ledger s3://lab/mask/log" in done.stdout
    assert "threshold=0.25" in done.stdout


def test_check_tells_all_faults_at_once_with_exit_status_2(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path / "p.yaml", {"op": "create-chunk", "sise": [1, 1, 1]}, {"op": "thresold"}
    )
    done = run("check", file)
    assert done.status == 2
    assert "2 errors" in done.stderr
    assert "did you mean 'size'" in done.stderr
    assert "did you mean 'threshold'" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_can_open_the_volumes(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path / "p.yaml", {"op": "load-precomputed", "volume_path": f"file://{tmp_path}/none"}
    )
    assert run("check", "--ledger", "file:///log", file).status == 0
    done = run("check", "--open", file)
    assert done.status == 2
    assert "no volume here" in done.stderr


def test_schema_is_printed_as_json() -> None:
    schema = json.loads(CliRunner().invoke(cli, ["schema"]).output)
    assert "inference" in schema["$defs"]
    assert schema["properties"]["operators"]["minItems"] == 1


def test_settings_are_printed_as_a_table() -> None:
    output = CliRunner().invoke(cli, ["settings"]).output
    assert output.strip() == settings_table()
    for name in (
        "CHUNKFLOW_LEASE_SECONDS",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "CUDA_VISIBLE_DEVICES",
    ):
        assert f"`{name}`" in output


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUNKFLOW_IN_FLIGHT", "3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.delenv("AWS_REGION", raising=False)
    settings = Settings.load()
    assert (settings.in_flight, settings.region) == (3, "eu-north-1")


def test_the_region_is_that_of_the_profile_when_no_variable_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[default]\nregion = eu-central-1\n[profile lab]\nregion = eu-west-2\n[profile bare]\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert Settings.load().region == "eu-central-1"
    for profile, region in (("lab", "eu-west-2"), ("bare", "us-east-1"), ("absent", "us-east-1")):
        monkeypatch.setenv("AWS_PROFILE", profile)
        assert Settings.load().region == region
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert Settings.load().region == "eu-north-1"


def test_wrong_settings_are_told_by_their_variables() -> None:
    variables = {
        "CHUNKFLOW_PIPELINE": "p.yaml",
        "CHUNKFLOW_IN_FLIGHT": "many",
        "CHUNKFLOW_LEASE_SECONDS": "1",
    }
    command = [sys.executable, "-m", "celery", "-A", "chunkflow_worker", "worker"]
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "settings: 2 errors" in done.stderr
    assert "CHUNKFLOW_IN_FLIGHT: 'many'" in done.stderr
    assert "CHUNKFLOW_LEASE_SECONDS: '1'" in done.stderr
    assert "Traceback" not in done.stderr


def test_misspelt_settings_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    others = (
        "CHUNKFLOW_TEST_DATA",
        "CHUNKFLOW_PLUGIN_DIR",
        "CHUNKFLOW_QUEUE_PORT",
        "CHUNKFLOW_METRICS_SERVICE_HOST",
        "LEASE_SECOND",
    )
    for name in others:
        monkeypatch.setenv(name, "1")
    assert Settings.load().lease_seconds is None
    monkeypatch.setenv("CHUNKFLOW_LEASE_SECOND", "60")
    monkeypatch.setenv("CHUNKFLOW_REGION", "eu-north-1")
    monkeypatch.setenv("CHUNKFLOW_IN_FLIGHT", "0")
    with pytest.raises(ConfigError, match="3 errors") as raised:
        Settings.load()
    assert "CHUNKFLOW_LEASE_SECOND: is not a setting" in str(raised.value)
    assert "did you mean CHUNKFLOW_LEASE_SECONDS?" in str(raised.value)
    assert "did you mean AWS_REGION?" in str(raised.value)


def test_help_tells_each_command_in_a_line_of_80_columns() -> None:
    done = run("--help")
    assert (
        len(
            re.findall(
                r"^  [a-z-]+ +[A-Z].*\w\.?$", done.stdout.partition("Commands:")[2], re.MULTILINE
            )
        )
        == 6
    )
    assert "..." not in done.stdout.partition("Commands:")[2]


def test_run_without_a_pipeline_says_what_is_missing() -> None:
    command = [sys.executable, "-c", MAIN, "run", "--queue", "q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "CHUNKFLOW_PIPELINE: is not set" in done.stderr
    assert "by --pipeline" in done.stderr


def test_local_aws_serves_until_it_is_stopped() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "local-aws"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(6)]
        variables = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        assert variables["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
        with urllib.request.urlopen(
            variables["AWS_ENDPOINT_URL"] + "/moto-api/data.json", timeout=10
        ) as answer:
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stdout.close()
