"""``chunkflow-producer run``"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import click

from chunkflow_worker.config.commands import LocalFile
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.report.say import say, say_text
from producer.cli.options import (
    confirm,
    interval_option,
    ledger_option,
    open_queue,
    queue_option,
    settle_option,
    sqs_client,
)

if TYPE_CHECKING:
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.stage import Stage
    from producer.plan.pipeline_file import PipelineFile
    from producer.stages.stage_run import StageRun, StageView


@click.command()
@click.argument("pipeline", type=LocalFile(Path), envvar="CHUNKFLOW_PIPELINE")
@queue_option
@ledger_option
@click.option("--job", help="Name of the job; by default, that of the pipeline file.")
@click.option("--from", "first", metavar="STAGE", help="Only this stage, and those that need it.")
@click.option("--until", "last", metavar="STAGE", help="Only this stage, and those that it needs.")
@click.option("--only", metavar="STAGE", help="Only this stage.")
@click.option(
    "--redo",
    multiple=True,
    metavar="STAGE",
    help="First forget what was done of this stage and of those that need it: their records are "
    "deleted, and their tasks are sent again. May be repeated.",
)
@click.option("--yes", is_flag=True, help="With --redo: do not ask.")
@interval_option
@settle_option
@click.pass_context
def run(
    ctx: click.Context,
    pipeline: Path,
    queue: str,
    ledger: str | None,
    job: str | None,
    first: str | None,
    last: str | None,
    only: str | None,
    redo: tuple[str, ...],
    yes: bool,
    interval: float,
    settle: float,
) -> None:
    """Bring a job of several stages to its end.

    Sends the tasks of a stage when all boxes of the stages that it needs are done, by their
    ledgers, and verified where the file says verify: true. A stage whose tasks are a tree is sent
    wave by wave. Workers must be running.

    All that this command knows is in the ledger. It can be stopped and started again at any time,
    on any machine. Several may run at once: one of them sends.

    At the end, it prints a link to Neuroglancer that shows the volumes with their meshes; or, if
    they are on this machine, the command that does.

    A stage that fails stops those that need it; the others go on. After redrive, run it again.

    Exit status: 0 when all stages are done; 1 when one has failed; 3 when one is paused or
    cancelled.
    """
    from chunkflow_worker.job.local_job import check_job_name
    from chunkflow_worker.job.stages import job_name
    from producer.cli.stage_bars import line_of, stage_bars
    from producer.look.job_link import look_command, result_link
    from producer.plan.pipeline_file import PipelineFile
    from producer.stages.course import Course, exit_status

    files = PipelineFile.load_all(pipeline)
    stages = [file.stage for file in files]
    chosen = _chosen(stages, pipeline, first, last, only)
    name = job or pipeline.stem
    for file in files:
        check_job_name(job_name(name, file.stage.name, 99))
        if not (file.tasks or file.stage.tree_of):
            raise ConfigError.one(
                str(pipeline), "tasks", "is missing: nothing says which boxes to send"
            )
    if redo:
        _redo(files, ledger, redo, yes)
    runs = _runs(files, ledger, queue, name, settle, chosen)
    with stage_bars([run.name for run in runs if run.may_send]) as show:
        views = Course(runs, lambda: sleep(interval)).follow(show)
    for view in views:
        say(line_of(view))
        if view.state == "failed":
            _explain(next(run for run in runs if run.name == view.name), view, ledger)
    status = exit_status(views)
    if status == 0 and (shown := result_link(files) or look_command(files)):
        say(f"view: {shown}")
    ctx.exit(status)


def _chosen(
    stages: Sequence[Stage],
    path: Path,
    first: str | None,
    last: str | None,
    only: str | None,
) -> frozenset[str]:
    """The names of the stages that may be sent. Raises ConfigError, and UsageError."""
    from chunkflow_worker.job.stages import after, before, find_stage

    if only and (first or last):
        raise click.UsageError("give --only, or --from and --until")
    for given in filter(None, (first, last, only)):
        find_stage(stages, given, path)
    found = {stage.name for stage in stages}
    if first or only:
        found &= after(stages, first or only or "") if first else {only or ""}
    if last:
        found &= before(stages, last)
    if not found:
        raise click.UsageError(f"--until {last} leaves nothing of --from {first}")
    return frozenset(found)


def _runs(
    files: Sequence[PipelineFile],
    ledger: str | None,
    queue: str,
    job: str,
    settle: float,
    chosen: frozenset[str],
) -> list[StageRun]:
    """Those that are chosen, and those that they need."""
    from chunkflow_worker.job.archive.ledger import ArchivedLedger
    from chunkflow_worker.job.stages import before
    from producer.stages.stage_run import StageRun

    stages = [file.stage for file in files]
    needed = set().union(*(before(stages, name) for name in chosen))
    client = sqs_client()
    queues = {s.queue: open_queue(client, s.queue_of(queue)) for s in stages if s.name in needed}
    runs: dict[str, StageRun] = {}
    for file in files:
        stage = file.stage
        if stage.name in needed:
            runs[stage.name] = StageRun(
                file,
                ArchivedLedger(_ledger_of(file, ledger), to_write=True),
                job,
                client,
                queues[stage.queue],
                runs.get(stage.tree_of),
                settle,
                _verify,
                may_send=stage.name in chosen,
            )
    return list(runs.values())


def _ledger_of(file: PipelineFile, ledger: str | None) -> str:
    from chunkflow_worker.job.volumes import no_ledger

    path = file.ledger_in(ledger)
    if path is None:
        raise no_ledger(str(file.path))
    return path


def _redo(
    files: Sequence[PipelineFile], ledger: str | None, redo: Sequence[str], yes: bool
) -> None:
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.stages import after, find_stage, split_stage
    from producer.stages.redo import forget

    stages = [file.stage for file in files]
    names = [find_stage(stages, name, split_stage(files[0].path)[0]).name for name in redo]
    again = set().union(*(after(stages, name) for name in names))
    found = [file for file in files if file.stage.name in again]
    listed = ", ".join(file.stage.name for file in found)
    confirm(f"Delete the records of {listed}, so that all their boxes are done again?", yes)
    forget(Ledger(_ledger_of(file, ledger), to_write=True) for file in reversed(found))
    say(f"forgot what was done of {listed}", err=True)


def _verify(file: PipelineFile, ledger: Ledger, record: JobRecord) -> str:
    from chunkflow_worker.report.progress import boxes_text
    from producer.cli.verified import read_back

    report = read_back(ledger, record, record.boxes(), file.path, quiet=True)
    found = {
        "wrong": report.wrong,
        "not checked": report.not_checked,
        "unreadable": report.unreadable,
    }
    told = [f"{boxes_text(count)} {what}" for what, count in found.items() if count]
    if report.is_mixed():
        told.append("boxes come from different nets")
    return f"verify: {', '.join(told)}" if told else ""


def _explain(run: StageRun, view: StageView, ledger: str | None) -> None:
    """Say why a stage has failed, and what to do."""
    from chunkflow_worker.report.progress import boxes_text
    from producer.look.failures import producer_command, without_letter

    place: dict[str, Any] = {"pipeline": run.file.path, "ledger": ledger, "job": view.job}
    queue = run.queue.name
    if view.note.startswith("verify"):
        say(f"   what is wrong: {producer_command('verify', **place)}")
        say(f"   do it again:   {producer_command('verify', **place)} --enqueue")
        return
    record = run.ledger.job(view.job)
    causes = without_letter(run.ledger, record.boxes(), set()) if record else []
    for cause in causes[:3]:
        say_text(f"   {boxes_text(len(cause.failures))}: {cause.text}")
    say(f"   causes:    {producer_command('failures', queue=queue, **place)}")
    if causes:
        say(f"   send back: {producer_command('redrive', queue=queue, **place)}")
    else:
        say(f"   send anew: {producer_command('verify', **place)} --quick --enqueue")
    say("   then:      the same command again")
