from __future__ import annotations

from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from chunkflow_worker.config.options import Options, click_options, faults_of, field, given_options
from chunkflow_worker.errors import Fault
from chunkflow_worker.image.bbox import Vec3


class Sample(Options):
    path: str = field(flag="-v", help="Where.")
    size: Vec3 | None = field(None, flag="-s", help="How large.")
    whole: bool = field(True, off="--cut", help="Whole or cut.")
    fast: bool = field(False, help="Fast or not.")
    mode: Literal["a", "b"] = field("a", aliases=("--how",), help="Which way.")
    limits: tuple[float, float] | None = field(None, help="From and to.")
    count: int = field(1, ge=1, help="How many.")
    clip: bool = field(False, valued=True, help="Clip or not.")


def run(*args: str) -> tuple[dict[str, Any], str]:
    """The options that the command line passes on, and its output."""
    given: dict[str, Any] = {}

    @click.pass_context
    def callback(ctx: click.Context, /, **params: Any) -> None:
        given.update(given_options(ctx, params))

    result = CliRunner().invoke(
        click.Command("sample", params=click_options(Sample), callback=callback), args
    )
    return given, result.output


def faults(**options: Any) -> list[Fault]:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(options)
    return list(faults_of(caught.value, Sample, "here"))


def test_only_what_was_given_reaches_the_model() -> None:
    assert run("-v", "p") == ({"path": "p"}, "")
    assert run("--path", "p", "--fast") == ({"path": "p", "fast": True}, "")


def test_options_of_all_kinds() -> None:
    line = "-v p -s -1 2 3 --cut --no-fast --how b --limits 0.5 2 --count 3 --clip true"
    given, _ = run(*line.split())
    assert Sample.model_validate(given) == Sample(
        path="p",
        size=Vec3(-1, 2, 3),
        whole=False,
        fast=False,
        mode="b",
        limits=(0.5, 2.0),
        count=3,
        clip=True,
    )


def test_help_shows_names_types_and_sentences() -> None:
    _, output = run("--help")
    for text in (
        "-v, --path TEXT",
        "--size Z Y X",
        "--whole / --cut",
        "--fast / --no-fast",
        "--clip BOOLEAN",
        "--how, --mode [a|b]",
        "How many.",
        "[required]",
    ):
        assert text in output


def test_a_missing_required_option_is_reported() -> None:
    assert "Missing option '-v' / '--path'" in run()[1]


def test_skipped_fields_have_no_option() -> None:
    options = click_options(Sample, frozenset({"size", "whole", "fast"}))
    assert [option.name for option in options] == ["path", "mode", "limits", "count", "clip"]


def test_an_unknown_name_is_reported_with_a_similar_one() -> None:
    (fault,) = faults(path="p", cuont=3)
    assert fault.place == "here.cuont"
    assert fault.cure.startswith("did you mean 'count'? known: path, size")


def test_all_faults_are_reported() -> None:
    wrong = {"size": [1, 2], "mode": "c", "count": 0, "limits": "x"}
    found = {fault.place: str(fault) for fault in faults(**wrong)}
    assert set(found) == {"here.path", "here.size", "here.mode", "here.count", "here.limits"}
    assert "is required" in found["here.path"]
    assert "takes three whole numbers, z y x" in found["here.size"]
    assert "legal: 'a' or 'b'" in found["here.mode"]
    assert "0: must be at least 1" in found["here.count"]


@pytest.mark.parametrize(
    "size", [5, "5 5 5", [1.5, 2, 3], [float("inf"), 1, 1], {"z": 1}, [None, 1, 2]]
)
def test_sizes_are_three_whole_numbers(size: Any) -> None:
    (fault,) = faults(path="p", size=size)
    assert "takes three whole numbers" in fault.problem


def test_options_are_frozen_and_have_a_schema() -> None:
    sample = Sample(path="p")
    with pytest.raises(ValidationError):
        sample.path = "q"  # type: ignore[misc]
    schema = Sample.model_json_schema()
    assert schema["required"] == ["path"]
    assert schema["properties"]["count"]["minimum"] == 1
    dumped = Sample(path="p", size=Vec3(1, 2, 3)).model_dump(mode="json")
    assert Sample.model_validate(dumped).size == Vec3(1, 2, 3)
