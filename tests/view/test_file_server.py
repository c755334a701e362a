"""The server of `look`, by a real client: what it gives, and what it gives to nobody."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.view.file_server import FileServer
from chunkflow_worker.view.shared_folder import Shared

BLOCK = bytes(range(256)) * 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"secret")
    inside = tmp_path / "em"
    (inside / "8_8_40").mkdir(parents=True)
    (inside / "info").write_bytes(b"{}")
    (inside / "8_8_40" / "0-64").write_bytes(BLOCK)
    (inside / "8_8_40" / "64-128.gz").write_bytes(gzip.compress(BLOCK))
    (inside / "8_8_40" / "bad.gz").write_bytes(gzip.compress(BLOCK)[:-9])
    (inside / "42:0").write_bytes(b"mesh")
    (inside / "out").symlink_to(tmp_path / "secret")
    (inside / "up").symlink_to(tmp_path)
    (inside / "same").symlink_to(inside / "info")
    os.mkfifo(inside / "pipe")
    return inside


@pytest.fixture
def server(folder: Path) -> Iterator[FileServer]:
    with FileServer().serving() as server:
        server.share("em", Shared(folder, lambda name: b"made" if name == "made" else None))
        yield server


def ask(
    server: FileServer, name: str, method: str = "GET", raw: str = "", **fields: str
) -> tuple[HTTPResponse, bytes]:
    """raw: the path of the request, in place of that of a name in the folder."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    path = raw or f"/{server.word}/em/{name}"
    connection.putrequest(method, path, skip_host="Host" in fields, skip_accept_encoding=True)
    for field, value in fields.items():
        connection.putheader(field.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_a_file_is_given_whole_for_pages_of_other_sites(server: FileServer) -> None:
    answer, body = ask(server, "8_8_40/0-64")
    assert (answer.status, body) == (200, BLOCK)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert ask(server, "42:0")[1] == ask(server, "42%3A0")[1] == b"mesh"
    assert ask(server, "made")[1] == b"made"
    assert ask(server, "same?x=1")[1] == b"{}"


def test_head_gives_no_body(server: FileServer) -> None:
    answer, body = ask(server, "8_8_40/0-64", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], body) == (200, "2048", b"")


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=2000-", 2000, 2048),
        ("bytes=-5", 2043, 2048),
        ("bytes=-9999", 0, 2048),
        ("bytes=2040-99999", 2040, 2048),
    ],
)
@pytest.mark.parametrize("name", ["8_8_40/0-64", "8_8_40/64-128"])
def test_a_range_is_of_the_file_as_it_is_without_gzip(
    server: FileServer, name: str, asked: str, first: int, stop: int
) -> None:
    answer, body = ask(server, name, Range=asked, Accept_Encoding="gzip")
    assert (answer.status, body) == (206, BLOCK[first:stop])
    assert answer.headers["Content-Range"] == f"bytes {first}-{stop - 1}/2048"
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=2048-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(server: FileServer, asked: str) -> None:
    answer, body = ask(server, "8_8_40/0-64", Range=asked)
    assert (answer.status, body) == (416, b"")
    assert answer.headers["Content-Range"] == "bytes */2048"


@pytest.mark.parametrize("asked", ["bytes=9-2", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b"])
def test_a_range_of_another_form_has_no_effect(server: FileServer, asked: str) -> None:
    answer, body = ask(server, "8_8_40/0-64", Range=asked)
    assert (answer.status, body) == (200, BLOCK)


def test_a_block_in_gzip_is_found_by_its_own_name(server: FileServer) -> None:
    answer, body = ask(server, "8_8_40/64-128", Accept_Encoding="br, gzip;q=0.5")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == BLOCK
    answer, body = ask(server, "8_8_40/64-128")  # of a client that takes no gzip
    assert "Content-Encoding" not in answer.headers
    assert body == BLOCK
    assert ask(server, "8_8_40/bad")[0].status == 404


@pytest.mark.parametrize(
    "name",
    [
        "../secret", "%2e%2e/secret", "..%2fsecret", "8_8_40/../../secret", "%2e%2e%2fsecret",
        "8_8_40/..%5c..%5csecret", "//secret", "/etc/passwd", "%2fetc%2fpasswd", "info%00", "%ff",
        "out", "up/secret", "up/em/../secret", "pipe", "8_8_40", "8_8_40/", "", "absent", "./info",
        "x" * 5000,
    ],
)  # fmt: skip
@pytest.mark.timeout(30)
def test_nothing_else_is_given(server: FileServer, name: str) -> None:
    answer, body = ask(server, name)
    assert answer.status in (404, 414)
    assert body == b""


def test_who_does_not_know_the_address_finds_nothing(server: FileServer) -> None:
    word = server.word
    for path in ("/", "/em/info", "/x/em/info", f"/{word}", f"/{word}/", f"/{word}/no/info"):
        assert ask(server, "", raw=path)[0].status == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "[::1]:1"])
def test_another_host_is_refused(server: FileServer, host: str) -> None:
    answer, body = ask(server, "info", Host=host.format(port=server.port))
    assert (answer.status, body) == (403, b"")
    assert ask(server, "info", Host=f"localhost:{server.port}")[1] == b"{}"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"])
def test_other_methods_do_nothing(server: FileServer, folder: Path, method: str) -> None:
    assert ask(server, "info", method)[0].status == 501
    assert (folder / "info").read_bytes() == b"{}"


def test_a_browser_may_ask_for_ranges(server: FileServer) -> None:
    answer, _ = ask(server, "info", "OPTIONS", Access_Control_Request_Headers="range")
    assert answer.status == 204
    assert "Range" in answer.headers["Access-Control-Allow-Headers"]


def test_a_taken_port_is_told(server: FileServer) -> None:
    with pytest.raises(ConfigError, match="can't be used"), FileServer(server.port).serving():
        pass


def test_the_address_of_a_folder_is_on_this_machine(server: FileServer, folder: Path) -> None:
    found = urlsplit(server.share("a b", Shared(folder)))
    assert found.hostname == "127.0.0.1"
    assert found.path.endswith("/a%20b")
