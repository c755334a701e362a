"""``queue``"""

from __future__ import annotations

import click

from producer.cli.options import sqs_client


@click.group()
def queue() -> None:
    """Make or delete the queue of a job, with its dead letters."""


@queue.command("create")
@click.argument("name")
@click.option(
    "--max-receives",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Attempts at a task.",
)
@click.option(
    "--visibility",
    type=click.IntRange(1, 43200),
    default=60,
    show_default=True,
    help="Seconds after which a message that a dead worker held is seen by others; workers renew it.",
)
@click.option(
    "--retention-days",
    type=click.IntRange(1, 14),
    default=14,
    show_default=True,
    help="Days that messages are kept.",
)
def create(name: str, max_receives: int, visibility: int, retention_days: int) -> None:
    """Make the queue NAME and NAME-dead for its dead letters. What exists is brought to these options."""
    from producer.send.queue import create_queue

    for made in create_queue(sqs_client(), name, max_receives, visibility, retention_days):
        click.echo(
            f"{made.url} {'created' if made.created else 'changed' if made.changed else 'was there already'}"
        )
        for attribute, (before, after) in made.changed.items():
            click.echo(f"  {attribute}: {before} -> {after}")


@queue.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Needed: the messages in them are lost.")
def delete(name: str, yes: bool) -> None:
    """Delete the queue NAME and its dead letters NAME-dead."""
    from producer.send.queue import delete_queue

    if not yes:
        raise click.UsageError(
            f"all messages in {name} and its dead letters will be lost: add --yes"
        )
    deleted = delete_queue(sqs_client(), name)
    click.echo(f"deleted {' and '.join(deleted)}" if deleted else f"there is no queue {name}")
