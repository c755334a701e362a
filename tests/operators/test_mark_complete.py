from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from chunkflow_worker.cli.chunkflow import cli


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)


def test_boxes_with_a_flag_are_skipped(tmp_path: Path) -> None:
    flags, log = f"{tmp_path}/flags/", tmp_path / "log"
    (tmp_path / "flags").mkdir()
    (tmp_path / "flags" / "0-4_0-4_4-8.ok").touch()
    skip, mark = f"skip-task-by-file -p {flags} -s .ok", f"mark-complete -p {flags} -s .ok"
    chain = f"generate-tasks -c 4 4 4 -g 1 1 3 {skip} create-chunk {mark}".split()
    assert run("--dry-run", *chain).exit_code == 0
    assert len([*(tmp_path / "flags").iterdir()]) == 1, "a dry run writes nothing"
    assert run("--ledger", log, *chain).exit_code == 0
    states = {p.stem: json.loads(p.read_text())["state"] for p in log.glob("*.json")}
    assert states == {"0-4_0-4_0-4": "done", "0-4_0-4_4-8": "skipped", "0-4_0-4_8-12": "done"}
    assert {p.name for p in (tmp_path / "flags").iterdir()} == {f"{box}.ok" for box in states}
