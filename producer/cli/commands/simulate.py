"""``chunkflow-producer simulate``"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from chunkflow_worker.config.options import click_options, faults_of, given_options
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.report.say import say, say_json
from producer.cli.options import (
    ledger_option,
    numbers,
    pipeline_option,
    prices_option,
    require_ledger,
)
from producer.cli.stages import of_one_stage
from producer.simulate.assumptions import Assumptions

if TYPE_CHECKING:
    from producer.simulate.cost import Cost
    from producer.simulate.result import Result

_RECORDS = 1000  # of an earlier job that are read
_MOST_WORKERS = 100_000
_MOST_LOST = 0.99
_LONG = 2_000_000  # tasks of all rows together, from which on progress is shown


@click.command()
@of_one_stage()
@click.option(
    "--workers",
    callback=numbers(int, 1, _MOST_WORKERS, f"whole numbers from 1 to {_MOST_WORKERS}"),
    metavar="N,N,...",
    default="10,100,1000,10000",
    show_default=True,
    help="Numbers of workers, each on a machine of its own; a row for each.",
)
@click.option(
    "--interruptions",
    callback=numbers(float, 0, _MOST_LOST, f"shares from 0 to {_MOST_LOST}"),
    metavar="SHARE,...",
    default="0,0.05,0.2",
    show_default=True,
    help="Shares of the machines that are lost in an hour; a row for each.",
)
@click.option(
    "--from-job",
    metavar="JOB",
    help="Draw the times of tasks from the records of this job of the ledger.",
)
@pipeline_option
@ledger_option
@click.option("--machine", help="Kind of machine in the price table; without it, no dollars.")
@click.option("--on-demand", is_flag=True, help="Pay the price on demand, not that of spot.")
@prices_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def simulate(
    ctx: click.Context,
    /,
    workers: tuple[int, ...],
    interruptions: tuple[float, ...],
    from_job: str | None,
    pipeline: Path | None,
    ledger: str | None,
    machine: str | None,
    on_demand: bool,
    prices: Path | None,
    as_json: bool,
    **assumptions: Any,
) -> None:
    """Run a job on paper: its time, its dollars, and what is wasted.

    Simulates machines that start, do tasks and are taken away, and the queue: leases, long polls,
    retries, dead letters and the limit of messages in flight. Asks nothing of AWS. The time of
    tasks is --task-seconds, or that of the records of an earlier job: --from-job with --ledger or
    --pipeline.

    In the table, `work lost` is the work that interruptions cut off, as a share of the useful work.
    `waste` is the share of the paid time of machines in which no task was done that is done in the
    end: machines that start, places that wait, attempts that were cut off or failed. Dollars are
    those of machines and of requests to the queue; storage is not simulated.
    """
    from producer.cli.runs_table import show_runs
    from producer.simulate.cost import cost_of
    from producer.simulate.notes import notes

    assumed = _assumptions(given_options(ctx, assumptions), from_job)
    if machine is None and (on_demand or prices):
        raise click.UsageError("--on-demand and --prices need --machine")
    table, kind = _prices(prices, machine)
    records = _times(pipeline, ledger, from_job) if from_job else []
    rows = _run(assumed, workers, interruptions, records, quiet=as_json)
    costs: list[Cost | None] = [
        cost_of(row, assumed, table, kind, on_demand=on_demand) if table and kind else None
        for row in rows
    ]
    found = list(notes(assumed, rows))
    if as_json:
        given = assumed.model_dump() | {"records": len(records), "machine": machine}
        runs = [_all_of(row, cost) for row, cost in zip(rows, costs, strict=True)]
        say_json({"assumptions": given, "runs": runs, "notes": found})
        return
    show_runs(assumed, rows, costs)
    for line in found:
        say(f"note: {line}", err=True)


simulate.params.extend(click_options(Assumptions))


def _assumptions(given: dict[str, Any], from_job: str | None) -> Assumptions:
    if from_job is None and given.get("task_seconds") is None:
        raise click.UsageError(
            "how long a task takes is not known: give --task-seconds, or --from-job"
        )
    if from_job is not None and "task_spread" in given:
        raise click.UsageError("--from-job takes the spread of the records, not --task-spread")
    try:
        return Assumptions.model_validate(given)
    except ValidationError as error:
        faults = faults_of(error, Assumptions, "simulate")
        raise ConfigError("chunkflow-producer", faults) from None


def _prices(path: Path | None, machine: str | None) -> tuple[Any, Any]:
    """The price table and the machine in it; None for both without a machine."""
    from producer.cost.prices import Prices

    if machine is None:
        return None, None
    table = Prices.load(path)
    return table, table.machine(machine)


def _times(pipeline: Path | None, ledger: str | None, name: str) -> list[float]:
    """Seconds of tasks of a job, of at most a thousand that are spread over it."""
    from producer.look.job import require_job

    records = require_ledger(pipeline, ledger, needed_by="--from-job")
    boxes = require_job(records, name).boxes()
    count = min(len(boxes), _RECORDS)
    names = [str(boxes[len(boxes) * i // count]) for i in range(count)]
    seconds = [r.seconds for r in records.records(names) if r.job == name and r.seconds > 0]
    if not seconds:
        problem = f"has no records of tasks in {records.path} that are done"
        raise ConfigError.one("from-job", name, problem, "give --task-seconds instead")
    say(f"times of {len(seconds)} tasks of job {name}", err=True)
    return seconds


def _run(
    assumed: Assumptions,
    workers: Sequence[int],
    interruptions: Sequence[float],
    records: Sequence[float],
    *,
    quiet: bool,
) -> list[Result]:
    """All runs; shows how far they are if they take long."""
    from chunkflow_worker.report.progress import progress
    from producer.simulate.all_runs import run_all

    rows: list[Result] = []
    total = len(workers) * len(interruptions)
    is_quiet = quiet or total * assumed.tasks <= _LONG
    with nullcontext() if is_quiet else progress(total, "simulated") as show:
        for row in run_all(assumed, workers, interruptions, records):
            rows.append(row)
            if show:
                show(len(rows), "")
    return rows


def _all_of(row: Result, cost: Cost | None) -> dict[str, Any]:
    derived = {name: getattr(row, name) for name in ("idle_seconds", "lost", "waste")}
    dollars = {"dollars": asdict(cost) | {"total": cost.total}} if cost else {}
    return asdict(row) | derived | dollars
