"""Errors that nobody expected: those of users' code keep their type, those of ours become words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import RetryableError
from chunkflow_worker.operators.threshold import Threshold
from chunkflow_worker.pipeline.own_code import own_frames
from chunkflow_worker.pipeline.run import error_context


def load(path: Path, text: str) -> Any:
    """What a user's file defines."""
    path.write_text(text)
    names: dict[str, Any] = {}
    exec(compile(text, str(path), "exec"), names)
    return names


def caught(work: Any) -> RetryableError:
    with pytest.raises(RetryableError) as found, error_context("step", None):
        work()
    return found.value


def test_an_error_of_the_users_code_keeps_its_type(tmp_path: Path) -> None:
    own = load(tmp_path / "mine.py", "def execute():\n    return {}['a']\n")
    error = caught(own["execute"])
    assert str(error) == "step: KeyError: 'a'"
    assert error.__cause__ is not None
    (frame, line) = own_frames(error.__cause__)[-1]
    assert (Path(frame.f_code.co_filename).name, line) == ("mine.py", 2)


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (KeyError("a"), "step: failed unexpectedly: 'a'"),
        (TypeError("no len"), "step: failed unexpectedly: no len"),
        (FileNotFoundError(2, "No such file", "/x"), "step: No such file: /x"),
    ],
)
def test_an_error_of_ours_is_told_in_words(
    raised: Exception, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test's own frames are left out, as those of an installed package are."""
    monkeypatch.setattr("chunkflow_worker.pipeline.own_code._is_own", lambda file: False)

    def crash(*_: object) -> None:
        raise raised

    monkeypatch.setattr(Threshold, "open", crash)
    error = caught(lambda: Threshold(threshold=1.0).open(None))  # type: ignore[arg-type]
    assert str(error).splitlines()[0] == text
    assert type(raised).__name__ not in str(error)
