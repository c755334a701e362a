"""`quiet_libraries`: the libraries of storage log what they also raise, some with tracebacks."""

from __future__ import annotations

import logging

_LIBRARIES = ("boto3", "botocore", "cloudfiles", "google", "urllib3")


def quiet_libraries() -> None:
    """Let only errors through from the logs of these libraries, which ours tell in a line or two.

    Their warnings would stand before the error, with tracebacks.
    """
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
