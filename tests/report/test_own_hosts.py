from __future__ import annotations

import socket

import pytest

from chunkflow_worker.report.own_hosts import OwnHosts

ANYWHERE = ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "", "a b", "::1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_only_this_machine_is_named(host: str) -> None:
    hosts = OwnHosts(host)
    for own in ("localhost", "127.0.0.1:8760", "[::1]:1", "127.0.0.2", "app.localhost:80"):
        assert hosts.has(own), own
    for other in (*ANYWHERE, "10.0.0.7", "worker", "page.chunkflow.svc"):
        assert not hosts.has(other), other


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7"])
def test_on_other_addresses_also_names_that_no_page_can_have(host: str) -> None:
    hosts = OwnHosts(host)
    for own in ("10.0.0.7:9", "worker", "page.chunkflow.svc:80", socket.gethostname(), "LOCALHOST"):
        assert hosts.has(own), own
    for other in ANYWHERE:
        assert not hosts.has(other), other


def test_an_origin_needs_a_scheme() -> None:
    hosts = OwnHosts("0.0.0.0")
    assert hosts.has_origin("http://localhost:8760")
    assert hosts.has_origin("https://worker")
    for other in ("null", "worker", "file://", "http://evil.example", "ftp://worker"):
        assert not hosts.has_origin(other), other
