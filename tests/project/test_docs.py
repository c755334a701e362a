from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from chunkflow_worker.config.catalog import operator_names
from tests.support.paths import PLUGIN_PACKAGE, ROOT


def test_generated_pages_follow_the_code() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_readme_names_only_operators_and_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for command in ("make demo", "make test"):
        assert command in text
    listed = {n for n in operator_names() if f"`{n}`" in text or f"{n} " in text}
    assert listed, "the README shows a chain"


def test_the_site_builds_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    path = os.pathsep.join([str(PLUGIN_PACKAGE), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    pages = {
        page.relative_to(tmp_path).as_posix(): page.read_text() for page in tmp_path.rglob("*.html")
    }
    assert {f"operators/{name}.html" for name in [*operator_names(), "hold"]} <= pages.keys()
    assert "Longest time to hold a task." in pages["operators/hold.html"]
    for part in (
        "Coming from chunkflow 1.2.0",
        "are an error, not zeros",
        "without credentials",
        "--use-credential",
    ):
        assert part in pages["operators/load-precomputed.html"]
    for name, text in pages.items():
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]* src="([^"]+)|<link[^>]* href="([^"]+)|url\(([^)]+)\)',
            text,
        )
        assert loaded, "every page loads something"
        assert not [place for group in loaded for place in group if "//" in place], name
