"""``chunkflow-producer enqueue``"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from chunkflow_worker.config.catalog import facts_of, operator_with
from chunkflow_worker.config.commands import Command
from chunkflow_worker.config.old_words import OldWords
from chunkflow_worker.config.options import click_options, given_options
from chunkflow_worker.config.queue_name import QueueName
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.masks import Masks
from chunkflow_worker.job.order import PLAIN, Order, in_order
from chunkflow_worker.report.say import say, say_text
from producer.cli.options import (
    boxes_option,
    ledger_option,
    no_ledger,
    of_priority,
    open_queue,
    options_of,
    pipeline_option,
    priority_option,
    queue_name,
    queue_option,
    sqs_client,
)
from producer.cli.stages import of_one_stage

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.sent_note import SentNote
    from chunkflow_worker.job.written_paths import WrittenPaths
    from chunkflow_worker.job.z_curve import ZCurve
    from producer.look.problem import Kind, Problem
    from producer.plan.job import Plan
    from producer.plan.pipeline_file import PipelineFile


@click.command(cls=Command, old_words=OldWords.of(facts_of(operator_with("is_grid"))))
@of_one_stage()
@queue_option
@click.option("--job", help="Name of the job; by default, the pipeline file's name and the time.")
@pipeline_option
@ledger_option
@click.option(
    "--skip-done",
    is_flag=True,
    help="Leave out the boxes that the ledger records as done by this pipeline, if verify --quick "
    "finds their blocks as they were left.",
)
@click.option(
    "--trust-records",
    is_flag=True,
    help="With --skip-done, also leave out boxes whose output cannot be checked or read.",
)
@boxes_option
@click.option(
    "--order",
    type=click.Choice(get_args(Order)),
    default=PLAIN,
    show_default=True,
    help="Order of sending: plain (z, y, x), or along a Z-curve, so that boxes that are sent one "
    "after another lie near each other.",
)
@priority_option
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--force", is_flag=True, help="Send the boxes even if the workers will refuse them.")
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=32,
    show_default=True,
    help="Number of requests at the same time, of each process.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Number of processes that send. One sends some ten thousand messages per second.",
)
@click.pass_context
def enqueue(
    ctx: click.Context,
    /,
    queue: str,
    job: str | None,
    pipeline: Path | None,
    ledger: str | None,
    skip_done: bool,
    trust_records: bool,
    box_file: Path | None,
    order: Order,
    priority: str,
    dry_run: bool,
    force: bool,
    threads: int,
    processes: int,
    **options: Any,
) -> None:
    """Cut a region into boxes and send one message per box.

    The region may also be in the pipeline file, under `tasks:`. The options given here replace
    those in the file. The queue must exist. The job is recorded in the ledger before the first
    message is sent, and so is how far the sending gets: after a kill, the same command with the
    same --job sends the rest.

    Boxes that workers would refuse are not sent: those that share blocks of the output with their
    neighbours or lie outside it, and all if a volume does not exist or the ledger has no place.
    """
    from chunkflow_worker.job.archive.ledger import ArchivedLedger
    from producer.plan.job import make_plan
    from producer.plan.pipeline_file import PipelineFile, written_paths

    file = PipelineFile.load(pipeline) if pipeline else None
    given = given_options(ctx, options)
    grid, mask = options_of(Grid, given), options_of(Masks, given)
    plan = make_plan(queue_name(queue), job, grid, file, mask, box_file, order)
    ledger = ledger or (file.ledger_path if file else None)
    if skip_done and not ledger:
        raise no_ledger("--skip-done")
    records = ArchivedLedger(ledger, to_write=True) if ledger else None
    _show_plan(plan)
    if file:
        _refuse_what_fails(plan, file, ledger, force)
    elif not ledger:
        say(
            "note: without --pipeline or --ledger the job is not recorded, so nothing can show its "
            "status or verify its result, and workers whose ledger has other jobs refuse it",
            err=True,
        )
    undone = None
    if records and skip_done:
        paths = written_paths(file, records)
        undone = _find_undone(records, plan, paths, threads, trust_records)
    if dry_run:
        _show_dry_run(plan, undone)
        return
    # What an earlier run sent of a list says nothing of another list.
    notes = undone is None and box_file is None
    _send(queue, priority, plan, records, undone, threads, processes, notes)
    _show_enqueued(plan, undone, ledger, priority)


enqueue.params.extend([*click_options(Grid), *click_options(Masks)])


@dataclass(frozen=True)
class _Undone:
    """The boxes that --skip-done does not leave out.

    wrong: those of them that are recorded as done, although their output is not right.
    """

    boxes: list[str]
    wrong: list[str]


def _find_undone(
    ledger: Ledger, plan: Plan, paths: WrittenPaths, threads: int, trust_records: bool
) -> _Undone:
    from chunkflow_worker.report.progress import progress
    from producer.look.verify import Verifier, verify

    boxes, wrong = [], []
    unknown: dict[Kind, list[Problem]] = {"not-checked": [], "unreadable": []}
    verifier = Verifier(plan.record.pipeline, quick=True, paths=paths)
    with progress(len(plan.boxes), "checked") as show:
        for count, problems in enumerate(verify(ledger, plan.boxes, verifier, threads), 1):
            known = [problem for problem in problems if problem.is_wrong]
            for kind, found in unknown.items():
                if not known:
                    found += [problem for problem in problems if problem.kind == kind][:1]
            if known or (problems and not trust_records):
                boxes.append(problems[0].box)
            if any(problem.contradicts_record for problem in known):
                wrong.append(problems[0].box)
            show(count, f"{len(boxes)} to do")
    for kind, found in unknown.items():
        if found:
            _note_unknown(kind, found, trust_records)
    return _Undone(boxes, wrong)


def _note_unknown(kind: Kind, found: list[Problem], trust_records: bool) -> None:
    """Say what becomes of boxes that are recorded as done, and not known to be right.

    found: one problem of each box.
    """
    from chunkflow_worker.report.progress import boxes_text

    fate = (
        "left out, as the records say"
        if trust_records
        else "sent again; --trust-records leaves them out"
    )
    example = ": ".join(filter(None, (found[0].box, found[0].volume, found[0].detail)))
    say(
        f"note: the output of {boxes_text(len(found))} that the ledger has as done is {kind}: "
        f"{fate}; for example {example}",
        err=True,
    )


def _send(
    queue: str,
    priority: str,
    plan: Plan,
    ledger: Ledger | None,
    undone: _Undone | None,
    threads: int,
    processes: int,
    notes: bool,
) -> None:
    """notes: whether the ledger keeps how far the sending got."""
    from producer.cli.send_boxes import send_boxes
    from producer.plan.record import record_job

    client, job = sqs_client(), plan.record
    target = of_priority(open_queue(client, queue), priority)
    begun, is_new = None, record_job(ledger, job) if ledger else True
    if ledger and undone:
        for box in undone.wrong:
            ledger.remove(box)
    noted = ledger if notes else None
    if noted:
        begun = _begun(noted, plan, target.place)
        if begun is None:
            _note_doubled_work(plan, noted, is_new)
        elif begun.order != job.order:
            job = job.model_copy(update={"order": begun.order})
            record_job(noted, job)

    def keep(note: SentNote) -> None:
        if noted:
            noted.note_sent(job.job, plan.boxes, note)

    def how_to_resume(sent: int) -> str:
        if ledger is None and job.order != PLAIN:
            return (
                f"{sent} boxes were sent, and without a ledger the rest is not known: repeat the "
                f"command with --job {job.job} to send them all again"
            )
        start = f" --task-index-start {plan.boxes.task_index(sent)}"
        rest = "" if noted else " --skip-done" if ledger else start
        return f"to send the rest, repeat the command with --job {job.job}{rest}"

    send_boxes(
        client.meta.region_name,
        target,
        job,
        _in_order(plan, undone, job.order),
        how_to_resume,
        begun=begun,
        keep=keep,
        threads=threads,
        processes=processes,
    )


def _in_order(plan: Plan, undone: _Undone | None, order: Order) -> Boxes | ZCurve | list[str]:
    """The boxes that are to be sent, in the order of sending."""
    from chunkflow_worker.job.chosen_boxes import named_boxes

    if undone is None:
        return in_order(plan.boxes, order)
    return (
        undone.boxes if order == PLAIN else in_order(named_boxes(plan.boxes, undone.boxes), order)
    )


def _begun(ledger: Ledger, plan: Plan, queue: str) -> SentNote | None:
    """How far an earlier run with these boxes got, if it did not send them all; says so."""
    job = plan.record.job
    note = ledger.sent_note(job, plan.boxes)
    if note is None or note.is_complete or note.queue != queue:
        return None
    doubtful = note.until - note.sent
    say(
        f"job {job}: {note.sent} of {note.total} messages were sent before; the rest follows. Up "
        f"to {doubtful} of it may have been sent too: a worker that receives such a box again "
        "looks in the ledger first, and leaves it when it is done",
        err=True,
    )
    if note.order != plan.record.order:
        say(f"note: the rest is sent with --order {note.order}, as it was begun", err=True)
    return note


def _note_doubled_work(plan: Plan, ledger: Ledger, is_new: bool) -> None:
    """Warn when boxes will be sent that the ledger records as done."""
    from producer.look.job import some_are_done

    job = plan.record.job
    if is_new and some_are_done(ledger, plan.boxes):
        say(
            f"note: {ledger.path} has records of boxes of this job, which count as done; add "
            "--skip-done to leave them out, or use another --ledger to count only this run",
            err=True,
        )
    elif not is_new and plan.boxes.first == 0:
        say(
            f"note: job {job} was enqueued before; all its boxes are sent again, even if they are "
            "waiting or done; add --skip-done to leave out those that are done",
            err=True,
        )


def _show_plan(plan: Plan) -> None:
    first, last = plan.boxes[0], plan.boxes[-1]
    empty = f"; {plan.empty} other boxes are empty and left out" if plan.empty else ""
    say(f"{len(plan.boxes)} tasks, from {first} to {last}{empty}", err=True)


def _refuse_what_fails(plan: Plan, file: PipelineFile, ledger: str | None, force: bool) -> None:
    """Raises ConfigError if workers will refuse the job, or says so if the user forces it."""
    from producer.plan.refused import refused

    faults = list(refused(plan.boxes, file, ledger))
    if force:
        for fault in faults:
            say_text(f"note: workers will refuse these boxes: {fault}", err=True)
    elif faults:
        *others, last = faults
        cure = "; ".join(filter(None, (last.cure, "--force sends them all the same")))
        last = replace(last, cure=cure)
        raise ConfigError("workers would refuse these boxes", [*others, last])


def _show_dry_run(plan: Plan, undone: _Undone | None) -> None:
    done = len(plan.boxes) - _count(plan, undone)
    skipped = "" if undone is None else f", {done} of them already done"
    say(f"{len(plan.boxes)} tasks of job {plan.record.job}{skipped}")
    say(f"first {plan.boxes[0]}", f"last  {plan.boxes[-1]}", "nothing was sent")


def _show_enqueued(plan: Plan, undone: _Undone | None, ledger: str | None, priority: str) -> None:
    job, count = plan.record, _count(plan, undone)
    of_all = "" if undone is None else f" of {len(plan.boxes)}"
    size = "x".join(map(str, plan.boxes.chunk_size))
    place = f" --ledger {shlex.quote(ledger)}" if ledger else ""
    sent_to = job.queue if priority == "normal" else QueueName(job.queue).high_name
    say(
        f"enqueued {count}{of_all} tasks of job {job.job} to queue {sent_to} (boxes {size}), "
        f"status: chunkflow-producer status --queue {job.queue}{place}"
    )


def _count(plan: Plan, undone: _Undone | None) -> int:
    return len(plan.boxes) if undone is None else len(undone.boxes)
