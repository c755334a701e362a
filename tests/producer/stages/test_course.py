"""All stages come to their ends: what is shown meanwhile, and what is done only once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue
from producer.plan.pipeline_file import PipelineFile
from producer.stages.course import Course
from producer.stages.stage_run import StageRun, StageView
from tests.support.records import task_record

BOX = "0-1_0-1_0-1"


class Job:
    """A job of the stages masks, which is verified, and copy; each has one box."""

    def __init__(self, folder: Path, client: Any, queue: Queue, *, needs: list[str]):
        self._client, self._queue, self.verdict = client, queue, ""
        self.verified: list[str] = []
        grid = {"op": "generate-tasks", "chunk_size": [1, 1, 1], "grid_size": [1, 1, 1]}
        stage = {"tasks": grid, "operators": [{"op": "create-chunk"}]}
        stages = [
            {"name": "masks", "verify": True} | stage,
            {"name": "copy", "needs": needs} | stage,
        ]
        (folder / "em.yaml").write_text(yaml.safe_dump({"stages": stages}))
        self._files = PipelineFile.load_all(folder / "em.yaml")
        self.ledgers = {
            name: Ledger(f"{folder}/{name}", to_write=True) for name in ("masks", "copy")
        }

    def runs(self, *chosen: str) -> list[StageRun]:
        return [
            StageRun(
                file,
                self.ledgers[file.stage.name],
                "em",
                self._client,
                self._queue,
                None,
                60,
                self._verify,
                may_send=file.stage.name in chosen,
            )
            for file in self._files
        ]

    def do(self, stage: str) -> None:
        """What a worker does."""
        self.ledgers[stage].write(task_record(BOX, job=f"em.{stage}"))

    def _verify(self, file: PipelineFile, ledger: Ledger, record: JobRecord) -> str:
        self.verified.append(record.job)
        return self.verdict


@pytest.fixture
def make_job(tmp_path: Path, client: Any, queue: Queue) -> Callable[..., Job]:
    return lambda needs: Job(tmp_path, client, queue, needs=needs)


def follow(runs: list[StageRun], *steps: Callable[[], None]) -> tuple[list[StageView], list[str]]:
    """How the stages have ended, and which were shown. steps: what happens between the looks."""
    left, shown = list(steps), list[str]()
    ended = Course(runs, lambda: left.pop(0)()).follow(lambda view: shown.append(view.name))
    assert left == []
    return ended, shown


def test_of_what_may_not_be_sent_nothing_is_shown(make_job: Callable[..., Job]) -> None:
    """Also while it is verified: a terminal has no bar for it."""
    job = make_job(["masks"])
    (masks, _) = job.runs("masks")
    follow([masks], lambda: job.do("masks"))
    job.verified.clear()
    job.ledgers["masks"].files.delete("jobs/em.masks.verified")
    ended, shown = follow(job.runs("copy"), lambda: job.do("copy"))
    assert [(view.name, view.state) for view in ended] == [("copy", "done")]
    assert {*shown} == {"copy"}
    assert job.verified == ["em.masks"]


def test_wrong_output_is_not_read_again_while_other_stages_run(
    make_job: Callable[..., Job],
) -> None:
    job = make_job([])
    job.verdict = "verify: 1 wrong"
    steps = [lambda: job.do("masks"), lambda: None, lambda: None, lambda: job.do("copy")]
    ended, _ = follow(job.runs("masks", "copy"), *steps)
    assert [(view.state, view.note) for view in ended] == [
        ("failed", "verify: 1 wrong"),
        ("done", ""),
    ]
    assert job.verified == ["em.masks"]


def test_looks_that_fail_are_repeated_and_the_fifth_in_a_row_ends_it(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job([])
    runs = job.runs("masks", "copy")
    answers = [*[StorageUnavailable("away")] * 4, None, *[StorageUnavailable("away")] * 5]
    step = StageRun.step

    def look(run: StageRun, show: Callable[[StageView], None]) -> StageView:
        if run is runs[0] and (error := answers.pop(0)):
            raise error
        return step(run, show)

    monkeypatch.setattr(StageRun, "step", look)
    with pytest.raises(StorageUnavailable, match="away"):
        Course(runs, lambda: None).follow(lambda view: None)
    assert answers == []
