"""What operators there are: names, groups and summaries, read from their files without importing them, so that help is quick."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "operators"
# How an operator's class begins: its docstring, its group and its name, in this order.
_CLASS = (
    r'^class \w+\(.*\):\n    """(?P<summary>.+?)(?:"""|\n)'
    r'(?:.*\n)*?    group: ClassVar\[str\] = "(?P<group>.+)"\n'
    r'(?:.*\n)*?    op: Literal\["{name}"\]'
)


@dataclass(frozen=True)
class Entry:
    """What `chunkflow --help` says of an operator."""

    name: str
    group: str
    summary: str


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


def read_entry(name: str) -> Entry:
    """Group and summary of an operator that comes with this package. Raises LookupError when its file declares no such class."""
    path = FOLDER / f"{name.replace('-', '_')}.py"
    found = re.search(_CLASS.format(name=name), path.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{path.name} declares no operator {name!r} with a group")
    return Entry(name, found["group"], found["summary"].strip())
