"""``chunkflow-producer report``"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chunkflow_worker.config.commands import LocalFile
from chunkflow_worker.report.say import say, say_json
from producer.cli.options import (
    job_option,
    ledger_option,
    pipeline_option,
    prices_option,
    require_ledger,
)
from producer.cli.stages import of_one_stage
from producer.cli.verified import allow_zeros_option, read_back, sample_option

if TYPE_CHECKING:
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger
    from producer.report.document import Checked


@click.command()
@of_one_stage()
@pipeline_option
@ledger_option
@job_option
@click.option(
    "--output",
    type=LocalFile(Path),
    metavar="FILE",
    help="Write the report to this file, and the figures beside it; by default, to the folder "
    "`reports` of the ledger.",
)
@click.option(
    "--machine",
    "machines",
    multiple=True,
    help="Kind of machine of the price table that the workers ran on; may be given several times, "
    "to compare.",
)
@click.option("--spot", is_flag=True, help="The machines were spot machines.")
@prices_option
@sample_option()
@allow_zeros_option
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON; write no file.")
def report(
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    output: Path | None,
    machines: tuple[str, ...],
    spot: bool,
    prices: Path | None,
    sample: int | None,
    allow_zeros: bool,
    as_json: bool,
) -> None:
    """Write a report of a job in HTML, and its figures as JSON.

    The report shows where in the volume boxes are done, failed or slow, progress over time, the
    seconds of each operator, the workers, the slowest tasks, failures by cause, retries, versions
    and digests of what the output comes from, and a sentence for a methods section. A browser opens
    it without a server and without the network. The report may be written while the job runs, and
    again later.

    With --machine, it tells what the machines cost. If `plan --write` has stored a plan, it
    compares the job with it. With --pipeline, it has the text of the pipeline file. With --verify,
    it says how many boxes were read back and are right; it claims nothing of the others.
    """
    from chunkflow_worker.report.progress import progress
    from producer.cost.prices import Prices
    from producer.look.job import require_job
    from producer.report.build import Beside, build_report
    from producer.report.files import write_report

    if spot and not machines:
        raise click.UsageError("--spot needs --machine")
    records = require_ledger(pipeline, ledger, needed_by="report")
    record = require_job(records, job)
    table = Prices.load(prices)
    kinds = tuple(table.machine(name) for name in machines)
    checked = _checked(records, record, sample, pipeline, allow_zeros, as_json)
    beside = Beside(pipeline, table, kinds, spot, checked)
    with nullcontext() if as_json else progress(record.tasks, "read") as show:
        made = build_report(records, record, beside, lambda n: show(n, "") if show else None)
    if as_json:
        say_json(made.as_json())
        return
    page, figures = write_report(made, output)
    say(f"report of job {record.job}: {page}", f"figures: {figures}")
    if checked and checked.right < checked.boxes:
        say(
            f"of {checked.boxes} boxes that were read back, {checked.wrong} are wrong and "
            f"{checked.unknown} not checked or unreadable: chunkflow-producer verify tells more",
            err=True,
        )


def _checked(
    ledger: Ledger,
    job: JobRecord,
    count: int | None,
    pipeline: Path | None,
    allow_zeros: bool,
    quiet: bool,
) -> Checked | None:
    """What was found in a sample of the boxes that are done; None without one."""
    from producer.look.sample import sample_of
    from producer.report.document import Checked

    if count is None:
        return None
    boxes, _ = sample_of(ledger, job, count)
    found = read_back(ledger, job, boxes, pipeline, allow_zeros=allow_zeros, quiet=quiet)
    wrong = {problem.box for problem in found.problems if problem.is_wrong}
    unknown = {problem.box for problem in found.problems} - wrong
    return Checked(len(boxes), len(wrong), len(unknown))
