from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sent_note import SentNote

NOTE = SentNote(queue="q", run="0" * 32, sent=2, until=5, total=8)


def boxes(**options: int) -> Boxes:
    return Grid(chunk_size=Vec3(2, 2, 2), grid_size=Vec3(2, 2, 2), **options).boxes()


def test_each_part_of_a_job_has_its_note(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    assert ledger.sent_note("j", boxes()) is None
    ledger.note_sent("j", boxes(), NOTE)
    assert ledger.sent_note("j", boxes()) == NOTE
    assert ledger.sent_note("j", boxes(task_index_start=1)) is None
    assert ledger.sent_note("other", boxes()) is None
    assert ledger.jobs() == []
    assert not ledger.has_jobs()


@pytest.mark.parametrize("fields", [{"sent": 6}, {"until": 9}, {"sent": -1}, {"run": "../x"}])
def test_what_cannot_be_a_note_counts_for_none(fields: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        SentNote.model_validate(NOTE.model_dump() | fields)
    ledger = Ledger(str(tmp_path))
    ledger.note_sent("j", boxes(), NOTE.model_copy(update=fields))
    assert ledger.sent_note("j", boxes()) is None


def test_a_note_is_complete_when_all_were_sent() -> None:
    assert not NOTE.is_complete
    assert NOTE.model_copy(update={"sent": 8, "until": 8}).is_complete
