"""Every operator shows a command line, and the real command accepts it."""

from __future__ import annotations

import shlex
from inspect import cleandoc
from typing import Any

import pytest
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.config.catalog import folder_names
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import TaskSource, find_operator

HOW = (
    'give its class an `example: ClassVar[str] = "chunkflow ..."` below its group: '
    "help and reference page show it"
)


@pytest.mark.parametrize("name", sorted(folder_names()))
def test_an_operator_has_an_example_that_the_command_accepts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = find_operator(name).example
    assert example, f"{name} has no example: {HOW}"
    accepted: list[str] = []

    def run_nothing(chain: Pipeline | None, source: TaskSource | None, options: Any) -> None:
        accepted.extend(
            operator.op for operator in [source, *(chain.operators if chain else ())] if operator
        )

    monkeypatch.setattr("chunkflow_worker.cli.local.run_here", run_nothing)
    program, *arguments = shlex.split(example.replace("\\\n", " "))
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert program == "chunkflow"
    assert done.exit_code == 0, done.output
    assert name in accepted, "the example uses the operator"
    assert max(map(len, cleandoc(example).splitlines())) <= 106, (
        "help shows lines of up to 110 characters"
    )


def test_help_of_an_operator_ends_with_its_example() -> None:
    text = CliRunner().invoke(cli, ["inference", "--help"]).output
    shown = text[text.index("  Example:\n\n") :].splitlines()[2:]
    assert [line.removeprefix("    ") for line in shown] == cleandoc(
        find_operator("inference").example
    ).splitlines()
