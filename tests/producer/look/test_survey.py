from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.ledger import Ledger
from producer.look import survey as module
from producer.look.survey import Survey
from tests.support.records import task_record

GRID = Vec3(4, 3, 5)
BOXES = Boxes(Vec3(-2, 0, 0), Vec3(2, 2, 2), GRID, None, 0, GRID.product)
NAMES = [str(box) for box in BOXES]
LAYER = GRID.y * GRID.x

# The fixture `path` gives each kind of storage. Most of these tests ask nothing of it.
in_memory = pytest.mark.parametrize("path", ["mem"], indirect=True)


@pytest.fixture
def ledger(path: str) -> Ledger:
    return Ledger(path)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes that were listed."""
    prefixes: list[str] = []
    names = Ledger.records_named

    def noting(self: Ledger, prefix: str = "") -> Iterator[Any]:
        prefixes.append(prefix)
        return names(self, prefix)

    monkeypatch.setattr(Ledger, "records_named", noting)
    monkeypatch.setattr(module, "_IN_PART", LAYER)
    return prefixes


def do(ledger: Ledger, names: list[str]) -> None:
    for name in names:
        ledger.write(task_record(name))


def test_records_count_by_their_kind(ledger: Ledger) -> None:
    survey = Survey(ledger, BOXES)
    assert survey.look() == (0, 0, 0, ())
    do(ledger, NAMES[:4])
    do(ledger, NAMES[3:5])  # the fourth again
    for name in (NAMES[4], NAMES[5], "90-92_0-2_0-2"):
        ledger.write(task_record(name, "failed"))
    ledger.write_late(task_record(NAMES[1]).model_copy(update={"worker": "b", "pipeline": "p"}))
    ledger.write_late(task_record(NAMES[9]))  # not done
    ledger.files.put_json("-2-0_0-2.json", {})
    ledger.files.put_json("info", {})
    assert survey.look() == (5, 1, 1, (NAMES[1],))


@in_memory
def test_what_is_done_is_sampled(ledger: Ledger) -> None:
    done = [*NAMES[1:3], *NAMES[-4:]]
    do(ledger, done)
    survey = Survey(ledger, BOXES)
    survey.look()
    assert sorted(survey.sample(100)) == sorted(done)
    assert len(set(survey.sample(4)) & set(done)) == 4
    assert survey.sample(0) == []


@in_memory
def test_boxes_that_a_mask_left_out_do_not_count(ledger: Ledger, listed: list[str]) -> None:
    chosen = np.arange(len(BOXES)) % 3 == 0
    chosen[:LAYER] = False
    survey = Survey(ledger, ChosenBoxes.of(BOXES, chosen))
    assert survey.look().done == 0
    do(ledger, NAMES[::2])
    wanted = [name for name, is_chosen in zip(NAMES, chosen, strict=True) if is_chosen]
    done = set(wanted) & set(NAMES[::2])
    assert survey.look().done == len(done)
    assert set(survey.sample(100)) == done
    do(ledger, wanted)
    assert survey.look().done == len(wanted)


@pytest.mark.parametrize("path", ["s3", "mem"], indirect=True)
def test_parts_that_are_done_are_not_listed_again(
    ledger: Ledger, listed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUESTS", 2)
    survey, layers = Survey(ledger, BOXES), ["-2-0_", "0-2_", "2-4_", "4-6_"]
    do(ledger, NAMES[LAYER : 2 * LAYER])
    assert survey.look().done == LAYER
    assert sorted(listed) == sorted(layers)
    listed.clear()
    for _ in range(3):  # two of the three at a time, in turn
        survey.look()
    assert sorted(listed) == sorted(2 * ["-2-0_", "2-4_", "4-6_"])
    listed.clear()
    do(ledger, NAMES)
    looks = [survey.look().done for _ in range(2)]
    assert looks == [3 * LAYER, 4 * LAYER]
    assert listed.count("0-2_") == 1, "only when all seems to be done"
    listed.clear()
    assert {survey.look().done for _ in range(4)} == {4 * LAYER}
    assert sorted(listed) == sorted(2 * layers), "two of four at a time, once all is done"
    ledger.remove(NAMES[0])
    looks = [survey.look().done for _ in range(2)]
    assert looks[-1] == 4 * LAYER - 1


@in_memory
def test_records_that_were_removed_are_missed_at_the_end(ledger: Ledger, listed: list[str]) -> None:
    survey = Survey(ledger, BOXES)
    do(ledger, NAMES[:LAYER])
    assert survey.look().done == LAYER
    ledger.remove(NAMES[0])
    do(ledger, NAMES[LAYER:])
    assert survey.look().done == len(NAMES) - 1
    do(ledger, NAMES[:1])
    assert survey.look().done == len(NAMES)
