"""`Reads`: which model files a framework reads, found without loading them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STAR = "*"
"""Stands for the names that a Python file imports by ``from module import *``."""


@dataclass(frozen=True)
class Reads:
    """What the model files of a framework are.

    defines: names, one of which a Python file defines.
    starts: first bytes of other files.
    endings: of their names.
    folder: whether it is a folder.
    first: whether this framework is meant if a Python file suits several.
    """

    defines: tuple[str, ...] = ()
    starts: tuple[bytes, ...] = ()
    endings: tuple[str, ...] = ()
    folder: bool = False
    first: bool = False

    def suits(self, path: Path, defined: set[str]) -> bool:
        """Whether an existing file or folder is one of these.

        defined: what `names_in` found in it.
        """
        if path.is_dir():
            return self.folder
        if defined & set(self.defines) or path.name.lower().endswith(self.endings or ("\0",)):
            return True
        with path.open("rb") as file:
            return bool(self.starts) and file.read(8).startswith(self.starts)


def names_in(path: Path) -> set[str]:
    """The names that a Python file defines at its top level, without running it.

    Empty for other files, and for one that is no valid Python.
    """
    if not path.is_file():
        return set()
    try:
        return set(_names(ast.parse(path.read_bytes()).body))
    except (SyntaxError, ValueError):
        return set()


def net_class(path: Path) -> str:
    """The last class of a net in a Python file, which is mostly the whole net; empty if none is."""
    try:
        statements = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, OSError):
        return ""
    found: list[str] = []
    for node in statements:
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            if any(base.endswith("Module") or base in found for base in bases):
                found.append(node.name)
    return found[-1] if found else ""


def syntax_fault(path: Path) -> str:
    """What is wrong with a text that should be Python, with its line; empty if nothing is."""
    try:
        ast.parse(path.read_text("utf-8"))
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
    except (ValueError, OSError):
        return ""
    return ""


def _names(statements: list[ast.stmt]) -> Iterator[str]:
    for node in statements:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
        else:  # the statements inside if, try and with
            for part in ("body", "orelse", "finalbody"):
                yield from _names(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from _names(handler.body)
