"""Waits for the preemption notice of a machine of Google Compute Engine (its metadata server)."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Callable

HOST = "metadata.google.internal"
POLL_SECONDS = 5.0
_FLAVOR = "Metadata-Flavor"
_STOPS = "TERMINATE_ON_HOST_MAINTENANCE"


def wait_for_preemption(
    notify: Callable[[str], None],
    stop: threading.Event,
    poll_seconds: float = POLL_SECONDS,
    timeout: float = 1.0,
) -> None:
    """Call `notify` once with what will happen: "preempted", or "terminate for maintenance".

    Returns after that, when `stop` is set, or at once when this is no machine of Google. A machine
    that Google moves to another host goes on, so this is no notice.

    poll_seconds: for which the metadata server holds each request, to answer at once when a
        preemption comes. Maintenance is asked for as often.
    timeout: seconds to wait for an answer beyond that.
    """
    server = GoogleMetadata(timeout)
    if not server.get("preempted"):
        return
    query = f"preempted?wait_for_change=true&timeout_sec={max(1, round(poll_seconds))}"
    path = "preempted"  # the first time, it may have happened before
    while not stop.is_set():
        preempted = server.get(path, poll_seconds)
        if preempted == "TRUE":
            notify("preempted")
            return
        if server.get("maintenance-event") == _STOPS:
            notify("terminate for maintenance")
            return
        path = query
        if not preempted:  # the server has answered before, so this failure is temporary
            stop.wait(poll_seconds)


class GoogleMetadata:
    """The metadata server of a machine of Google. It is asked for nothing if NO_GCE_CHECK is true.

    timeout: seconds to wait for an answer.
    """

    def __init__(self, timeout: float):
        host = os.environ.get("GCE_METADATA_HOST") or HOST
        self._base, self._timeout = f"http://{host}/computeMetadata/v1/instance", timeout
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy

    def get(self, path: str, held_seconds: float = 0.0) -> str:
        """The text of the answer; empty without an answer of such a server.

        held_seconds: for which the server may hold the request.
        """
        if os.environ.get("NO_GCE_CHECK", "").lower() == "true":  # as Google's libraries know it
            return ""
        request = urllib.request.Request(f"{self._base}/{path}", headers={_FLAVOR: "Google"})
        try:
            with self._opener.open(request, timeout=self._timeout + held_seconds) as answer:
                if answer.headers.get(_FLAVOR) != "Google":
                    return ""
                return str(answer.read(1000).decode(errors="replace")).strip()
        except (OSError, ValueError):  # an HTTPError is an OSError too
            return ""
