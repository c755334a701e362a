"""The house as the code describes it: floors from the import contracts, words from docstrings."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_DOCUMENTED = (ast.ClassDef, ast.FunctionDef)


@dataclass(frozen=True)
class Module:
    """A Python file. name: its path below its room. says: the first sentence of its docstring."""

    name: str
    says: str
    lines: int


@dataclass(frozen=True)
class Room:
    """A name in an import contract: a folder of a package, or a file beside the folders."""

    house: str
    name: str

    @property
    def path(self) -> Path:
        """The folder or the file, below the repository."""
        folder = Path(self.house, self.name)
        return folder if (ROOT / folder).is_dir() else folder.with_suffix(".py")

    @property
    def is_folder(self) -> bool:
        return not self.path.suffix

    @property
    def code(self) -> Path:
        """The file whose docstring says what the room is for, below the repository."""
        return self.path / "__init__.py" if self.is_folder else self.path

    @property
    def title(self) -> str:
        """`job` for a folder, `errors.py` for a file."""
        return self.path.name

    @property
    def page(self) -> str:
        """Its page on the site, below docs/."""
        return f"rooms/{self.house}/{self.name}.md"

    @cached_property
    def question(self) -> str:
        """What the room answers, in one sentence."""
        return first_sentence(docstring(ROOT / self.code))

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """Its files in the order of its `__init__.py`, and then those of the folders in it."""
        if not self.is_folder:
            return (_module(ROOT / self.path, ROOT / self.house),)
        folder = ROOT / self.path
        return tuple(_module(path, folder) for path in _files(folder))

    @property
    def tests(self) -> Path | None:
        """The folder of its tests, below the repository; None when it has none of its own."""
        parent = Path("tests") if self.house == "chunkflow_worker" else Path("tests", self.house)
        folder = parent / self.name
        return folder if (ROOT / folder).is_dir() else None


@dataclass(frozen=True)
class House:
    """A package.

    floors: its rooms, from top to bottom; a room may import those on the floors below its own.
    forbidden: modules of other packages that none of its rooms may import.
    """

    name: str
    floors: tuple[tuple[Room, ...], ...]
    forbidden: frozenset[str]

    @property
    def rooms(self) -> tuple[Room, ...]:
        return tuple(room for floor in self.floors for room in floor)

    def may_import(self, room: Room, other: Room) -> bool:
        """Whether `room`, of this house, may import `other`, of any house."""
        if other.house != self.name:
            return self.forbidden.isdisjoint({other.house, f"{other.house}.{other.name}"})
        return self._level(other) > self._level(room)

    def _level(self, room: Room) -> int:
        return next(i for i, rooms in enumerate(self.floors) if room in rooms)


@cache
def houses() -> tuple[House, ...]:
    """The packages that have a contract of layers in pyproject.toml, in the order of the file."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts: list[dict[str, Any]] = tool["importlinter"]["contracts"]
    return tuple(
        House(name, _floors(name, contract["layers"]), _forbidden(name, contracts))
        for contract in contracts
        if contract["type"] == "layers"
        for name in contract["containers"]
    )


def importable(room: Room) -> list[Room]:
    """The rooms of all houses that `room` may import."""
    house = next(house for house in houses() if house.name == room.house)
    return [
        other
        for any_house in houses()
        for other in any_house.rooms
        if house.may_import(room, other)
    ]


def importers(room: Room) -> list[Room]:
    """The rooms of all houses that may import `room`."""
    return [other for house in houses() for other in house.rooms if house.may_import(other, room)]


def docstring(path: Path) -> str:
    """The docstring of a Python file, which is not imported; empty when it has none."""
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, as Markdown."""
    paragraph = " ".join(text.split("\n\n")[0].split()).replace("``", "`")
    found = re.match(r".+?[.?!](?=\s|$)", paragraph)
    return found[0] if found else paragraph


def _files(folder: Path) -> list[Path]:
    """The files of a folder in the order that its docstring has, and then those below it."""
    listed = docstring(folder / "__init__.py").splitlines()
    names = [line.split()[0] for line in listed if line.strip()]
    order = {name: i for i, name in enumerate(names)}
    files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    files.sort(key=lambda path: order.get(path.name, len(order)))
    folders = sorted(path.parent for path in folder.glob("*/__init__.py"))
    return files + [path for below in folders for path in _files(below)]


def _module(path: Path, folder: Path) -> Module:
    lines = path.read_text().count("\n")
    return Module(path.relative_to(folder).as_posix(), first_sentence(_description(path)), lines)


def _description(path: Path) -> str:
    """A file's docstring, or that of its first class or function where it is only a name."""
    text = docstring(path)
    if not re.fullmatch(r"\S+|``[^`]+``", text):
        return text
    parts = [part for part in ast.parse(path.read_text()).body if isinstance(part, _DOCUMENTED)]
    inside = [ast.get_docstring(part) for part in parts if not part.name.startswith("_")]
    return next(filter(None, inside), text)


def _floors(house: str, layers: list[str]) -> tuple[tuple[Room, ...], ...]:
    return tuple(
        tuple(Room(house, name) for name in re.split(r"\s*[|:]\s*", layer)) for layer in layers
    )


def _forbidden(house: str, contracts: list[dict[str, Any]]) -> frozenset[str]:
    return frozenset(
        module
        for contract in contracts
        if contract["type"] == "forbidden" and contract["source_modules"] == [house]
        for module in contract["forbidden_modules"]
    )
