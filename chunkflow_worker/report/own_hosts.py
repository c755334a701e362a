"""`OwnHosts`: by which names a server on this machine may be asked.

A page in a browser may give its own name the address of this machine (DNS rebinding), and then
reads what it gets as its own. Its requests still name its host. Every server here asks this.
"""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address

_EVERY_ADDRESS = ("0.0.0.0", "::")
_INNER = (".localhost", ".local", ".internal", ".svc", ".cluster.local")
"""Ends of names that nobody can have on the internet."""

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::\d+)?", re.ASCII)


class OwnHosts:
    """The names of a server that listens on `host`.

    On a loopback address, those of the machine itself; on another one, also addresses in numbers,
    and names that no page of the internet can have.
    """

    def __init__(self, host: str):
        self._names = {host.lower()}
        self._is_open = host in _EVERY_ADDRESS or not _is_loopback(host)
        if self._is_open:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def has(self, header: str) -> bool:
        """Whether a field `Host` names this server."""
        host = _host_of(header)
        if _is_loopback(host) or host in self._names:
            return True
        if not self._is_open:
            return host.endswith(".localhost")
        return bool(host) and ("." not in host or host.endswith(_INNER) or _is_address(host))

    def has_origin(self, header: str) -> bool:
        """Whether a field `Origin` names a page of this server, or of this machine.

        It may be null, which names none.
        """
        scheme, _, host = header.partition("://")
        return scheme in ("http", "https") and self.has(host)


def _host_of(header: str) -> str:
    """The host that a header names, in lower case; empty if it names none."""
    found = _HOST.fullmatch(header)
    return (found["address"] or found["name"]).lower().rstrip(".") if found else ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)
