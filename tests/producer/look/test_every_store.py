"""A job that saves a volume of any format: its status, what verify finds in it, a view of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import numpy as np
import pytest
import tensorstore

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.volume import blocks_of
from producer.look.status import job_status
from producer.look.view_link import view_link
from producer.plan.pipeline_file import PipelineFile
from tests.support.damage import truncate
from tests.support.stores import STORES, Store
from tests.support.two_boxes import BOUNDS, CHUNK, FIRST, TwoBoxes
from tests.support.web_server import web_server

BOX = BoundingBox.parse(FIRST)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]


class Job:
    """A job of two boxes that is done, with its ledger beside the volume that it saves."""

    def __init__(self, folder: Path, store: Store):
        self.boxes, self._address = TwoBoxes(folder), store.address(f"file://{folder}/out")
        self.boxes.ledger = Ledger(f"file://{folder}/out/log")
        create(self._address, store)
        load = self.boxes.load("seg" if store.holds_ids_only else "em")
        self.boxes.work(load, {"op": "save-volume", "volume_path": self._address})
        self.open()

    def open(self) -> None:
        """Anew, without what was read before."""
        self.volume = open_volume(self._address, output=True)

    def block(self) -> Path:
        """The file of the first block."""
        first = next(blocks_of(self.volume, BOX))
        return Path(self.volume.path.removeprefix("file://"), self.volume.block_name(first))


def create(address: str, store: Store) -> None:
    """Create a volume for the output: of objects, if the store holds no other, or of floats."""
    kind: dict[str, Any] = {"dtype": "float32"}
    if store.holds_ids_only:
        kind = {"dtype": "uint32", "layer_type": "segmentation"}
    shape: dict[str, Any] = {"bounds": BOUNDS, "voxel_size": (40, 8, 8)}
    create_volume(address, **shape, **kind, block_size=Vec3(4, 8, 8), **store.options(CHUNK))


def change(how: Callable[[np.ndarray], np.ndarray]) -> Callable[[Job], None]:
    """Write other voxels in place of those of the first box."""
    return lambda job: job.volume.write(BOX, how(job.volume.read(BOX)))


def do_with_another_pipeline(job: Job) -> None:
    """As the record of the first box says."""
    (record,) = job.boxes.ledger.records([FIRST])
    job.boxes.ledger.write(record.model_copy(update={"pipeline": "another"}))


def without_numbers(voxels: np.ndarray) -> np.ndarray:
    """NaN in place of all voxels; of objects, which are never NaN, other ones."""
    return np.full_like(voxels, np.nan) if voxels.dtype.kind == "f" else voxels + 1


SPOILT: dict[str, Callable[[Job], None]] = {
    "missing": lambda job: job.block().unlink(),
    "damaged": lambda job: truncate(0.5)(job.block()),
    "zero": change(np.zeros_like),
    "nan": change(without_numbers),
    "stale": change(lambda voxels: voxels[::-1]),
    "of another pipeline": do_with_another_pipeline,
}
AMONG_IDS = ("zero", "nan")  # there, the voxels are other ones, and nothing else is wrong
OTHERWISE = {"of another pipeline": "stale"}


def test_verify_finds_each_kind_of_spoilt_block(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, out, kept = Job(tmp_path, store), tmp_path / "out", tmp_path / "kept"
    assert job.boxes.verify(capsys)[0] == 0
    assert job.boxes.left_out(capsys) == 2
    shutil.copytree(out, kept)
    for spoilt, spoil in SPOILT.items():
        spoil(job)
        status, report = job.boxes.verify(capsys)
        kind = OTHERWISE.get(spoilt, spoilt)
        if store.holds_ids_only and kind in AMONG_IDS:
            kind = "stale"
        assert (status, report["wrong"]) == (1, 1), spoilt
        assert {problem["box"] for problem in report["problems"]} == {FIRST}, spoilt
        assert {problem["kind"] for problem in report["problems"]} == {kind}, spoilt
        assert job.boxes.left_out(capsys) == 1, spoilt
        shutil.rmtree(out)
        shutil.copytree(kept, out)
        job.open()
    assert job.boxes.verify(capsys)[0] == 0


def test_its_ledger_is_beside_it_and_tells_the_status(
    store: Store, tmp_path: Path, client: Any, queue: Queue
) -> None:
    job = Job(tmp_path, store)
    assert PipelineFile.load(job.boxes.file).ledger_path == job.boxes.ledger.path
    status = job_status(client, queue, job.boxes.ledger)
    assert (status.done, status.total, status.failed) == (2, 2, 0)


def test_a_link_shows_it_beside_the_image(
    store: Store, tmp_path: Path, aws: dict[str, str], unique_name: str
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    boxes, address = TwoBoxes(tmp_path), store.address(f"s3://{unique_name}/out")
    create(address, store)
    load, save = boxes.load(), {"op": "save-volume", "volume_path": address}
    link = view_link(PipelineFile(boxes.file, [load, save], {}))
    page, _, state = link.partition("#!")
    assert page == "https://neuroglancer-demo.appspot.com/"
    assert json.loads(unquote(state))["layers"] == [
        {
            "name": "out",
            "type": "segmentation" if store.holds_ids_only else "image",
            "source": f"s3+{aws['AWS_ENDPOINT_URL']}/{unique_name}/out|{store.source}:",
        }
    ]
    # TensorStore takes the same addresses, of arrays, and reads a web server as the page does.
    job = Job(tmp_path, store)
    level = job.volume.path.partition("/out/")[2]
    with web_server(tmp_path) as server:
        source = f"{server.address}/out/|{store.source}:{level}"
        assert tensorstore.open(source).result().read().result().any()
