"""A ledger that a stranger may write to ends no command, and opens nothing but the job's volume."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.job.record import Record, Written
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.job.state import JobState
from chunkflow_worker.job.written_paths import WrittenPaths
from chunkflow_worker.local_aws.stub_sqs import StubSqs
from chunkflow_worker.report.say import say, say_json
from chunkflow_worker.service.breaker import Breaker
from chunkflow_worker.service.control import Control
from chunkflow_worker.service.jobs import Jobs
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.precomputed import volume as precomputed
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import checksum
from producer.cli.status_table import show_table
from producer.look.failures import without_letter
from producer.look.job import find_job
from producer.look.jobs import job_rows
from producer.look.nets import net_lines
from producer.look.status import job_status
from producer.look.verify import Verifier, verify
from producer.repair.redrive import matcher
from tests.support.mutated import mutated
from tests.support.queues import make_queue

SIZE = Vec3(4, 8, 8)
WHOLE = BoundingBox.sized((0, 0, 0), (4, 8, 16))
BOX, OTHER = (str(BoundingBox.sized((0, 0, x), SIZE)) for x in (0, 8))
MOST_BYTES = 2**30  # by which the memory of the process may grow

JOB = JobRecord(
    job="j",
    queue="q",
    tasks=2,
    grid={"roi_stop": list(WHOLE.stop), "chunk_size": list(SIZE), "volume_path": "mem://x/in"},
    enqueued="2026-01-01T00:00:00.000+00:00",
)
STATE = JobState.now("paused", "me", "a look")
NOW = datetime.now(UTC).isoformat()
RECORD = {
    "bbox": BOX, "job": "j", "task_id": "t", "state": "done", "attempts": 1, "worker": "w",
    "compute_device": "CPU", "precision": "fp32", "models": {"inference.weights": "abc"},
    "patches": 3, "timer": {"load": 1.5}, "seconds": 2.5, "voxels": 256, "started": NOW,
    "finished": NOW, "clipped": [{"operator": "quantize", "values": 1, "of": 256}],
    "versions": {"numpy": "2"}, "error": f"no luck on {BOX}", "log": ["a line"], "final": False,
    "written": [],
}  # fmt: skip


class Attacked:
    """A job of two boxes, one of them done, with its queue in memory."""

    def __init__(self, folder: Path) -> None:
        self.volume = f"file://{folder}/out"
        self.files = Files(f"{self.volume}/log")
        self.jobs = Files(f"{self.volume}/log/jobs")
        self.states = Files(f"{self.volume}/log/states")
        self.ledger = Ledger(self.files.path)
        self.sqs = StubSqs()
        self.queue: Queue = make_queue(self.sqs)
        self.opened: set[str] = set()
        options: dict[str, Any] = {"bounds": WHOLE, "voxel_size": (1, 1, 1), "block_size": SIZE}
        create_volume(self.volume, dtype="uint8", **options)
        ones = np.ones(WHOLE.size, np.uint8)
        PrecomputedVolume(self.volume).write(WHOLE, ones)
        written = Written(self.volume, 0, BOX, checksum(ones[:, :, :8]))
        self.record = RECORD | {"written": [vars(written)]}
        self.paths = WrittenPaths([self.volume])

    def reset(self) -> None:
        """The ledger as workers and producer leave it."""
        for files in (self.files, self.jobs, self.states):
            for name in files.list():
                if name.endswith(".json"):
                    files.delete(name)
        self.ledger.write_job(JOB)
        self.ledger.write(Record.model_validate(self.record))
        failed = {"bbox": OTHER, "state": "failed", "written": []}
        self.ledger.write(Record.model_validate(self.record | failed))
        self.ledger.states.write("j", STATE)

    def look(self) -> None:
        """All that reads the ledger. What can't be read is an error of ours, which names it."""
        _or_error(lambda: find_job(self.ledger, None))
        _or_error(lambda: Jobs(self.ledger, pause=lambda _: None).check("j", WHOLE))
        _or_error(lambda: say_json([asdict(row) for row in job_rows(self.ledger)]))
        control = Control(self.ledger.states)
        assert 5 <= control.state("j").delay_seconds() <= 900
        breaker = Breaker(control, self.ledger, "w", failures=1)
        breaker.failed("j", BOX, "x")
        self.ledger.is_done(BOX, "t")
        for sample in (0, 100):
            _or_error(partial(self._show_status, sample))
        for quick in (False, True):
            _or_error(partial(self._verify, quick))
        say_json([asdict(cause) for cause in without_letter(self.ledger, None, set())])
        for error in ("no luck", "#"):
            matcher(self.ledger, error, None)(TaskMessage(job="j", bbox=OTHER))

    def _show_status(self, sample: int) -> None:
        status = job_status(self.sqs, self.queue, self.ledger, sample=sample)
        if sample:
            show_table(status)
        json.loads(
            json.dumps([status.percent, status.eta_seconds, status.clipped], allow_nan=False)
        )

    def _verify(self, quick: bool) -> None:
        job = find_job(self.ledger, "j")
        assert job is not None
        verifier = Verifier("", quick=quick, paths=self.paths)
        for count, problems in enumerate(verify(self.ledger, job.boxes(), verifier, 1)):
            say(*(f"{problem}" for problem in problems))
            if count == 100:
                break
        say(*net_lines(verifier.nets.found()))


def _or_error(look: Callable[[], object]) -> None:
    try:
        look()
    except ChunkflowError as error:
        say(str(error))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    made, init = Attacked(tmp_path_factory.mktemp("attacked")), PrecomputedVolume.__init__

    def spy(self: PrecomputedVolume, path: str, *args: Any, **more: Any) -> None:
        made.opened.add(path)
        init(self, path, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precomputed.PrecomputedVolume, "__init__", spy)
        yield made


@st.composite
def attacks(draw: st.DrawFn) -> tuple[str, str]:
    """A name in the ledger, and the kind of document that stands there."""
    kind = draw(st.sampled_from(["record", "failed", "job", "job", "state"]))
    names = {
        "record": [BOX, OTHER],
        "failed": [f"{BOX}.failed", f"{OTHER}.failed", f"{BOX}.again"],
        "job": ["j", "zz"],
        "state": ["j"],
    }
    return draw(st.sampled_from(names[kind])), kind


HANG = 10_000  # milliseconds


@pytest.mark.parametrize(
    "count", [15, pytest.param(2000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_no_record_ends_or_misleads_a_command(
    attacked: Attacked, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    @given(attack=attacks(), data=st.data())
    @settings(
        max_examples=count,
        deadline=HANG,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def check(attack: tuple[str, str], data: st.DataObject) -> None:
        attacked.reset()
        name, kind = attack
        document = attacked.record
        if kind == "job":
            document = JOB.model_dump() | {"job": name}
        elif kind == "state":
            document = STATE.model_dump(mode="json")
        content = data.draw(mutated(document))
        places = {"job": attacked.jobs, "state": attacked.states}
        files = places.get(kind, attacked.files)
        files.put(f"{name}.json", content, "application/json")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        attacked.look()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_BYTES / 1024
        assert attacked.opened <= {attacked.volume}
        printed = capsys.readouterr()
        assert all(c.isprintable() or c in "\n\t" for c in printed.out + printed.err)

    check()
