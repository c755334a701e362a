"""The options that commands share, and what they lead to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger

queue_option = click.option(
    "--queue",
    required=True,
    envvar="CHUNKFLOW_QUEUE",
    show_envvar=True,
    help="Name of the SQS queue.",
)
pipeline_option = click.option(
    "--pipeline",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CHUNKFLOW_PIPELINE",
    show_envvar=True,
    help="The workers' pipeline file (YAML).",
)
ledger_option = click.option(
    "--ledger",
    envvar="CHUNKFLOW_LEDGER",
    show_envvar=True,
    help="Where task records go; `log` below the pipeline's last saved volume when not given.",
)


def find_ledger(pipeline: Path | None, path: str | None) -> Ledger | None:
    from chunkflow_worker.job.ledger import Ledger
    from producer.plan.pipeline_file import PipelineFile

    path = path or (PipelineFile.load(pipeline).ledger_path if pipeline else None)
    return Ledger(path) if path else None


def sqs_client(connections: int = 10) -> Any:
    from chunkflow_worker.config.settings import Settings
    from chunkflow_worker.job.sqs import make_client

    return make_client(Settings.load().region, read_seconds=5, connections=connections)
