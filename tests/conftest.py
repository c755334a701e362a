"""Fixtures for all tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

from chunkflow_worker.bbox import BoundingBox
from chunkflow_worker.local_aws import local_aws
from chunkflow_worker.operator import Operator, Run
from chunkflow_worker.task import Task

hypothesis.settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def aws() -> Iterator[dict[str, str]]:
    """A local AWS for the session; the variables that lead to it are set."""
    with local_aws() as variables, pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        yield variables


@pytest.fixture
def unique_name() -> str:
    """A name for a queue or a bucket that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def run_step() -> Callable[..., Task]:
    """Open one operator and run it on a task, as the last operator of a chain; returns the task."""

    def run(operator: Operator, task: Task | None = None, *, bbox: BoundingBox | None = None, **values: Any) -> Task:
        task = task or Task(bbox=bbox, values=dict(values))
        with operator.open(Run(needed_box=lambda box, bounds: box)) as step:
            step(task)
        return task

    return run
