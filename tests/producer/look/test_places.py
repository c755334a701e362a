from __future__ import annotations

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.archive.ledger import ArchivedLedger
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.job_record import JobRecord
from producer.look import places as module
from producer.look.places import Place
from producer.look.survey import places_of
from producer.repair.archive import Packer
from tests.support.records import task_record

GRID = Grid(chunk_size=(4, 4, 4), grid_size=(2, 3, 5))
BOXES = GRID.boxes()
NAMES = [str(box) for box in BOXES]


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("as_list", [False, True])
def test_each_box_has_its_records(
    path: str, few: int, as_list: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FEW", few)
    ledger = ArchivedLedger(path)
    ledger.write(task_record(NAMES[0]))
    packer = Packer(ledger, JobRecord(job="j", queue="q", tasks=30, grid=GRID.model_dump()))
    packer.pack()
    packer.delete_records()
    for name in (NAMES[1], NAMES[29]):
        ledger.write(task_record(name))
    ledger.write(task_record(NAMES[2], "failed"))
    ledger.write_late(task_record(NAMES[1]).model_copy(update={"worker": "b", "pipeline": "p"}))
    places = places_of(ArchivedLedger(path), [*BOXES] if as_list else BOXES)
    assert [place for place in map(places.of, NAMES) if place != Place()] == [
        Place(archived=True),
        Place(own=True),
        Place(failed=True),
        Place(own=True),
    ]
    assert places.late == {NAMES[1]}
    assert places.of(str(BoundingBox.parse("90-94_0-4_0-4"))) == Place()
