from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from chunkflow_worker.machine.zone import zone
from tests.support.metadata import Metadata, metadata_service
from tests.support.serving import serving


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with metadata_service() as double:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", double.address)
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
        yield double


def test_ec2_tells_the_zone(metadata: Metadata) -> None:
    assert zone() == "us-east-1a"
    assert metadata.asked == ["/latest/meta-data/placement/availability-zone"]


@pytest.mark.parametrize("text", ["", "<html>", "a" * 100])
def test_what_is_no_zone_is_none(metadata: Metadata, text: str) -> None:
    metadata.zone = text
    assert zone() == ""


def test_google_tells_a_path(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    class Google(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/computeMetadata/v1/instance/zone"
            self.send_response(200)
            self.send_header("Metadata-Flavor", "Google")
            self.end_headers()
            self.wfile.write(b"projects/1234/zones/us-east1-b")

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with serving(Google) as url:
        monkeypatch.setenv("GCE_METADATA_HOST", url.removeprefix("http://"))
        assert zone() == "", "the variable of Google's libraries forbids it"
        monkeypatch.delenv("NO_GCE_CHECK")
        assert zone() == "us-east1-b"


def test_a_machine_without_a_service_has_none(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    assert zone() == ""
