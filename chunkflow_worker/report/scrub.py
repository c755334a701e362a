"""Takes credentials out of texts that libraries made, before they reach a log or a record."""

from __future__ import annotations

import logging
import os
import re
from urllib.parse import quote

_HIDDEN = "***"
_OWN = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_SHORTEST_OWN = 12  # a shorter one is a stand-in such as "local" or "test", which would be found in ordinary words
_PATTERNS = [
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), _HIDDEN),
    (
        re.compile(
            r"(?i)((?:X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature|X-Goog-(?:Signature|Credential)"
            r"|aws_secret_access_key|aws_session_token|SecretAccessKey|SessionToken|access_token|refresh_token|client_secret"
            r"|password|passwd)['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;)}]+"
        ),
        rf"\1{_HIDDEN}",
    ),
    (
        re.compile(r"(?i)(Authorization['\"]?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\r\n]*)"),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(?i)\b(Bearer\s+)[\w.~+/=-]{8,}"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s@'\"]+@"), rf"\1{_HIDDEN}@"),
]


def scrub(text: str) -> str:
    """The text with keys, signatures, tokens, passwords and Authorization headers hidden.

    The values of this process's own AWS variables are hidden wherever they stand, others where their names tell them.
    """
    for secret in filter(None, map(os.environ.get, _OWN)):
        if len(secret) >= _SHORTEST_OWN:
            for form in (secret, quote(secret, safe=""), quote(secret)):
                text = text.replace(form, _HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class ScrubFilter(logging.Filter):
    """For handlers: hides credentials in messages and tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = scrub(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)
        return True
