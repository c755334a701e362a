"""`of_each_stage` and `of_one_stage`: the option --stage, for commands that know nothing of stages.

Such a command gets the pipeline file of one stage (em.yaml#masks), its ledger and its queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chunkflow_worker.report.say import say

if TYPE_CHECKING:
    from chunkflow_worker.job.stage import Stage

_Command = Callable[..., Any]


def of_one_stage(*, named: bool = False) -> Callable[[_Command], _Command]:
    """Add --stage to a command, which needs it where the pipeline file has stages.

    named: the command takes the name of the stage.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def run(*arguments: Any, stage: str | None, **options: Any) -> Any:
            found = _stages(options.get("pipeline"), stage, options.get("ledger"))
            one = _only(found, options["pipeline"]) if found else None
            if one:
                options |= _place(one, options)
            if named:
                options["stage"] = one.name if one else ""
            return command(*arguments, **options)

        return _stage_option("Stage of the pipeline file.")(run)

    return decorate


def of_each_stage(
    *, sent: bool = True, waves: bool = False, named: bool = False
) -> Callable[[_Command], _Command]:
    """Add --stage to a command, which does its work for one stage after another by default.

    With --job, it does its work for the stage that has this job.
    sent: leave out stages of which nothing was sent. waves: do its work for each wave of a stage
    whose tasks are a tree, not only for the latest. named: the command takes the name of the stage.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def run(*arguments: Any, stage: str | None, **options: Any) -> Any:
            if named:
                options["stage"] = stage or ""
            found = _stages(options.get("pipeline"), stage, options.get("ledger"))
            if not found:
                return command(*arguments, **options)
            if sent and options.get("job"):
                found = _with_job(found, options)
            status = 0
            for one in found:
                own = options | _place(one, options) | ({"stage": one.name} if named else {})
                heading = "" if options.get("as_json") or len(found) == 1 else one.name
                for given in _runs(one, own, heading, sent=sent, waves=waves):
                    status = max(status, _status(command, *arguments, **given))
            click.get_current_context().exit(status)

        return _stage_option("Only this stage of the pipeline file.")(run)

    return decorate


def _stage_option(text: str) -> Callable[[_Command], _Command]:
    return click.option("--stage", metavar="NAME", help=text)


def _stages(pipeline: Path | None, name: str | None, ledger: str | None) -> list[Stage]:
    """The stages to work on; none for a file without stages. Raises ConfigError and UsageError."""
    if pipeline is None and name is None:
        return []
    from chunkflow_worker.job.stage import Stage
    from chunkflow_worker.job.stages import find_stage, has_stages, split_stage
    from producer.plan.pipeline_file import PipelineFile

    if pipeline is None:
        if ledger is None:
            raise click.UsageError("--stage needs --pipeline or --ledger")
        return [Stage(name or "", None)]
    file, own = split_stage(pipeline)
    chosen = name or own
    if not chosen and not has_stages(file):
        return []  # of a file that cannot be read, the command tells what is wrong
    every = [one.stage for one in PipelineFile.load_all(file)]
    return [find_stage(every, chosen, file)] if chosen else every


def _only(stages: list[Stage], pipeline: Path | None) -> Stage:
    from chunkflow_worker.job.stages import find_stage

    return stages[0] if len(stages) == 1 else find_stage(stages, "", pipeline or Path())


def _place(stage: Stage, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a command for one stage that differ from those for the whole file."""
    from chunkflow_worker.job.stages import split_stage, stage_path

    found: dict[str, Any] = {}
    if options.get("pipeline"):
        found["pipeline"] = stage_path(split_stage(options["pipeline"])[0], stage.name)
    if options.get("ledger"):
        found["ledger"] = stage.ledger_in(options["ledger"])
    if options.get("queue"):
        found["queue"] = stage.queue_of(options["queue"])
    return found


def _with_job(stages: list[Stage], options: dict[str, Any]) -> list[Stage]:
    """The stage in whose ledger the given job is; all of them if it is in none."""
    from producer.cli.options import open_ledger

    def has_job(stage: Stage) -> bool:
        own = options | _place(stage, options)
        ledger = open_ledger(own.get("pipeline"), own.get("ledger"))
        return ledger is not None and ledger.job(options["job"]) is not None

    return [stage for stage in stages if has_job(stage)] or stages


def _runs(
    stage: Stage, options: dict[str, Any], heading: str, *, sent: bool, waves: bool
) -> Iterator[dict[str, Any]]:
    """The options of each run of a command for a stage; says what it is for, or why not."""
    from producer.cli.options import open_ledger

    ledger = open_ledger(options.get("pipeline"), options.get("ledger")) if sent else None
    if ledger is not None and not ledger.has_jobs():
        say(f"stage {stage.name}: nothing was sent", err=bool(options.get("as_json")))
        return
    jobs: list[str | None] = [options.get("job")]
    if ledger is not None and waves and stage.tree_of and not jobs[0]:
        jobs = [job.job for job in ledger.jobs()]
    for job in jobs:
        if heading or len(jobs) > 1:
            wave = f", {job}" if len(jobs) > 1 else ""
            say(f"== stage {stage.name}{wave} ==", err=bool(options.get("as_json")))
        yield options | ({"job": job} if "job" in options else {})


def _status(command: _Command, *arguments: Any, **options: Any) -> int:
    """The exit status of a command."""
    try:
        command(*arguments, **options)
    except click.exceptions.Exit as end:
        return end.exit_code
    return 0
