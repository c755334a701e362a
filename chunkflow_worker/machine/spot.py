"""Waits for the interruption notice of an EC2 spot instance (instance metadata, IMDSv2)."""

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


def wait_for_notice(
    notify: Callable[[str], None],
    stop: threading.Event,
    poll_seconds: float = POLL_SECONDS,
    timeout: float = 1.0,
) -> None:
    """Call `notify` once with what will happen and when, for example "terminate at 2026-...".

    Returns after that, when `stop` is set, or at once when there is no metadata service.
    A rebalance recommendation is not a notice, because the instance may stay.

    timeout: seconds to wait for each answer of the metadata service.
    """
    service = Ec2Metadata(timeout)
    try:
        service.renew_token()
    except NoMetadata:
        return
    while not stop.is_set():
        try:
            status, text = service.get("meta-data/spot/instance-action")
            if status == 200:
                notify(_describe(text))
                return
            if status == 401:
                service.renew_token()
        except NoMetadata:
            pass  # the service has answered before, so this failure is temporary
        stop.wait(poll_seconds)


class NoMetadata(Exception):
    """The metadata service does not answer, or refuses this machine."""


class Ec2Metadata:
    """The metadata service of an EC2 machine. Get a token before anything else.

    timeout: seconds to wait for an answer. Methods raise NoMetadata.
    """

    def __init__(self, timeout: float):
        address = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ADDRESS
        self._base, self._timeout = address.rstrip("/"), timeout
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy
        self._token = ""

    def renew_token(self) -> None:
        if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise NoMetadata("AWS_EC2_METADATA_DISABLED is true")
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
        status, text = self._request("PUT", "api/token", lifetime)
        if status != 200:
            raise NoMetadata(f"status {status}")
        self._token = text

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of the answer."""
        return self._request("GET", path, {"X-aws-ec2-metadata-token": self._token})

    def _request(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        url = f"{self._base}/latest/{path}"
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return answer.status, answer.read(10_000).decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""
        except (OSError, ValueError) as error:
            raise NoMetadata(str(error)) from None


def _describe(text: str) -> str:
    try:
        notice = json.loads(text)
        return f"{notice['action']} at {notice['time']}"
    except (ValueError, KeyError, TypeError):
        return "soon"
