from __future__ import annotations

from pathlib import Path

from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage
from producer.look.dead_letters import DeadLetter
from producer.look.failures import (
    DONE,
    MALFORMED,
    NO_LEDGER,
    UNRECORDED,
    Failure,
    causes,
    reproduce_command,
)
from tests.support.records import task_record

BOXES = [f"{z}-{z + 2}_0-2_0-2" for z in range(-2, 260, 2)]


def letter(box: str) -> DeadLetter:
    return DeadLetter(Delivery(TaskMessage(job="j", bbox=box), f"id-{box}"))


def test_letters_are_grouped_by_cause_the_most_frequent_first(ledger: Ledger) -> None:
    large, killed, late, *missing = BOXES
    ledger.write(task_record(large, "failed", error="out of memory"))
    ledger.write(task_record(late))
    for number, box in enumerate(missing):
        ledger.write(task_record(box, "failed", error=f"load on {box}: {number} blocks"))
    malformed = DeadLetter(None, "id: not JSON")
    grouped = causes([*map(letter, BOXES), malformed], ledger)
    assert {cause.text: [failure.box for failure in cause.failures] for cause in grouped} == {
        "load on <box>: # blocks": sorted(missing),
        "out of memory": [large],
        UNRECORDED: [killed],
        DONE: [late],
        MALFORMED: [""],
    }
    assert [len(cause.failures) for cause in grouped] == [len(missing), 1, 1, 1, 1]
    texts = [cause.text for cause in grouped[1:]]
    assert texts == sorted(texts)
    (failure,) = next(cause for cause in grouped if cause.text == MALFORMED).failures
    assert failure == Failure("", "", "id: not JSON")


def test_a_failure_has_what_the_ledger_says_of_the_last_attempt(ledger: Ledger) -> None:
    box = BOXES[0]
    time = "2026-01-01T00:00:00+00:00"
    fields = {"attempts": 3, "worker": "w-7", "finished": time, "log": ["loading", "slow"]}
    ledger.write(task_record(box, "failed", error="out of memory", **fields))
    (cause,) = causes([letter(box)], ledger)
    log = ("loading", "slow")
    assert cause.failures == (Failure(box, "j", "out of memory", 3, "w-7", time, log),)


def test_without_a_ledger_the_cause_is_unknown() -> None:
    (cause,) = causes([letter(BOXES[0])], None)
    assert (cause.text, cause.failures) == (NO_LEDGER, (Failure(BOXES[0], "j", ""),))


def test_no_letters_have_no_cause(ledger: Ledger) -> None:
    assert causes([], ledger) == []


def test_the_command_that_reproduces_a_failure_is_quoted() -> None:
    command = reproduce_command("-2-0_0-2_0-2", Path("my chain.yaml"))
    assert "--pipeline 'my chain.yaml' " in command
    assert command.endswith(" --bounding-box=-2-0_0-2_0-2")
    assert "--pipeline PIPELINE.yaml " in reproduce_command("0-2_0-2_0-2", None)
