"""No operator is left without a test on real data."""

from __future__ import annotations

import ast
from pathlib import Path

from chunkflow_worker.config.catalog import folder_names


def test_each_operator_is_shown_on_real_data() -> None:
    """By the marks `shows` in this folder; the fixture `chunkflow` sees to it that a test runs what
    its mark names.
    """
    shown: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.shows":
                shown |= {ast.literal_eval(name) for name in node.args}
    assert shown == folder_names()
