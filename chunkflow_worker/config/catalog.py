"""The operators that can be used here: their names and facts, read without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from chunkflow_worker.config.facts import Facts

FOLDER = Path(__file__).parents[1] / "operators"


def operator_names() -> list[str]:
    """Names of all operators that can be used here, sorted."""
    return sorted({*folder_names(), *package_operators()})


@cache
def folder_names() -> frozenset[str]:
    """Names of the operators that come with this package: one for each file."""
    return frozenset(
        path.stem.replace("_", "-") for path in FOLDER.glob("*.py") if not path.stem.startswith("_")
    )


@cache
def package_operators() -> dict[str, EntryPoint]:
    """Operators of other packages, by their entry points."""
    return {point.name: point for point in entry_points(group="chunkflow.operators")}


def operator_with(fact: str) -> str:
    """Name of the first operator that states the fact, for messages that say what to use."""
    return next(name for name in main_names() if getattr(facts_of(name), fact))


def main_names() -> list[str]:
    """The same as `operator_names`, without those that are other names of one of them."""
    return [name for name in operator_names() if not facts_of(name).same_as]


@cache
def former_names() -> dict[str, str]:
    """The names of operators in older versions of chunkflow -> their names today."""
    return {old: name for name in operator_names() for old in facts_of(name).formerly}


@cache
def replaced_names() -> dict[str, str]:
    """Operators of older versions that no operator means the same as -> what to do instead."""
    return {
        old: cure
        for name in operator_names()
        for names, cure in facts_of(name).replaces.items()
        for old in names.split(", ")
    }


@cache
def facts_of(name: str) -> type[Facts]:
    """What an operator says about itself: a class with its facts and docstring, without options.

    Those of another package are read from the module that their entry point names. An operator that
    is not found there, or not installed here, says nothing: `Facts` itself is returned.
    """
    path = _source(name)
    if path is None:
        return Facts
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            literals = dict(_literals(node))
            if literals.pop("op", None) == name:
                return type(node.name, (Facts,), {"__doc__": ast.get_docstring(node), **literals})
    return Facts


def _literals(node: ast.ClassDef) -> Iterator[tuple[str, object]]:
    """The facts in the body of a class, and its `op`."""
    for statement in node.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            name = ast.unparse(targets[0])
            if name == "op" or name in Facts.__annotations__:
                with suppress(ValueError):  # not a literal
                    yield name, ast.literal_eval(statement.value)


def _source(name: str) -> Path | None:
    """The file that holds the class of an operator; None when it is not found."""
    if name in folder_names():
        return FOLDER / f"{name.replace('-', '_')}.py"
    point = package_operators().get(name)
    return None if point is None else _module_source(point.module)


def _module_source(module: str) -> Path | None:
    """The file of a module. Does not import the packages around it, as `find_spec` would."""
    package, *parts = module.split(".")
    spec = find_spec(package)
    for part in parts:
        folders = None if spec is None else spec.submodule_search_locations
        spec = PathFinder.find_spec(part, folders) if folders is not None else None
    return Path(spec.origin) if spec is not None and spec.origin else None
