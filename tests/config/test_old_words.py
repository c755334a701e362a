from __future__ import annotations

from typing import ClassVar, Literal

import pytest
from pydantic import ValidationError

from chunkflow_worker.config.facts import Facts
from chunkflow_worker.config.old_words import OldWords, plain
from chunkflow_worker.config.options import Options, faults_of, field

VALUES = {"-s": 3, "--size": 3, "-p": 1, "--path": 1, "--fast": 0, "-f": 0, "--kind": 1, "-k": 1}
WORDS = OldWords.read(
    {
        "--shape, -z": "--size",
        "--quick": "--fast",
        "--zero": "--kind zero",
        "-k grey, --kind grey": "--kind image",
        "-p Z Y X": "--size Z Y X",
        "-s Z": "--size Z Z Z",
    },
    {"-n, --nproc": "leave it out: `--fast` does it"},
)


def translate(line: str) -> str:
    return " ".join(WORDS.translate(line.split(), VALUES).words)


@pytest.mark.parametrize(
    ("line", "today"),
    [
        ("--shape 1 2 3 -f next -z 1", "--size 1 2 3 -f next -z 1"),
        ("-z -1 -2 -3", "--size -1 -2 -3"),
        ("--shape=1 2 3 -f", "--size 1 2 3 -f"),
        ("-z1 2 3", "--size 1 2 3"),
        ("--quick --fast", "--fast --fast"),
        ("--zero --fast", "--kind zero --fast"),
        ("-k grey", "--kind image"),
        ("-kgrey", "--kind image"),
        ("-k GREY", "--kind image"),
        ("--kind=Grey", "--kind image"),
        ("--kind=grey --kind label", "--kind image --kind label"),
        ("-p 1 2 3", "--size 1 2 3"),
        ("-p 1 2", "-p 1 2"),
        ("-p 1 2 3 4", "-p 1 2 3 4"),
        ("-s 5", "--size 5 5 5"),
        ("-s 5 -f", "--size 5 5 5 -f"),
        ("-s 5 6 7", "-s 5 6 7"),
    ],
)
def test_old_words_become_todays(line: str, today: str) -> None:
    assert translate(line) == today


@pytest.mark.parametrize(
    "line",
    [
        "",
        "next --shape 1 2 3",
        "--path --shape next",
        "--path=--shape",
        "-p --nproc",
        "-fs 1 2 3",
        "--none --shape 1 2 3",
        "-s 1 2 3 next",
        "--kind grey-ish",
        "-K grey",
    ],
)
def test_words_of_today_are_kept(line: str) -> None:
    assert translate(line) == line


@pytest.mark.parametrize("line", ["-n 4", "--nproc=4", "-n4", "--fast --nproc", "-z 1 2 3 -n 1"])
def test_a_removed_option_is_found(line: str) -> None:
    removed = WORDS.translate(line.split(), VALUES).removed
    assert removed is not None
    assert plain(removed.cure) == "leave it out: --fast does it"


class Grow(Options, Facts):
    renamed: ClassVar = {
        "--patch-size, -s": "--input-size",
        "--all-zero": "--kind zero",
        "--kind grey": "--kind image",
    }
    removed: ClassVar = {"--nproc": "leave it out: `run` does it"}
    op: Literal["grow"] = "grow"
    input_size: int = field(1, help="Size.")
    kind: Literal["image", "zero"] = field("image", help="Kind.")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("patch_size", 3, "here.patch_size: is written differently today\n    write input_size:"),
        ("all_zero", True, "here.all_zero: is written differently today\n    write kind: zero"),
        ("kind", "grey", "here.kind: is written differently today\n    write kind: image"),
        ("nproc", 3, "here.nproc: is no longer an option\n    leave it out: run does it"),
        ("kind", "blue", "here.kind: 'blue' is not one of its values"),
        ("patch", 3, "here.patch: there is no option 'patch'"),
    ],
)
def test_old_words_in_a_pipeline_file_are_told(option: str, value: object, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Grow.model_validate({option: value})
    (fault,) = faults_of(caught.value, Grow, "here")
    assert str(fault).startswith(told)
