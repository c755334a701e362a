"""Every operator has a test on real data."""

from __future__ import annotations

import ast
from pathlib import Path

from chunkflow_worker.config.catalog import folder_names


def test_every_operator_has_a_test_on_real_data() -> None:
    """Checked by the `shows` marks of all tests of operators. The fixture `chunkflow` checks that a
    test runs the operators in its marks.
    """
    shown: set[str] = set()
    for path in Path(__file__).parents[1].rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.shows":
                shown |= {ast.literal_eval(name) for name in node.args}
    assert shown == folder_names()
