from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from producer.look.expiry import expiry, expiry_line

SENT = "2026-05-01T12:00:00+00:00"
EXPIRES = datetime(2026, 5, 11, 12, tzinfo=UTC)
TEN_DAYS = 10 * 86_400


@pytest.mark.parametrize("sent", [SENT, "2026-05-01T12:00:00", "2026-05-01T14:00:00+02:00"])
def test_messages_expire_after_the_retention_from_their_first_send(sent: str) -> None:
    assert datetime.fromisoformat(expiry(sent, TEN_DAYS)) == EXPIRES


@pytest.mark.parametrize(("sent", "retention"), [("", TEN_DAYS), ("soon", TEN_DAYS), (SENT, None)])
def test_what_is_not_known_is_empty(sent: str, retention: int | None) -> None:
    assert expiry(sent, retention) == ""


@pytest.mark.parametrize(
    ("left", "line"),
    [
        (timedelta(days=1, seconds=1), ""),
        (
            timedelta(hours=20),
            f"SQS deletes the first dead letters at {EXPIRES.isoformat()}, in 20 h",
        ),
        (
            timedelta(hours=-1),
            f"SQS has been deleting dead letters since {EXPIRES.isoformat()}: those are not "
            "counted here",
        ),
    ],
)
def test_a_line_is_given_from_a_day_before_on(left: timedelta, line: str) -> None:
    expires = expiry(SENT, TEN_DAYS)
    assert expiry_line("dead letters", expires, EXPIRES - left) == line


def test_without_a_time_there_is_no_line() -> None:
    assert expiry_line("messages", "") == ""
