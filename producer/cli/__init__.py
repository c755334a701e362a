"""``chunkflow-producer``: cuts a region into boxes, sends one message per box, and tells how far they are."""

from __future__ import annotations

import click

from chunkflow_worker.errors import ChunkflowError, ConfigError
from producer.cli import enqueue, failures, queue, redrive, status, verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chunkflow-worker")
def cli() -> None:
    """Send the tasks of a job to SQS, and see how far they are.

    Region, endpoint and credentials come from the standard AWS variables, profiles and roles.
    """


for _command in (
    enqueue.enqueue,
    failures.failures,
    queue.queue,
    status.status,
    redrive.redrive,
    verify.verify,
):
    cli.add_command(_command)


def main(args: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed, 2 the user's mistake, 130 interrupted."""
    try:
        return int(cli.main(args, prog_name="chunkflow-producer", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ChunkflowError as error:
        click.echo(f"error: {error}", err=True)
        return 2 if isinstance(error, ConfigError) else 1
    except (click.Abort, KeyboardInterrupt):
        return 130
