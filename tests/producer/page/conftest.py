"""Fixtures for the tests of the page of a job."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.support.browser import BROWSER
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which(BROWSER)
    if program is None:
        pytest.skip(f"there is no {BROWSER} on PATH; .ci/run installs it")
    engine = pytest.importorskip("playwright.sync_api").sync_playwright()
    with engine as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()
