"""``chunkflow-producer plan``"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chunkflow_worker.config.catalog import facts_of, operator_with
from chunkflow_worker.config.commands import Command
from chunkflow_worker.config.old_words import OldWords
from chunkflow_worker.config.options import click_options, given_options
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.masks import Masks
from chunkflow_worker.report.say import say, say_json
from producer.cli.options import (
    ledger_option,
    no_ledger,
    numbers,
    options_of,
    pipeline_option,
    prices_option,
)
from producer.cli.stages import of_each_stage


@click.command(cls=Command, old_words=OldWords.of(facts_of(operator_with("is_grid"))))
@of_each_stage(sent=False, named=True)
@click.option("--job", help="Name of the job; by default, the pipeline file's name and the time.")
@pipeline_option
@ledger_option
@click.option("--skip-done", is_flag=True, help="Plan only the boxes that are not done yet.")
@click.option(
    "--seconds-per-task",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that a worker takes for a task.",
)
@click.option(
    "--measure",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Run N sample boxes on this machine, as one of the workers would, and some before to warm "
    "up. They read the job's volumes, and write only to a folder of temporary files, except for "
    "what plugins write by themselves.",
)
@click.option(
    "--scratch",
    metavar="PATH",
    help="With --measure: write the output to a new folder below this path, which is deleted at "
    "the end. In the job's bucket, for example, the seconds then include the upload.",
)
@click.option("--from-job", metavar="JOB", help="Take the seconds of a job of the same ledger.")
@click.option(
    "--workers",
    default="10,100,1000",
    show_default=True,
    callback=numbers(int, 1, math.inf, "a list of numbers from 1 on"),
    help="Numbers of machines, with one worker each.",
)
@click.option(
    "--machine",
    "machines",
    multiple=True,
    help="Kind of machine of the price table; may be given several times. By default, all that "
    "have the memory for a worker.",
)
@prices_option
@click.option(
    "--in-flight",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Tasks in flight of a worker.",
)
@click.option(
    "--startup",
    type=click.FloatRange(min=0),
    default=180,
    show_default=True,
    help="Seconds from the start of a machine to its first task.",
)
@click.option("--nat", is_flag=True, help="All data passes a NAT gateway, which costs money.")
@click.option(
    "--optimize",
    is_flag=True,
    help="Also search chunk sizes of whole blocks for the lowest cost.",
)
@click.option(
    "--memory-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="With --optimize: memory that a worker may take.",
)
@click.option(
    "--write",
    is_flag=True,
    help="Store the plan in the ledger, for `status` and `report` to compare the job with it. Name "
    "the job by --job; of several kinds and numbers of machines, the first are compared.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    job: str | None,
    pipeline: Path | None,
    ledger: str | None,
    skip_done: bool,
    seconds_per_task: float | None,
    measure: int | None,
    scratch: str | None,
    from_job: str | None,
    workers: tuple[int, ...],
    machines: tuple[str, ...],
    prices: Path | None,
    in_flight: int,
    startup: float,
    nat: bool,
    optimize: bool,
    memory_limit: float | None,
    write: bool,
    as_json: bool,
    stage: str,
    **options: Any,
) -> None:
    """Show what a job will take: its boxes, memory, hours and dollars.

    Sends nothing, and writes nothing without --write. The boxes are those that `enqueue` sends with
    the same options. The seconds of a task come from one of --seconds-per-task, --measure and
    --from-job.

    Of a stage whose tasks are a tree, it shows the number of tasks of each wave. What such a task
    takes is not known before, since it depends on what the tasks before it leave.
    """
    from chunkflow_worker.job.archive.ledger import ArchivedLedger
    from producer.cli.plan_table import show_forecast, show_sizes, show_tree
    from producer.cost.estimate import Wanted, make_forecast, traffic_of
    from producer.cost.job import Source, know
    from producer.cost.prices import Prices
    from producer.cost.sizes import better_sizes
    from producer.cost.stored import write_plan
    from producer.plan.job import make_plan
    from producer.plan.pipeline_file import PipelineFile
    from producer.plan.tree_plan import TreePlan

    if pipeline is None:
        raise click.UsageError("plan needs --pipeline")
    if sum(given is not None for given in (seconds_per_task, measure, from_job)) > 1:
        raise click.UsageError("give one of --seconds-per-task, --measure and --from-job")
    if scratch and not measure:
        raise click.UsageError("--scratch needs --measure")
    if memory_limit is not None and not optimize:
        raise click.UsageError("--memory-limit needs --optimize")
    if write and not job:
        raise click.UsageError("--write needs --job, with the name that enqueue will be given")
    file, table = PipelineFile.load(pipeline), Prices.load(prices)
    if file.stage.tree_of:
        tree = TreePlan.of(file)
        say_json(tree.as_json()) if as_json else show_tree(tree)
        return
    given = given_options(ctx, options)
    made = make_plan("plan", job, options_of(Grid, given), file, options_of(Masks, given))
    path = ledger or file.ledger_path
    if path is None and (skip_done or from_job):
        raise no_ledger("--skip-done" if skip_done else "--from-job")
    if path is None and write:
        raise no_ledger("--write")
    known = know(
        made,
        file,
        table,
        Source(seconds_per_task, measure or 0, min(workers), scratch or "", from_job),
        ArchivedLedger(path) if path else None,
        skip_done=skip_done,
        in_flight=in_flight,
    )
    wanted = Wanted(tuple(sorted(workers)), machines, in_flight, startup=startup, nat=nat)
    traffic = traffic_of(known)
    forecast, sizes = make_forecast(known, wanted, traffic), []
    if optimize:
        limit = None if memory_limit is None else int(memory_limit * 1e9)
        sizes = better_sizes(known, wanted, traffic, pipeline, memory_limit=limit)
    stored = ""
    if write and path:
        stored = write_plan(ArchivedLedger(path, to_write=True), forecast, in_flight)
    if as_json:
        say_json(forecast.as_json() | {"sizes": [asdict(size) for size in sizes]})
        return
    show_forecast(forecast)
    show_sizes(sizes)
    if stored:
        say("", f"stored: {stored}")


plan.params.extend([*click_options(Grid), *click_options(Masks)])
