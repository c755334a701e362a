"""Fixtures for all tests."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.local_aws import local_aws
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.stub_sqs import StubSqs
from chunkflow_worker.pipeline.operator import Operator, Run
from chunkflow_worker.pipeline.task import Task
from tests.support.queues import make_queue

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
    """Make a volume in shards below the test's folder, by tensorstore: `sharded_volume(name, array zyx, offset, boxes)`.

    Of voxels of 40 8 8 nm in blocks of 8 16 16, with gzip in them and in the shards' index; only the blocks in `boxes` are
    stored, all when not given. Returns its path.
    """

    def make(
        name: str, array: Any, offset: tuple[int, int, int], boxes: list[BoundingBox] | None = None
    ) -> str:
        import tensorstore

        bits = {
            "preshift_bits": 1,
            "minishard_bits": 1,
            "shard_bits": 2,
            "hash": "murmurhash3_x86_128",
        }
        packed = {"minishard_index_encoding": "gzip", "data_encoding": "gzip"}
        scale = {
            "size": array.shape[::-1],
            "voxel_offset": offset[::-1],
            "resolution": [8, 8, 40],
            "encoding": "raw",
            "chunk_size": [16, 16, 8],
            "sharding": {"@type": "neuroglancer_uint64_sharded_v1", **bits, **packed},
        }
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/{name}/"},
            "multiscale_metadata": {
                "data_type": str(array.dtype),
                "num_channels": 1,
                "type": "image",
            },
            "scale_metadata": scale,
        }
        store = tensorstore.open(spec, create=True).result()[..., 0]
        bounds = BoundingBox.sized(offset, array.shape)
        for box in [bounds] if boxes is None else boxes:
            window, part = box.slices((0, 0, 0))[::-1], array[box.slices(bounds.start)]
            store[window].write(part.transpose()).result()
        return f"file://{tmp_path}/{name}"

    return make


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[[Any, int, int], Any]:
    """What headless Chromium draws of a viewer of Neuroglancer: `drawn(viewer, width, height)`, of shape (height, width, 3)."""
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium on PATH; .ci/run installs it")

    def draw(viewer: Any, width: int, height: int) -> Any:
        import numpy as np
        from PIL import Image

        with viewer.config_state.txn() as page:
            page.show_ui_controls = page.show_panel_borders = False
            page.viewer_size = [width, height]
        quiet = "--no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-quic"
        drawing = "--headless --no-sandbox --enable-unsafe-swiftshader --use-gl=angle --use-angle=swiftshader"
        nothing_else = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        command = [
            "chromium",
            *quiet.split(),
            *drawing.split(),
            nothing_else,
            f"--user-data-dir={tmp_path}/chromium",
        ]
        answers: list[Any] = []
        answered = threading.Event()
        viewer.async_screenshot(lambda answer: (answers.append(answer), answered.set()))
        log = tmp_path / "chromium.log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                [*command, viewer.get_viewer_url()], stdout=out, stderr=out
            ) as browser,
        ):
            try:
                assert answered.wait(120), log.read_text()[-3000:]
            finally:
                browser.terminate()
        picture = np.asarray(Image.open(io.BytesIO(answers[0].screenshot.image)).convert("RGB"))
        assert picture.shape == (height, width, 3)
        return picture.astype(int)

    return draw
