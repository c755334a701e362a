"""Fixtures for the tests of the page of a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.support.served_page import ServedPage, served
from tests.support.shown_job import ShownJob

COUNTS = Vec3(3, 5, 6)


@pytest.fixture
def job(tmp_path: Path) -> ShownJob:
    return ShownJob(tmp_path, COUNTS)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> ShownJob:
    """A job that no test changes."""
    job = ShownJob(tmp_path_factory.mktemp("shown"), COUNTS)
    job.write_volumes()
    return job


@pytest.fixture(scope="module")
def page(shown: ShownJob) -> Iterator[ServedPage]:
    """Its page, which can only be read."""
    with served(shown.target) as page:
        yield page


@pytest.fixture
def page_with_actions(job: ShownJob) -> Iterator[ServedPage]:
    with served(job.target, allow_actions=True) as page:
        yield page
