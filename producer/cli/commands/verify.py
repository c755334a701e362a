"""``chunkflow-producer verify``"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chunkflow_worker.report.say import say, say_json
from producer.cli.options import (
    job_option,
    ledger_option,
    open_queue,
    pipeline_option,
    require_ledger,
    sqs_client,
)

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import JobRecord, Ledger
    from producer.look.nets import Net
    from producer.look.problem import Kind, Problem
    from producer.look.verify import Verifier
    from producer.repair.resend import Resend

_EXAMPLES = 10  # shown per kind of problem
_READ = ": nothing is wrong"
_QUICK = ", and look as their records say; verify without --quick reads them"


@click.command()
@pipeline_option
@ledger_option
@job_option
@click.option(
    "--quick",
    is_flag=True,
    help="Check only that the blocks exist and have the times in the records; read no voxels, "
    "except where a task wrote nothing.",
)
@click.option(
    "--allow-zeros",
    is_flag=True,
    help="Accept zero blocks that a task itself wrote, for example in masks and thresholds.",
)
@click.option(
    "--net",
    default="",
    help="Digest of a model, weights or plugin file, as records hold it: boxes of another are "
    "wrong.",
)
@click.option(
    "--enqueue",
    is_flag=True,
    help="Send the boxes that are wrong to --queue, and remove their records. Boxes that could "
    "not be read or checked are not sent.",
)
@click.option(
    "--queue",
    envvar="CHUNKFLOW_QUEUE",
    show_envvar=True,
    help="Name of the SQS queue; by default, the queue of the job.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Number of boxes that are checked, and held in memory, at the same time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every problem.")
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    quick: bool,
    allow_zeros: bool,
    net: str,
    enqueue: bool,
    queue: str | None,
    threads: int,
    as_json: bool,
) -> None:
    """Read the output of a job and report what is wrong.

    Finds blocks that are missing, damaged, NaN, zero by mistake, or different from what their task
    left. Workers record a checksum of each block that they store, and the places where they wrote
    nothing; verify reads the blocks back and compares. In images, it also reports blocks that are
    zero where the input of the job is not. Records hold digests of the files of nets and plugins,
    so verify also tells when boxes come from different ones. Files and objects are compared by
    size and checksum, and those of an earlier run are found by the names that only a box has.

    Boxes whose records say nothing that can be compared are listed as not checked. Blocks that
    storage does not give, although it gives others, are listed as unreadable, and the rest is
    checked.

    The exit status is 0 when everything was compared and nothing is wrong, or when all wrong boxes
    were enqueued; 3 when nothing is known to be wrong, but some boxes were not checked or
    unreadable; otherwise, or when boxes come from different nets or plugins and no --net is given,
    it is 1.
    """
    from producer.look.job import require_job
    from producer.look.verify import Verifier
    from producer.look.volumes import input_of
    from producer.plan.pipeline_file import PipelineFile, written_paths

    records = require_ledger(pipeline, ledger, needed_by="verify")
    record = require_job(records, job)
    file = PipelineFile.load(pipeline) if pipeline else None
    verifier = Verifier(
        record.pipeline,
        input_of(file),
        quick=quick,
        allow_zeros=allow_zeros,
        net=net,
        paths=written_paths(file, records),
    )
    if file is None and not quick:
        say("note: zero blocks are compared with the input only with --pipeline", err=True)
    with redirect_stdout(io.StringIO()):  # CloudVolume prints blocks that it cannot decode
        problems = list(_find_problems(records, record, verifier, threads, quiet=as_json))
    if not quick:
        _forget(records, verifier.right_though_late)
    found = [problem for problem in problems if problem.is_wrong]
    enqueued = 0
    if enqueue and found:
        enqueued = _enqueue(records, record, queue or record.queue, found)
    report = _Report(
        record.job,
        record.tasks,
        wrong=len({problem.box for problem in found}),
        not_checked=_boxes_of(problems, "not-checked"),
        unreadable=_boxes_of(problems, "unreadable"),
        enqueued=enqueued,
        problems=problems,
        nets=verifier.nets.found(),
        seen=verifier.tally.counts(),
    )
    mixed = len(report.nets) > 1 and not net
    if as_json:
        say_json(asdict(report))
    else:
        _show(report, allow_zeros, "" if mixed else _QUICK if quick else _READ)
        if mixed:
            _show_nets(record, report.nets)
        elif report.wrong and not enqueue:
            say("", "to send the wrong boxes to the queue again, add --enqueue")
    unknown = report.not_checked or report.unreadable
    ctx.exit(1 if enqueued != report.wrong or mixed else 3 if unknown else 0)


def _forget(ledger: Ledger, boxes: list[str]) -> None:
    """Remove the notes of late writes on boxes that were read and are right."""
    from chunkflow_worker.errors import StorageUnavailable

    with suppress(StorageUnavailable):  # who verifies may perhaps not write
        for box in boxes:
            ledger.forget_late(box)


@dataclass(frozen=True)
class _Report:
    """What --json prints.

    boxes, wrong, not_checked, unreadable, enqueued: numbers of boxes, which may be in several.
    nets: of boxes. seen: numbers of blocks, by what was compared, see `Tally`.
    """

    job: str
    boxes: int
    wrong: int
    not_checked: int
    unreadable: int
    enqueued: int
    problems: list[Problem]
    nets: list[Net]
    seen: dict[str, int]


def _boxes_of(problems: list[Problem], kind: Kind) -> int:
    return len({problem.box for problem in problems if problem.kind == kind})


def _find_problems(
    ledger: Ledger, job: JobRecord, verifier: Verifier, threads: int, *, quiet: bool
) -> Iterator[Problem]:
    from chunkflow_worker.report.progress import progress
    from producer.look.verify import verify

    boxes, wrong = job.boxes(), 0
    with nullcontext() if quiet else progress(len(boxes), "verified") as show:
        for count, problems in enumerate(verify(ledger, boxes, verifier, threads), 1):
            wrong += any(problem.is_wrong for problem in problems)
            if show:
                show(count, f"{wrong} wrong" if wrong else "")
            yield from problems


def _enqueue(ledger: Ledger, job: JobRecord, queue: str, problems: list[Problem]) -> int:
    """Send the boxes with a problem, except those that may still have a message.

    Returns the number of boxes that were sent.
    """
    from producer.cli.send_boxes import send_boxes
    from producer.look.status import job_status
    from producer.repair.resend import choose_boxes

    client = sqs_client()
    target = open_queue(client, queue)
    resend = choose_boxes(problems, job_status(client, target))
    for box in resend.wrong:
        ledger.remove(box)
    _explain_withheld(resend, queue)
    count = len(resend.boxes)
    send_boxes(
        client,
        target,
        job,
        resend.boxes,
        count,
        how_to_resume=lambda sent: "to send the rest, repeat the command",
    )
    say(f"enqueued {count} tasks of job {job.job} to queue {queue}", err=True)
    return count


def _explain_withheld(resend: Resend, queue: str) -> None:
    if not resend.withheld:
        return
    if resend.found_in == "queue":
        reason = f"queue {queue} still has messages, which may be for them"
    else:
        reason = (
            f"queue {queue} has dead letters, which may be for them; "
            f"send those back with: chunkflow-producer redrive --queue {queue}"
        )
    say(f"unfinished boxes that were not sent: {len(resend.withheld)}; {reason}", err=True)


def _show(report: _Report, allow_zeros: bool, right: str) -> None:
    """right: what is said if there is no problem."""
    from chunkflow_worker.report.progress import boxes_text
    from producer.look.problem import KINDS

    job = f"of {report.boxes} boxes of job {report.job}"
    if report.problems:
        say(
            f"{report.wrong} {job} are wrong, {report.not_checked} not checked, "
            f"{report.unreadable} unreadable"
        )
    else:
        say(f"all {report.boxes} boxes of job {report.job} are done{right}")
    for what, count in report.seen.items():
        say(f"{what}: {count}")
    for kind, meaning in KINDS.items():
        of_kind = [problem for problem in report.problems if problem.kind == kind]
        if of_kind:
            count = _boxes_of(of_kind, kind)
            _show_kind(f"{kind}, in {boxes_text(count)}: {meaning}", of_kind)
    if _boxes_of(report.problems, "zero") and not allow_zeros:
        say("", "if zeros are right in this output (masks, thresholds), add --allow-zeros")


def _show_nets(job: JobRecord, nets: list[Net]) -> None:
    from producer.look.nets import net_lines

    say("", f"boxes of job {job.job} come from {len(nets)} nets or plugins:")
    for line in net_lines(nets):
        say(f"  {line}")
    say("to do the boxes of the others again: --net DIGEST --enqueue, with that to keep")


def _show_kind(title: str, problems: list[Problem]) -> None:
    say("", title)
    for problem in problems[:_EXAMPLES]:
        parts = [problem.box, _place(problem), problem.detail]
        say("  " + "  ".join(filter(None, parts)))
    if len(problems) > _EXAMPLES:
        say(f"  and {len(problems) - _EXAMPLES} more; --json lists all")


def _place(problem: Problem) -> str:
    """The volume, its first bad block, and how many more there are."""
    if not problem.blocks:
        return problem.volume
    more = f" and {len(problem.blocks) - 1} more" if len(problem.blocks) > 1 else ""
    return f"{problem.volume}: {problem.blocks[0]}{more}"
