"""``chunkflow-producer archive``"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.report.say import say, say_json
from producer.cli.options import job_option, ledger_option, pipeline_option, require_ledger
from producer.cli.stages import of_one_stage

if TYPE_CHECKING:
    from chunkflow_worker.job.archive.ledger import ArchivedLedger
    from producer.repair.archive import Packed


@click.command()
@of_one_stage()
@pipeline_option
@ledger_option
@job_option
@click.option(
    "--delete-records",
    is_flag=True,
    help="When the archive has been read back and is right, delete the records that are in it. The "
    "job must be done or cancelled.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def archive(
    pipeline: Path | None, ledger: str | None, job: str | None, delete_records: bool, as_json: bool
) -> None:
    """Pack the records of a finished job into one Parquet file.

    The file lies in the ledger, in the folder `archive`, and has a row for each box that is done:
    its place, times, worker, the seconds of its operators, what it wrote, and the whole record.
    pandas, DuckDB and other programs read it. All commands of the producer read it too. A box that
    is done again later has a record of its own, which takes precedence.

    The archive is read back and compared with the records. Only then, and only with
    --delete-records, are these deleted, but for those that were written anew meanwhile. If the
    command is stopped, nothing is lost: run it again. Records of failures stay where they are.
    """
    from chunkflow_worker.report.progress import progress
    from producer.look.job import require_job
    from producer.repair.archive import Packer

    records = require_ledger(pipeline, ledger, needed_by="archive")
    records.files.check_writable()
    record = require_job(records, job)
    packer = Packer(records, record)
    with nullcontext() if as_json else progress(record.tasks, "packed") as show:
        packed = packer.pack(lambda count: show(min(count, record.tasks), "") if show else None)
    if delete_records:
        _refuse_unfinished(records, packed)
        with nullcontext() if as_json else progress(packed.archived, "deleted") as show:
            deleted, kept = packer.delete_records(lambda count: show(count, "") if show else None)
        packed = replace(packed, deleted=deleted, kept=kept)
    if as_json:
        say_json(asdict(packed))
    else:
        _show(packed)


def _refuse_unfinished(ledger: ArchivedLedger, packed: Packed) -> None:
    if packed.left and ledger.states.read(packed.job).state != "cancelled":
        problem = f"{packed.left} of {packed.boxes} boxes of job {packed.job} are not done"
        cure = (
            f"the archive is written, and all records are kept; repeat the command when the job is "
            f"done, or after chunkflow-producer cancel --job {packed.job}"
        )
        raise ConfigError.one("--delete-records", "job", problem, cure)


def _show(packed: Packed) -> None:
    say(
        f"archived {packed.archived} of {packed.boxes} boxes of job {packed.job}, {packed.added} "
        f"of them new: {packed.path} ({packed.bytes / 1e6:.1f} MB), read back and right"
    )
    if packed.left:
        say(f"boxes that are not done: {packed.left}")
    if packed.deleted is None:
        say("all records are kept as well; --delete-records deletes those that are in the archive")
    else:
        say(f"records deleted: {packed.deleted}")
        if packed.kept:
            say(f"records kept, since they were written anew or can't be read: {packed.kept}")
