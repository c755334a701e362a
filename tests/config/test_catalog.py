"""The catalog reads source files; what it reads must be what the classes say."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from chunkflow_worker.cli.chunkflow import GROUPS
from chunkflow_worker.config import catalog
from chunkflow_worker.config.catalog import (
    facts_of,
    folder_names,
    operator_names,
    operator_with,
)
from chunkflow_worker.config.facts import Facts
from chunkflow_worker.pipeline.operator import Operator, find_operator

ELSEWHERE = """
import a_library_that_is_not_installed
from chunkflow_worker.api import Operator

LIMIT = 3

class Base(Operator):
    \"\"\"Another class.\"\"\"

class Brighten(Base):
    \"\"\"Brighten a volume.\"\"\"

    group = "Image"
    example: ClassVar[str] = f"made of {LIMIT}"
    saves: ClassVar[dict[str, str]] = {"path": "level"}
    op: Literal["brighten"] = "brighten"
    path: str
    level: int = 0
"""


def stated(facts: type[Facts]) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in Facts.__annotations__}


@pytest.mark.parametrize("name", sorted(folder_names()))
def test_what_is_read_is_what_the_class_says(name: str) -> None:
    kind = find_operator(name)
    assert stated(facts_of(name)) == stated(kind)
    assert facts_of(name).summary() == kind.summary()
    assert kind.group in GROUPS


@pytest.mark.parametrize("name", sorted(folder_names()))
def test_a_summary_is_one_whole_sentence(name: str) -> None:
    """Help shows the first line of a docstring."""
    assert facts_of(name).summary().endswith(".")


def test_names_are_sorted_and_hold_the_folder() -> None:
    assert operator_names() == sorted(operator_names())
    assert folder_names() <= set(operator_names())


def test_a_name_that_is_not_installed_says_nothing() -> None:
    assert facts_of("no-such-operator") is Facts
    assert facts_of("--init--") is Facts


def test_messages_can_name_an_operator_by_what_it_does() -> None:
    assert operator_with("is_grid") == "generate-tasks"
    assert operator_with("creates") == "create-volume", "and not one of its older names"


@pytest.mark.parametrize("module", ["lab_operators", "lab_package.operators"])
def test_facts_of_another_package_are_read_without_importing_it(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer need not have the libraries of the operators, nor load them."""
    file = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(exist_ok=True)
    (file.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    file.write_text(ELSEWHERE)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("brighten", f"{module}:Brighten", "chunkflow.operators")
    monkeypatch.setattr(catalog, "package_operators", lambda: {"brighten": point})
    facts = facts_of.__wrapped__("brighten")
    assert (facts.group, facts.saves, facts.loads) == ("Image", {"path": "level"}, {})
    assert facts.example == "", "not a literal"
    assert facts.summary() == "Brighten a volume."
    assert module not in sys.modules


def test_an_operator_that_its_module_does_not_hold_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("json", "no_such_module", "json.nothing"):
        point = EntryPoint("brighten", f"{module}:Brighten", "chunkflow.operators")
        monkeypatch.setattr(catalog, "package_operators", lambda point=point: {"brighten": point})
        assert facts_of.__wrapped__("brighten") is Facts


@pytest.mark.parametrize("fact", [{"saves": {"paht": "mip"}}, {"saves": {"path": "mpi"}}])
def test_a_fact_that_names_no_option_is_a_mistake_of_the_author(fact: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"has no option '(paht|mpi)', which"):

        class Wrong(Operator):
            saves: ClassVar[dict[str, str]] = fact["saves"]
            op: Literal["wrong"] = "wrong"
            path: str
            mip: int = 0
