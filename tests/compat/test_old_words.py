"""Words of older versions: each does what the table in docs/tutorials/moving.md says."""

from __future__ import annotations

import shlex
from itertools import chain, takewhile
from typing import Any

import click
import pytest

from chunkflow_worker.cli import chunkflow
from chunkflow_worker.cli.old_lines import OldWordRow, old_operators, old_options
from chunkflow_worker.config.catalog import operator_names
from chunkflow_worker.config.old_words import plain
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.operator import Operator, find_operator

NUMBERS = {"Z": "3", "Y": "4", "X": "5", "N": "2"}


def words_of(rows: list[OldWordRow], is_taken: bool) -> list[Any]:
    return [
        pytest.param(row, old, id=f"{row.place} {old}".strip())
        for row in rows
        for old in row.old
        if row.is_taken == is_taken
    ]


def fill(text: str) -> list[str]:
    """The words of an entry, with numbers."""
    return [NUMBERS.get(word, word) for word in text.split()]


def parse(*words: str) -> list[Operator] | str:
    """The operators of a command line, or what is wrong with it."""
    line = chunkflow.Chain("chunkflow", chain=True, params=chunkflow.cli.params)
    try:
        operators: list[Operator] = line.main([*words], "chunkflow", standalone_mode=False)
    except ConfigError as error:
        return str(error)
    return operators


def example_of(operator: str) -> list[str]:
    """A command line that holds only this operator, with all options that it needs."""
    example = shlex.split(find_operator(operator).example.replace("\\\n", " "))
    rest = example[example.index(operator) + 1 :]
    return [operator, *takewhile(lambda word: word not in operator_names(), rest)]


def option_of(operator: str, flag: str) -> click.Option:
    command = chunkflow.cli.get_command(click.Context(chunkflow.cli), operator)
    assert command is not None
    return next(
        option
        for option in command.params
        if isinstance(option, click.Option) and flag in (*option.opts, *option.secondary_opts)
    )


def values_of(option: click.Option) -> list[str]:
    if option.is_flag:
        return []
    if isinstance(option.type, click.Choice):
        return [str(option.type.choices[-1])]
    return ["2" if option.type in (click.INT, click.FLOAT) else "file://name"] * option.nargs


def main_of(capsys: pytest.CaptureFixture[str], monkeypatch: Any, *words: str) -> tuple[Any, str]:
    """Exit status and stderr of the command."""
    monkeypatch.setattr("sys.argv", ["chunkflow", *words])
    with pytest.raises(SystemExit) as ended:
        chunkflow.main()
    return ended.value.code, capsys.readouterr().err


def test_the_table_holds_the_words_of_all_versions() -> None:
    names = {old for row in old_operators() for old in row.old}
    assert {"cutout", "save", "write-tif", "delete-chunk", "cloud-watch", "upload-log"} <= names
    assert {"custom-operator", "read-file", "load-n5", "agglomerate", "fetch-task"} <= names
    assert not names & {*operator_names()}
    options = {(row.place, old) for row in old_options() for old in row.old}
    assert {
        ("save-precomputed", "--nproc"),
        ("mask", "--check-all-zero"),
        ("mask", "--skip-to"),
        ("mask", "--maskout"),
        ("mesh", "--dust-threshold"),
        ("mesh", "--ids"),
        ("generate-tasks", "--stride"),
        ("generate-tasks", "-l"),
        ("load-tif", "--offset"),
        ("inference", "--patch-size"),
        ("inference", "-f general"),
        ("neuroglancer", "-c"),
        ("create-chunk", "--all-zero"),
        ("", "--verbose N"),
        ("", "--log-level debug"),
    } <= options
    assert len(names) > 30
    assert len(options) > 90


@pytest.mark.parametrize(("row", "old"), words_of([*old_operators()], is_taken=True))
def test_a_renamed_operator_runs_with_a_note(
    row: OldWordRow, old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    example = example_of(row.today)
    operators = parse(old, *example[1:])
    assert operators == parse(*example)
    assert isinstance(operators, list)
    assert capsys.readouterr().err == f"note: {old} is called {row.today} today\n"


@pytest.mark.parametrize(("row", "old"), words_of([*old_operators()], is_taken=False))
def test_a_replaced_operator_is_told_the_cure(
    row: OldWordRow, old: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, told = main_of(capsys, monkeypatch, "create-chunk", old, "--some", "x")
    assert status == 2
    assert told.splitlines() == [
        f"error: chunkflow: operators: no operator is named {old!r}",
        f"    {plain(row.today)}",
    ]


@pytest.mark.parametrize(
    ("row", "old"), words_of([row for row in old_options() if row.place], is_taken=True)
)
def test_a_renamed_option_means_the_same_with_a_note(
    row: OldWordRow, old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    option = option_of(row.place, row.today.split()[0])
    needs_values = len(row.today.split()) == 1
    values = values_of(option) if needs_values else []
    example = example_of(row.place)
    expected = parse(*example, *fill(row.today), *values)
    assert parse(*example, *fill(old), *values) == expected
    note = f"note: {row.place}: {old} is written {row.today} today\n"
    assert capsys.readouterr().err == note
    if values and old.startswith("--"):
        assert parse(*example, f"{old}={values[0]}", *values[1:]) == expected


@pytest.mark.parametrize(
    ("row", "old"), words_of([row for row in old_options() if not row.place], is_taken=True)
)
def test_a_renamed_option_of_all_operators_means_the_same_with_a_note(
    row: OldWordRow, old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    contexts = [
        chunkflow.cli.make_context("chunkflow", [*fill(words), "create-chunk"])
        for words in (old, row.today)
    ]
    assert contexts[0].params == contexts[1].params
    assert capsys.readouterr().err == f"note: chunkflow: {old} is written {row.today} today\n"


@pytest.mark.parametrize(("row", "old"), words_of([*old_options()], is_taken=False))
def test_a_removed_option_is_told_the_cure(
    row: OldWordRow, old: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [*(example_of(row.place) if row.place else []), old, "save", "x"]
    status, told = main_of(capsys, monkeypatch, *line)
    assert status == 2
    assert told.splitlines() == [
        f"error: chunkflow {row.place}".rstrip() + f": {old}: is no longer an option",
        f"    {plain(row.today)}",
    ]


@pytest.mark.parametrize("row", [*old_options()], ids=lambda row: f"{row.place} {row.old[0]}")
def test_an_old_option_is_no_option_of_today(row: OldWordRow) -> None:
    """Otherwise it would change what a command line of today means."""
    params = (
        chunkflow.cli.params
        if not row.place
        else chunkflow.cli.get_command(click.Context(chunkflow.cli), row.place).params  # type: ignore[union-attr]
    )
    flags = set(chain.from_iterable((*param.opts, *param.secondary_opts) for param in params))
    alone = {old for old in row.old if len(old.split()) == 1}
    assert not alone & flags
    if row.is_taken:
        assert row.today.split()[0] in flags


def test_a_note_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    parse("create-chunk", "delete-chunk", "-c", "a", "delete-chunk", "-c", "b")
    assert capsys.readouterr().err.splitlines() == [
        "note: delete-chunk is called delete-var today",
        "note: delete-var: -c is written --var-names today",
    ]
