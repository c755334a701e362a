"""Fixtures for all tests."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import hypothesis
import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.local_aws.serve import SERVICES, local_aws
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.machine.signals import STOP_SIGNALS
from chunkflow_worker.pipeline.operator import Operator, Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.once import forget_warnings
from tests.support.queues import make_queue
from tests.support.s3_semantics import S3Semantics, s3_semantics

# Before torch is imported: threads of several test processes would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Processes that tests start must not inherit that this one ignores a signal, as nohup makes it.
for number in STOP_SIGNALS:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

hypothesis.settings.register_profile("no deadline", deadline=None)  # machines may be busy
hypothesis.settings.load_profile("no deadline")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Ten thousand tests and what they import stay: a third of the time went to looking whether
    they are garbage.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _new_warnings() -> None:
    """Each test sees the warnings that a process gives once."""
    forget_warnings()


@pytest.fixture(autouse=True)
def _same_level() -> Iterator[None]:
    """Commands that a test runs in this process set the level of the log; the next starts anew."""
    logger = logging.getLogger("chunkflow_worker")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def _by_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process torch runs the nets, without the seconds that OpenVINO takes to convert one.

    Tests of OpenVINO have the mark `openvino`. Processes that tests start use it as users' do.
    """
    if request.node.get_closest_marker("openvino") is None:
        monkeypatch.setattr("chunkflow_worker.inference.openvino.find_spec", lambda name: None)


@pytest.fixture(scope="session")
def aws() -> Iterator[dict[str, str]]:
    """A local AWS for the session; the variables that lead to it are set."""
    services = SERVICES | {"cloudformation", "iam"}  # for the stack
    with local_aws(services=services) as variables, pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        yield variables


@pytest.fixture(params=["file", "s3", "mem"])
def path(
    request: pytest.FixtureRequest, tmp_path: Path, aws: dict[str, str], unique_name: str
) -> str:
    """The path of a volume on a local disk, in S3 or in memory."""
    if request.param == "file":
        return f"file://{tmp_path}/volume"
    if request.param == "s3":
        boto3.client("s3").create_bucket(Bucket=unique_name)
    return f"{request.param}://{unique_name}/volume"


@pytest.fixture
def real_s3(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Semantics]:
    """The local AWS with an S3 that behaves as AWS does; the variables lead to it."""
    with s3_semantics(aws["AWS_ENDPOINT_URL"]) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        yield s3


@pytest.fixture
def sqs() -> StubSqs:
    """SQS in memory."""
    return StubSqs()


@pytest.fixture
def queue(sqs: StubSqs) -> Queue:
    """A queue in memory, of three receives and with a visibility timeout of 30 s."""
    return make_queue(sqs)


@pytest.fixture
def unique_name() -> str:
    """A name for a queue or a bucket that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def run_step() -> Callable[..., Task]:
    """Open one operator and run it on a task, as the last operator of a chain; returns the task."""

    def run(
        operator: Operator,
        task: Task | None = None,
        *,
        bbox: BoundingBox | None = None,
        **values: Any,
    ) -> Task:
        task = task or Task(bbox=bbox, values=dict(values))
        with operator.open(Run(needed_box=lambda box, bounds: box)) as step:
            step(task)
        return task

    return run


@pytest.fixture
def sharded_volume(tmp_path: Path) -> Callable[..., str]:
    """Write a volume in shards: `sharded_volume(name, array zyx, offset, boxes)`; its path."""

    def make(name: str, *content: Any) -> str:
        from tests.support.sharded import write_sharded

        return write_sharded(tmp_path / name, *content)

    return make


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[[Any, int, int], Any]:
    """What a browser draws of a Neuroglancer viewer: `drawn(viewer, width, height)`."""
    from tests.support.browser import BROWSER, draw

    if shutil.which(BROWSER) is None:
        pytest.skip(f"there is no {BROWSER} on PATH; .ci/run installs it")
    return partial(draw, folder=tmp_path)
