"""A failed read or write costs an attempt; the next one leaves the bytes of a calm run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chunkflow_worker.volumes.precomputed.volume as precomputed
from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.handler import Handler
from chunkflow_worker.service.patience import Patience
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.flaky_volume import FlakyVolume

BOX = BoundingBox.parse("0-16_0-32_0-32")
MESSAGE = TaskMessage(job="job", bbox=str(BOX))


class Rig:
    """A handler whose chain copies `in` to `out`, through volumes that fail as told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self._monkeypatch = folder, monkeypatch
        for name in ("in", "out"):
            path = f"file://{folder}/{name}"
            create_volume(
                path, bounds=BOX, voxel_size=(40, 8, 8), block_size=Vec3(8, 16, 16), dtype="uint8"
            )
        noise = np.random.default_rng(0).integers(1, 255, BOX.size, np.uint8)
        PrecomputedVolume(f"file://{folder}/in").write(BOX, noise)

    def handler(self, patient: bool = False, **failing: Any) -> Handler:
        def flaky(path: str, *options: Any, **more: Any) -> FlakyVolume:
            return FlakyVolume(PrecomputedVolume(path, *options, **more), **failing)

        with self._monkeypatch.context() as patch:
            patch.setattr(precomputed, "PrecomputedVolume", flaky)
            operators = [
                {"op": "load-precomputed", "volume_path": f"file://{self.folder}/in"},
                {"op": "save-precomputed", "volume_path": f"file://{self.folder}/out"},
            ]
            opened = Pipeline.parse({"operators": operators}).open(recorded=True)
            chain = opened.__enter__()
        ledger = Ledger(f"file://{self.folder}/log")
        patience = Patience(ledger.path, []) if patient else None
        return Handler(chain, "", ledger, "worker", 3, patience=patience)

    def blocks(self) -> dict[str, str]:
        """Digests of the output's files."""
        files = (self.folder / "out").glob("*/*_*_*")
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    return Rig(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "failing", [{"reads": [1]}, {"writes": [1]}, {"writes": [1], "halfway": False}]
)
def test_a_second_attempt_gives_the_bytes_of_a_calm_run(rig: Rig, failing: dict[str, Any]) -> None:
    rig.handler().handle(Delivery(MESSAGE, "id-1", 1))
    calm = rig.blocks()
    assert len(calm) == 8
    for file in (rig.folder / "out").glob("*/*_*_*"):
        file.unlink()
    rig.handler().ledger.remove(BOX)

    handler = rig.handler(**failing)
    with pytest.raises(StorageUnavailable, match="made to fail at"):
        handler.handle(Delivery(MESSAGE, "id-2", 1))
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.final) == ("failed", False)
    handler.handle(Delivery(MESSAGE, "id-2", 2))
    assert rig.blocks() == calm
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.attempts, record.error) == ("done", 2, "")
    assert record.bytes_read == record.bytes_written == BOX.voxels, (
        "the failed attempt counts no bytes"
    )


def test_a_patient_worker_spends_no_attempt_on_a_single_failure(rig: Rig) -> None:
    handler = rig.handler(patient=True, writes=[1])
    handler.handle(Delivery(MESSAGE, "id-1", 1))
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.attempts, record.bytes_written) == ("done", 1, BOX.voxels)


def test_a_box_that_always_fails_is_recorded_as_its_own_fault(rig: Rig) -> None:
    handler = rig.handler(patient=True, reads=range(100))
    for attempt in (1, 2, 3):
        with pytest.raises(StorageUnavailable):
            handler.handle(Delivery(MESSAGE, "id-1", attempt))
    record = handler.ledger.read(BOX)
    assert record is not None
    assert (record.state, record.attempts, record.final) == ("failed", 3, True)
