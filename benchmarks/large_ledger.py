"""What does it cost to look at a job of a million boxes, before and after its records are archived?

The job is made up: each box has a record and a block. The S3 is one of the benchmarks, which
answers in constant time and shares the processors. Commands are run as users run them.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.constant_s3 import BUCKET, constant_s3
from benchmarks.made_up_job import LEDGER, MadeUpJob
from benchmarks.table import markdown, record
from chunkflow_worker.job.archive.ledger import ArchivedLedger
from producer.look.survey import Survey

COMMANDS: Sequence[tuple[str, Sequence[str]]] = (
    ("verify --quick", ("verify", "--quick")),
    ("enqueue --skip-done", ("enqueue", "--skip-done")),
    ("archive", ("archive",)),
    ("archive --delete-records", ("archive", "--delete-records")),
    ("verify --quick, archived", ("verify", "--quick")),
    ("enqueue --skip-done, archived", ("enqueue", "--skip-done")),
)
_HEAD = ["Look", "s", "CPU s", "more memory or peak, MB", "requests: list", "get", "other"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, help="has no effect")
    parser.add_argument("--side", type=int, default=100, help="boxes along each axis")
    parser.add_argument("--storage", choices=["disk", "s3"], help="only this one")
    parser.add_argument("--write", action="store_true", help="also write to RESULTS.md")
    given = parser.parse_args()
    side, count = given.side, given.side**3
    text = (
        f"A job of {count:,} boxes, all done, each with a record of 1.4 kB and a block. The memory "
        "is what a look of `status` adds, and the peak of the other commands.\n"
    )
    if given.storage != "s3":
        with tempfile.TemporaryDirectory() as name:
            job = MadeUpJob(side, f"file://{name}/out")
            job.write(Path(name, "out"))
            text += "\nLocal disk, files just written and so mostly in memory:\n"
            text += f"\n{markdown(_HEAD, [*figures(job, None)])}\n"
    if given.storage != "disk":
        with constant_s3(side) as log:
            job = MadeUpJob(side, f"s3://{BUCKET}/out")
            text += f"\nS3:\n\n{markdown(_HEAD, [*figures(job, log)])}\n"
    record(f"Looking at a job of {count:,} boxes", text.rstrip(), [], given.write)


def figures(job: MadeUpJob, log: Path | None) -> Iterator[list[str]]:
    yield from status(job, log, "")
    for title, command in COMMANDS:
        yield run(job, log, title, command)
    yield from status(job, log, ", archived")


def status(job: MadeUpJob, log: Path | None, when: str) -> Iterator[list[str]]:
    """The looks of `status --watch` at the ledger, in this process."""
    survey = Survey(ArchivedLedger(f"{job.path}/{LEDGER}"), job.boxes)
    for look in ("first", "second"):
        peak, before, began = _peak(), _requests(log), (time.perf_counter(), time.process_time())
        found = survey.look()
        took = (time.perf_counter() - began[0], time.process_time() - began[1])
        assert found.done == len(job.boxes), found
        yield _row(f"status, {look} look{when}", *took, _peak() - peak, log, before)


def run(job: MadeUpJob, log: Path | None, title: str, command: Sequence[str]) -> list[str]:
    """Run a command of the producer."""
    line = [*command, "--ledger", f"{job.path}/{LEDGER}"]
    if "enqueue" in command:
        sizes = [str(n) for n in (*job.boxes.chunk_size, "--grid-size", *job.boxes.grid_size)]
        line += ["--dry-run", "--queue", "q", "--chunk-size", *sizes]
    before, began = _requests(log), time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "producer", *line],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), n) for n in (1, 2)],
        )
        _, status, usage = os.wait4(child, 0)
        output.seek(0)
        said = output.read().decode()
    if status:
        raise RuntimeError(f"{title} ended with {status}: {said[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return _row(title, time.perf_counter() - began, cpu, usage.ru_maxrss * 1024, log, before)


def _row(
    title: str, seconds: float, cpu: float, memory: int, log: Path | None, before: Counter[str]
) -> list[str]:
    requests = _requests(log) - before
    other = requests.total() - requests["LIST"] - requests["GET"]
    counts = [str(n) for n in (requests["LIST"], requests["GET"], other)] if log else [""] * 3
    print(title, f"{seconds:.2f} s", dict(requests), flush=True)
    return [title, f"{seconds:.2f}", f"{cpu:.2f}", f"{memory / 1e6:.0f}", *counts]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _requests(log: Path | None) -> Counter[str]:
    return Counter(log.read_text().split()) if log else Counter()


if __name__ == "__main__":
    main()
