from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_generated_pages_follow_the_code() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_readme_names_only_operators_and_commands_that_exist() -> None:
    from chunkflow_worker.catalog import operator_names

    text = (ROOT / "README.md").read_text()
    for command in ("make demo", "make test"):
        assert command in text
    listed = {n for n in operator_names() if f"`{n}`" in text or f"{n} " in text}
    assert listed, "the README shows a chain"
