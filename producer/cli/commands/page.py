"""``chunkflow-producer page``"""

from __future__ import annotations

from pathlib import Path

import click

from chunkflow_worker.config.commands import LocalFile
from chunkflow_worker.report.say import say
from producer.cli.options import (
    interval_option,
    job_option,
    ledger_option,
    own_queue_option,
    pipeline_option,
    queue_of_job,
    require_ledger,
)
from producer.cli.stages import of_one_stage

_LOCAL = ("127.0.0.1", "localhost", "::1")


@click.command()
@of_one_stage()
@own_queue_option
@pipeline_option
@ledger_option
@job_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve at. With any other, everyone who reaches this machine sees the job.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8760,
    show_default=True,
    help="Port to serve at; 0 for a free one.",
)
@interval_option
@click.option(
    "--allow-actions",
    is_flag=True,
    help="Let the page send dead letters back, and pause, resume or cancel the job. The printed "
    "link holds a secret that this needs.",
)
@click.option(
    "--token-file",
    type=LocalFile(Path),
    metavar="FILE",
    help="With --allow-actions: the file that holds the secret, so that it stays the same. It is "
    "not printed.",
)
@click.option(
    "--neuroglancer",
    is_flag=True,
    help="Also print the address at which Neuroglancer shows the boxes of the job, in the colours "
    "of their states over the volumes of the pipeline. --open opens it instead of the page.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
def page(
    queue: str | None,
    pipeline: Path | None,
    ledger: str | None,
    job: str | None,
    host: str,
    port: int,
    interval: float,
    allow_actions: bool,
    token_file: Path | None,
    neuroglancer: bool,
    open_browser: bool,
) -> None:
    """Show a job as a live page in the browser.

    The page shows the boxes of the job as a map, plane by plane, by their state: waiting, running,
    done, skipped, failed, dead or slow. A click on a box shows its record, its failure with the log
    and the command that reproduces it, and with --pipeline, pictures of its input and output. The
    page also shows progress, rates, the failures by cause, and the workers. It needs no network but
    that to the ledger and the queue.

    It changes nothing, unless --allow-actions is given. Then open the printed link, or with
    --token-file, the printed address with # and the secret after it. A job without a queue can be
    watched, too. The page is served until this command is interrupted.
    """
    from producer.look.job import require_job
    from producer.page.actions import Actions, read_token
    from producer.page.job_watch import Target
    from producer.page.serve import check_installed, serve
    from producer.plan.pipeline_file import PipelineFile

    if token_file and not allow_actions:
        raise click.UsageError("--token-file needs --allow-actions")
    if neuroglancer and pipeline is None:
        raise click.UsageError("--neuroglancer needs --pipeline, which names the volumes")
    check_installed()
    records = require_ledger(pipeline, ledger, needed_by="page")
    record = require_job(records, job)
    client, target_queue = queue_of_job(queue, records, record.job)
    target = Target(records, record.job, client, target_queue, pipeline, ledger, stage=record.stage)
    token = read_token(token_file) if token_file else ""
    actions = Actions(target, token) if allow_actions else None
    if host not in _LOCAL:
        say(f"warning: everyone who reaches {host} can see this job", err=True)

    def started(address: str) -> None:
        after = f"#{actions.token}" if actions and not token_file else ""
        say(f"job {record.job}: {address}{after}")
        if neuroglancer:
            say(f"its boxes in Neuroglancer: {address}neuroglancer")
        say("interrupt with Ctrl+C")
        if open_browser:
            click.launch(f"{address}neuroglancer" if neuroglancer else f"{address}{after}")

    try:
        serve(
            target,
            PipelineFile.load(pipeline) if pipeline else None,
            host=host,
            port=port,
            actions=actions,
            interval=interval,
            started=started,
        )
    except KeyboardInterrupt:
        say("stopped", err=True)
