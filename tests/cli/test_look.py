"""`chunkflow look` from the shell's side: its help, its mistakes, and what it prints."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen

import pytest
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import COMMANDS, cli
from chunkflow_worker.cli.look import _KINDS, look
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.volumes.scene.layers import KINDS
from tests.support.sample import BOUNDS, make, noise

_MAIN = "from chunkflow_worker.cli.chunkflow import main; main()"


def test_the_help_of_chunkflow_lists_it() -> None:
    assert "look  Show stored volumes" in CliRunner().invoke(cli, ["--help"]).output
    assert COMMANDS["look"] is look
    assert _KINDS == KINDS


@pytest.mark.parametrize("option", [["--name", "a"], ["--kind", "image"]])
def test_more_names_than_paths_are_refused(option: list[str]) -> None:
    with pytest.raises(ConfigError, match="is given 2 times for 1 paths"):
        CliRunner().invoke(look, ["em", *option * 2], catch_exceptions=False)


def test_the_link_shows_a_volume_until_ctrl_c(tmp_path: Path) -> None:
    make(f"file://{tmp_path}/em").write(BOUNDS, noise(BOUNDS))
    words = ["look", "--link", "--page", "https://ng.example", f"{tmp_path}/em"]
    command = [sys.executable, "-c", _MAIN, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            page, _, state = process.stdout.readline().strip().partition("/#!")
            assert page == "https://ng.example"
            source = json.loads(unquote(state))["layers"][0]["source"]
            with urlopen(f"{source.partition('|')[0]}/info", timeout=30) as answer:
                assert json.loads(answer.read())["scales"]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
