"""The AWS session of this process: boto3's, with credentials that follow the files they are in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

_READ_AGAIN_SECONDS = 15.0
_IN_FILES = ("shared-credentials-file", "config-file")


def aws_session() -> Any:
    """boto3's default session, which this makes unless there is one.

    boto3 refreshes the credentials of roles, logins and processes by itself. Keys in ~/.aws it
    reads once. Another program may replace them there before they expire, and a worker that runs
    for days must follow: this session reads them again. Raises boto3's errors for a profile that
    does not exist and files that cannot be read.
    """
    import boto3
    from botocore.credentials import create_credential_resolver
    from botocore.session import get_session

    if boto3.DEFAULT_SESSION is None:
        session = get_session()
        region = session.get_config_variable("region")
        resolver = create_credential_resolver(session, region_name=region)
        for provider in resolver.providers:
            if provider.METHOD in _IN_FILES:
                provider.load = _reading_again(provider.load)
        session.register_component("credential_provider", resolver)
        boto3.setup_default_session(botocore_session=session)
    return boto3.DEFAULT_SESSION


def _reading_again(load: Callable[[], Any]) -> Callable[[], Any]:
    """`load` of a provider of botocore, which returns credentials that are loaded again in time."""
    from botocore.credentials import Credentials
    from botocore.exceptions import BotoCoreError

    class KeysInFile(Credentials):  # type: ignore[misc]
        """The keys as the file had them not long ago; the last ones while it is being replaced."""

        def __init__(self, found: Any):
            super().__init__(found.access_key, found.secret_key, found.token, found.method)
            self._found, self._read_at = found, monotonic()

        def get_frozen_credentials(self) -> Any:
            if monotonic() - self._read_at >= _READ_AGAIN_SECONDS:
                self._read_at = monotonic()
                with suppress(BotoCoreError):
                    self._found = load() or self._found
            return self._found.get_frozen_credentials()

    def load_first() -> Any:
        found = load()
        return None if found is None else KeysInFile(found)

    return load_first
