from __future__ import annotations

import pytest

from chunkflow_worker.report.plain import one_line, plain

ACTING = {
    "the window's title": "\x1b]0;owned\x07",
    "the clipboard": "\x1b]52;c;Y3VybA==\x1b\\",
    "the screen": "\x1b[2J\x1b[H",
    "hidden text": "\x1b[8m",
    "one byte for an escape": "\x9b2J\x9d0;owned\x9c",
    "the line before": "good\rbad",
    "the character before": "good\b\b\b\bbad",
    "the direction": "\u202egnp.exe\u202c \u2066a\u2069 \u200f \u061c",
    "lines of Unicode": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "half a character": "a\ud800b\udcff",
    "nothing": "\x00\x7f\ufeff",
}


@pytest.mark.parametrize("text", ACTING.values(), ids=ACTING)
def test_nothing_acts_on_a_terminal(text: str) -> None:
    shown = plain(f"before {text} after")
    assert shown.isprintable()
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "\\" in shown
    assert len(shown.splitlines()) == 1
    assert shown.encode()


def test_what_people_write_is_kept() -> None:
    text = "größe 5 µm\t神経 🧠, naïve\nsecond line"
    assert plain(text) == text
    assert one_line(text) == text.replace("\n", "\\n")


def test_an_escape_shows_what_it_was() -> None:
    assert plain("\x1b[31m \x9b \u202e \ud800") == r"\x1b[31m \x9b \u202e \ud800"
