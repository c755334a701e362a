"""Hides credentials in texts before they reach a log, a record or a terminal."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote

_HIDDEN = "***"
_OWN_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
# Shorter values are placeholders such as "local" or "test", which are also ordinary words.
_SHORTEST_SECRET = 12

_ACCESS_KEY = r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"
_NAMED_SECRET = (
    r"(?i)((?:X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature"
    r"|X-Goog-(?:Signature|Credential)|aws_secret_access_key|aws_session_token|SecretAccessKey"
    r"|SessionToken|access_token|refresh_token|client_secret|password|passwd)"
    r"['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;)}]+"
)
_AUTHORIZATION = r"(?i)(Authorization['\"]?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\r\n]*)"
_BEARER = r"(?i)\b(Bearer\s+)[\w.~+/=-]{8,}"
# A password may hold a slash or an @, so it ends at the last one of the word.
_URL_PASSWORD = r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s'\"]+@"
_URL_TOKEN = r"(?i)\b(https?://)[^\s/:@'\"]{12,}@"
_URL_OPTION = (
    r"(?i)([?&;][\w.-]*(?:token|secret|signature|sig|passw(?:or)?d|pwd|key|auth|credential|session)"
    r"[\w.-]*=)[^\s&'\"#]+"
)
_REPLACEMENTS = [
    (re.compile(_ACCESS_KEY), _HIDDEN),
    (re.compile(_NAMED_SECRET), rf"\1{_HIDDEN}"),
    (re.compile(_AUTHORIZATION), rf"\1{_HIDDEN}"),
    (re.compile(_BEARER), rf"\1{_HIDDEN}"),
    (re.compile(_URL_PASSWORD), rf"\1{_HIDDEN}@"),
    (re.compile(_URL_TOKEN), rf"\1{_HIDDEN}@"),
    (re.compile(_URL_OPTION), rf"\1{_HIDDEN}"),
]


def scrub(text: str) -> str:
    """Hide keys, signatures, tokens, passwords and Authorization headers in `text`.

    The values of this process's own AWS variables are hidden everywhere. Other secrets are
    recognized by their form, or by the name before them.
    """
    for secret in filter(None, map(os.environ.get, _OWN_SECRETS)):
        if len(secret) >= _SHORTEST_SECRET:
            for form in (secret, quote(secret, safe=""), quote(secret)):
                text = text.replace(form, _HIDDEN)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    return text


def scrubbed(value: Any) -> Any:
    """A value of JSON with all its texts, also those that are keys, as `scrub` returns them."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {scrubbed(key): scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item) for item in value]
    return value
