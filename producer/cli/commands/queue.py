"""``chunkflow-producer queue``"""

from __future__ import annotations

import click

from chunkflow_worker.report.say import say
from producer.cli.options import confirm, open_queue, sqs_client


@click.group()
def queue() -> None:
    """Create, purge or delete a queue and those that belong to it."""


@queue.command("create")
@click.argument("name")
@click.option(
    "--max-receives",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Attempts per task, before its message goes to the dead-letter queue.",
)
@click.option(
    "--visibility",
    type=click.IntRange(1, 43200),
    default=60,
    show_default=True,
    help="Visibility timeout in seconds. Workers renew it while a task runs; when a worker dies, "
    "its message becomes visible again after this time.",
)
@click.option(
    "--retention-days",
    type=click.IntRange(1, 13),
    default=10,
    show_default=True,
    help="Days for which the queue keeps messages. Dead letters are kept for 14 days, counted from "
    "the first send, so this must be less.",
)
@click.option(
    "--high",
    is_flag=True,
    help="Also create the queue NAME-high, to which enqueue --priority high sends.",
)
def create(name: str, max_receives: int, visibility: int, retention_days: int, high: bool) -> None:
    """Create the queue NAME and its dead-letter queue NAME-dead.

    If they exist, their attributes are changed to these options, and so are those of NAME-high.
    """
    from producer.send.queue import create_queue

    results = create_queue(sqs_client(), name, max_receives, visibility, retention_days, high=high)
    for result in results:
        if result.created:
            state = "created"
        elif result.changed:
            state = "changed"
        else:
            state = "already exists"
        say(f"{result.url} {state}")
        for attribute, (before, after) in result.changed.items():
            say(f"  {attribute}: {before} -> {after}")
        if result.kept:
            say(f"  {result.kept}")
    if results[2:] and results[2].created:
        say(f"workers look for {results[2].name} when they start: restart those that run now")


@queue.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Confirm that all messages will be lost. Required.")
def delete(name: str, yes: bool) -> None:
    """Delete the queue NAME, its dead-letter queue NAME-dead, and NAME-high if it has one."""
    from producer.send.queue import delete_queue

    if not yes:
        raise click.UsageError(
            f"all messages in {name}, of both priorities, and in its dead-letter queue will be "
            "lost: add --yes to confirm"
        )
    deleted = delete_queue(sqs_client(), name)
    say(f"deleted {' and '.join(deleted)}" if deleted else f"there is no queue {name}")


@queue.command("purge")
@click.argument("name")
@click.option("--dead", is_flag=True, help="Empty its dead-letter queue instead.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(name: str, dead: bool, yes: bool) -> None:
    """Delete all messages of the queue NAME, of all its jobs and of both priorities.

    Tasks in progress go on, and messages that come within the next minute may be deleted, too. SQS
    allows one purge in 60 seconds. The numbers of SQS are approximate. To delete the messages of
    one job only, use `cancel`; to send boxes again that have no message, `verify --enqueue`.
    """
    from producer.send.queue import message_count, purge_queue

    client = sqs_client()
    target = open_queue(client, name)
    urls = (target.dead_letter_url,) if dead else target.urls
    what = " and ".join(url.rsplit("/", 1)[-1] for url in urls)
    count = sum(message_count(client, url) for url in urls)
    confirm(f"delete all {count} messages of queue {what}, of all jobs?", yes)
    removed = sum(purge_queue(client, url) for url in urls)
    say(f"deleted the messages of queue {what}: {removed}, approximately")
