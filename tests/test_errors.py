from __future__ import annotations

import pytest

from chunkflow_worker.errors import ConfigError, Fault, MessageMalformed


def test_one_fault_is_reported_in_a_line_with_its_cure_below() -> None:
    error = ConfigError.one("a.yaml", "line 3", "is not YAML", "close the quotes")
    assert str(error) == "a.yaml: line 3: is not YAML\n    close the quotes"
    assert error.faults == (Fault("line 3", "is not YAML", "close the quotes"),)


def test_all_faults_are_reported_at_once_under_their_number() -> None:
    error = ConfigError("settings", iter([Fault("A", "is empty", "set it"), Fault("B", "is 0")]))
    assert str(error).splitlines() == [
        "settings: 2 errors",
        "  A: is empty",
        "    set it",
        "  B: is 0",
    ]
    assert [fault.place for fault in error.faults] == ["A", "B"]


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("job 'ä' is unknown", "job 'ä' is unknown"),
        ("a\nERROR forged", "a\\nERROR forged"),
        ("a\r\x1b[2Jb\u2028c", "a\\r\\x1b[2Jb\\u2028c"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 500 + "..."),
        ("\n" * 400, "\\n" * 250 + "..."),
    ],
)
def test_a_sender_can_neither_forge_lines_nor_fill_the_log(text: str, reported: str) -> None:
    assert str(MessageMalformed(text)) == reported
