"""Every line of the page on security has a test, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "security.md"
_NAME = re.compile(r"`((?:tests/[\w/]+\.py)?)((?:::test_\w+)?)`")


def tables() -> Iterator[list[str]]:
    """Yield the tables of the page that say what shows their lines, as lists of lines."""
    for found in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(), re.MULTILINE):
        lines = found.splitlines()
        if lines[0].rstrip("| ").endswith("shown by"):
            yield lines


def named() -> list[str]:
    """Return the tests that the page names, with their file, each as `file` or `file::test`."""
    found, file = [], ""
    for path, test in _NAME.findall(PAGE.read_text()):
        file = path or file
        if path or test:
            found.append(f"{file}{test}")
    return found


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("name", named())
def test_every_test_that_the_page_names_exists(name: str) -> None:
    file, _, test = name.partition("::")
    assert (ROOT / file).is_file(), f"docs/security.md names {file}"
    assert test in names_in(file) if test else names_in(file), f"docs/security.md names {name}"


def test_every_line_is_shown_by_a_test() -> None:
    found = list(tables())
    assert found
    for heading, _, *lines in found:
        assert lines, heading
        for line in lines:
            *_, last, _ = line.split("|")
            assert _NAME.search(last), line
