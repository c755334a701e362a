"""Waits for the notice that EC2 gives before it takes a spot machine away (IMDSv2)."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

ADDRESS = "http://169.254.169.254"
POLL_SECONDS = 5.0
_TOKEN_SECONDS = 21_600


class _NoMetadata(Exception):
    """The metadata service isn't there, or not for us."""


def await_notice(
    notify: Callable[[str], None],
    stop: threading.Event,
    poll_seconds: float = POLL_SECONDS,
    timeout: float = 1.0,
) -> None:
    """Call `notify` once with what will happen and when; returns then, or when stopped, or at once where no service is.

    A recommendation to rebalance is no notice: the machine may stay.
    """
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return
    base = (os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ADDRESS).rstrip("/")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        request = urllib.request.Request(f"{base}/latest/{path}", method=method, headers=headers)
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, answer.read(10_000).decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""
        except (OSError, ValueError) as error:
            raise _NoMetadata(str(error)) from None

    def new_token() -> str:
        status, text = ask(
            "PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
        )
        if status != 200:
            raise _NoMetadata(f"status {status}")
        return text

    try:
        token = new_token()
    except _NoMetadata:
        return
    while not stop.is_set():
        try:
            status, text = ask(
                "GET", "meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}
            )
            if status == 200:
                notify(_told(text))
                return
            if status == 401:
                token = new_token()
        except _NoMetadata:
            pass  # it was there before
        stop.wait(poll_seconds)


def _told(text: str) -> str:
    try:
        notice = json.loads(text)
        return f"{notice['action']} at {notice['time']}"
    except (ValueError, KeyError, TypeError):
        return "soon"
