from __future__ import annotations

import pytest

from chunkflow_worker.config.variables import with_variables
from chunkflow_worker.errors import Mistake


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUT", "s3://lab")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("ABSENT", raising=False)


def test_variables_are_replaced_in_all_texts() -> None:
    value = {"a": "${env:OUT}/em", "b": ["x", "${env:OUT}/${env:OUT}"], "c": 3, "d": (1, 2)}
    assert with_variables(value) == {
        "a": "s3://lab/em",
        "b": ["x", "s3://lab/s3://lab"],
        "c": 3,
        "d": (1, 2),
    }


@pytest.mark.parametrize("value", ["$OUT ${OUT} $$ a$", {"a": ["$1"]}, ("x",), 7, None])
def test_what_holds_no_variable_is_the_same_object(value: object) -> None:
    assert with_variables(value) is value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${env:ABSENT}/em", "variable ABSENT is not set"),
        ("${env:EMPTY}/em", "variable EMPTY is empty"),
        ("${env:}/em", "not complete"),
        ("${env:OUT/em", "not complete"),
        ("${env:OUT-1}/em", "not complete"),
        ("${env: OUT}/em", "not complete"),
    ],
)
def test_a_variable_without_a_value_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Mistake, match=problem):
        with_variables(text)
