"""`--verbose` shows where the user's own code failed, and a mistake in options has no traceback."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.operators.threshold import Threshold
from producer.look.failures import reproduce_command

PLUGIN = """
def helper(chunk):
    return chunk.array.no_such_thing

def execute(chunk):
    return helper(chunk)
"""
NET = """
import torch

class Net(torch.nn.Module):
    def forward(self, patch):
        return torch.cat([patch, patch[:, :, :2]], 1)

def load_model(weights):
    return Net()
"""
INFERENCE = {
    "op": "inference", "framework": "pytorch", "convnet_model": "net.py",
    "convnet_weight_path": "net.pt", "input_patch_size": [4, 8, 8],
    "output_patch_overlap": [0, 0, 0], "num_output_channels": 1,
}  # fmt: skip


def plugin(file: str) -> dict[str, Any]:
    return {"op": "plugin", "file": file, "input_names": "chunk", "output_names": "chunk"}


FAILING: dict[str, tuple[str, dict[str, Any], list[int], str]] = {
    "mine.py": (PLUGIN, plugin("mine"), [6, 3], "AttributeError: "),
    "import.py": ("import nosuchlibrary", plugin("import"), [1], "NotFoundError"),
    "divide.py": ("def execute(chunk):\n    1 / 0", plugin("divide"), [2],
                  "ZeroDivisionError"),
    "net.py": (NET, INFERENCE, [6], "RuntimeError: Sizes of tensors"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pt").touch()


def failed(line: list[str]) -> str:
    """The error output of a command line, as far as a traceback goes, and the error's own text."""
    done = CliRunner().invoke(cli, line)
    assert done.exit_code != 0, done.output
    return done.stderr


@pytest.mark.parametrize("file", FAILING)
def test_the_line_that_reproduces_a_failure_shows_the_users_code(file: str) -> None:
    code, operator, lines, error = FAILING[file]
    Path(file).write_text(code)
    chain = [{"op": "create-chunk", "size": [4, 8, 8]}, operator]
    Path("p.yaml").write_text(yaml.safe_dump({"operators": chain}))
    command = shlex.split(reproduce_command("0-4_0-8_0-8", Path("p.yaml")))
    text = failed(command[1:])
    shown = [row for row in text.splitlines() if row.startswith("  File ")]
    assert len(shown) == len(lines)
    for row, number in zip(shown, lines, strict=True):
        assert f'{file}", line {number}, in ' in row
    assert error in text
    quiet = [word for word in command[1:] if word != "--verbose"]
    assert "Traceback" not in failed(quiet)


@pytest.mark.parametrize(
    "line",
    ["load-h5 -f absent.h5", "create-chunk connected-components", "load-tif -f net.pt",
     "create-chunk inference -f pytorch -m absent.py -s 4 8 8 -v 0 0 0"],
)  # fmt: skip
def test_a_mistake_in_the_options_has_no_traceback(line: str) -> None:
    assert "Traceback" not in failed(["--verbose", *line.split()])


def test_an_error_that_nobody_expected_has_its_whole_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: object) -> None:
        raise KeyError("a defect of ours")

    monkeypatch.setattr(Threshold, "open", crash)
    text = failed(["--verbose", "create-chunk", "threshold"])
    assert "Traceback" in text
    assert "KeyError: 'a defect of ours'" in text
