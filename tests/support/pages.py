"""Pages with commands: their blocks, and running them in one shell as a reader does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tests.support.paths import ROOT

_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
# Readers install from an index. Here everything is already installed, and the tutorial's own
# package goes into a folder.
_PIP = """#!/bin/sh
exec {python} -m pip "$@" --quiet --no-index --no-deps --no-build-isolation --target "$PWD/site"
"""


@dataclass(frozen=True)
class Block:
    language: str
    file: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(**found.groupdict()) for found in _BLOCK.finditer(page.read_text())]


def script_of(page: list[Block]) -> str:
    """The files and commands of a page, as one script. Blocks of `sh` are not meant to be run."""
    commands = ["set -euo pipefail"]
    for i, block in enumerate(page):
        if block.file:
            commands.append(f"mkdir -p $(dirname {block.file})")
            commands.append(f"cat > {block.file} <<'END OF {i}'\n{block.text}END OF {i}")
        elif block.language == "bash":
            commands.append(block.text)
    return "\n".join(commands)


def check_promised(page: list[Block], output: str) -> None:
    """Each line of a `text` block must appear in the output, where `...` stands for any text."""
    texts = [block.text for block in page if block.language == "text"]
    promised = [line for text in texts for line in text.splitlines()]
    assert promised, "a page shows some output"
    printed = [line.rstrip() for line in output.splitlines()]
    for line in promised:
        assert any(fnmatchcase(found, _pattern(line)) for found in printed), (
            f"{line!r} is not in the output:\n{output}"
        )


def run(script: str, folder: Path) -> str:
    """Run a script in an empty folder; return its output and that of its background processes.

    Background processes are killed when the script ends.
    """
    tools = folder.with_name(f"{folder.name}-tools")
    tools.mkdir()
    (tools / "pip").write_text(_PIP.format(python=sys.executable))
    (tools / "pip").chmod(0o755)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "CHUNKFLOW_", "PYTEST_"))
    }
    environment = kept | {
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]),
        "CHUNKFLOW_POLL_SECONDS": "1",
    }
    log = tools / "log"
    with log.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = shell.wait(timeout=240)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    output = log.read_text()
    assert status == 0, output
    return output


def _pattern(line: str) -> str:
    """Return the pattern of a line, in which `...` stands for any text."""
    return re.sub(r"[\[?*]", lambda special: f"[{special[0]}]", line).replace("...", "*")
