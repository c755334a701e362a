"""``chunkflow-producer``: what does the user want?

queue         creates or deletes a queue
enqueue       plans a job and sends its tasks
status        shows the status of a job
failures      shows the dead letters, grouped by cause
redrive       sends dead letters back
verify        checks the output of a job
options       the options that several commands have
send_boxes    sends messages and shows a progress bar, for ``enqueue`` and ``verify``
status_table  a status as text, for ``status``

The modules of commands import what is heavy inside functions, so that ``--help`` stays fast.
"""

from __future__ import annotations

import click

from chunkflow_worker.errors import ChunkflowError, ConfigError
from producer.cli import enqueue, failures, queue, redrive, status, verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chunkflow-worker")
def cli() -> None:
    """Send the tasks of a job to SQS, and see what workers do with them.

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
    """Run a command, and print errors in one place.

    Returns the exit status: 0 success, 1 failure, 2 a mistake of the user, 130 an interrupt.
    """
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
