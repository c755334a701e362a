"""A new service for each test, on the local AWS of the session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Service


@pytest.fixture
def service(tmp_path: Path, aws: dict[str, str]) -> Iterator[Service]:
    made = Service(tmp_path, f"q-{uuid.uuid4().hex[:8]}", aws)
    try:
        yield made
    finally:
        made.close()
