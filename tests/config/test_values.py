"""Values of options as YAML reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chunkflow_worker.config.options import Options, faults_of, field
from chunkflow_worker.config.yaml_file import read_yaml
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3


class Sample(Options):
    text: str | None = field(None, help="A text.")
    ids: str | None = field(None, many=True, help="Ids.")
    count: int | None = field(None, ge=0, help="How many.")
    ratio: float | None = field(None, lt=2, help="A ratio.")
    size: Vec3 | None = field(None, help="A size.")
    voxel: tuple[float, float, float] | None = field(None, help="A voxel.")
    whole: bool | None = field(None, help="All of it.")


def read(folder: Path, line: str) -> Any:
    (folder / "p.yaml").write_text(line)
    return read_yaml(folder / "p.yaml")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("text: 42", "42"),
        ("text: 1_000", "1000"),
        ("text: 08", "08"),
        ("ids: 7", "7"),
        ("ids: [1, 2]", "1,2"),
        ("ids: [18446744073709551615, 3]", "18446744073709551615,3"),
        ("ids: [chunk, mask]", "chunk,mask"),
        ("count: '8'", 8),
        ("count: 1e3", 1000),
        ("count: 1.0e+3", 1000),
        ("count: 18446744073709551615", 18446744073709551615),
        ("ratio: 1e-3", 0.001),
        ("ratio: '1.5'", 1.5),
        ("size: [1e2, '8', 16]", Vec3(100, 8, 16)),
        ("voxel: ['40', 4, 4.5]", (40.0, 4.0, 4.5)),
        ("whole: yes", True),
        ("whole: off", False),
        ("text: null", None),
    ],
)
def test_a_value_with_one_meaning_is_taken(tmp_path: Path, line: str, value: Any) -> None:
    (name, _) = line.split(":", 1)
    found = getattr(Sample.model_validate(read(tmp_path, line)), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("text: 1.50", "takes text, and YAML reads 1.5 as a number: put it in quotes"),
        ("text: on", "takes text, and True is not: YAML reads yes, no, on and off"),
        ("text: no", "takes text, and False is not: YAML reads yes, no, on and off"),
        ("text: 2024-01-01", "takes text, and YAML reads 2024-01-01 as a date: put it in quotes"),
        ("text: [a, b]", "takes text, and this is a list: write one text"),
        ("text: {a}", "YAML reads this as a mapping: a text that holds a colon or braces has"),
        ("ids: [1, [2]]", "write one text, for example 1,2"),
        ("ids: [yes, 1]", "write one text, for example 1,2"),
        ("count: yes", "True is not a number: YAML reads yes, no, on and off as true or false"),
        ("count: many", "takes a whole number: How many."),
        ("count: 1.5", "takes a whole number: How many."),
        ("count: -1", "must be at least 0: How many."),
        ("ratio: high", "takes a number: A ratio."),
        ("ratio: 2", "must be below 2.0: A ratio."),
        ("ratio: true", "True is not a number"),
        ("size: [1, 2]", "takes three whole numbers, z y x"),
        ("size: 8 16 16", "z y x: in brackets, for example [64, 512, 512]"),
        ("size: 8", "z y x: in brackets, for example [64, 512, 512]"),
        ("size: [yes, 2, 3]", "True is not a number"),
        ("voxel: [1, 2]", "takes 3 values"),
        ("voxel: [1, 2, 3, 4]", "takes 3 values"),
        ("voxel: 4", "takes a list of numbers in brackets"),
        ("whole: maybe", "takes true or false"),
    ],
)
def test_other_values_are_refused_in_plain_words(tmp_path: Path, line: str, fault: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate(read(tmp_path, line))
    (found,) = faults_of(refused.value, Sample, "here")
    assert found.place == f"here.{line.partition(':')[0]}"
    assert fault in f"{found.problem}: {found.cure}"


def test_the_faults_of_all_options_are_reported_together() -> None:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate({"text": 1.5, "count": -1, "size": 3, "cuont": 1})
    found = [fault.place for fault in faults_of(refused.value, Sample, "here")]
    assert sorted(found) == ["here.count", "here.cuont", "here.size", "here.text"]


@pytest.mark.parametrize(
    ("text", "meant"), [("007", "7"), ("010", "8"), ("-07", "-7"), ("1:30", "90")]
)
@pytest.mark.parametrize("line", ["text: {}", "size: [{}, 8, 8]", "a:\n  - b: {}"])
def test_a_number_to_another_base_is_refused(
    tmp_path: Path, line: str, text: str, meant: str
) -> None:
    with pytest.raises(ConfigError, match=f"YAML reads {text} as {meant}") as refused:
        read(tmp_path, line.format(text))
    (fault,) = refused.value.faults
    assert "put it in quotes" in fault.cure


@pytest.mark.parametrize("line", ["text: '007'", "text: 0", "text: 0x1F", "ratio: 0.5", "text: 08"])
def test_other_numbers_are_taken(tmp_path: Path, line: str) -> None:
    Sample.model_validate(read(tmp_path, line))
