"""The options that several commands have, and what the commands open with them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chunkflow_worker.config.commands import LocalFile
from chunkflow_worker.errors import ConfigError, Mistake
from chunkflow_worker.report.say import say

if TYPE_CHECKING:
    from chunkflow_worker.config.options import Options
    from chunkflow_worker.job.archive.ledger import ArchivedLedger
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.sqs import Queue
    from producer.look.notify import Notifier
    from producer.look.status import StatusPoll

_Options = TypeVar("_Options", bound="Options")
_Number = TypeVar("_Number", int, float)

queue_option = click.option(
    "--queue",
    required=True,
    envvar="CHUNKFLOW_QUEUE",
    show_envvar=True,
    help="Name of the SQS queue; its URL or ARN will do.",
)
own_queue_option = click.option(
    "--queue",
    envvar="CHUNKFLOW_QUEUE",
    show_envvar=True,
    help="Name of the SQS queue; its URL or ARN will do. By default, the queue of the job; a job "
    "that ran without one has none.",
)
pipeline_option = click.option(
    "--pipeline",
    type=LocalFile(Path),
    envvar="CHUNKFLOW_PIPELINE",
    show_envvar=True,
    help="The workers' pipeline file (YAML).",
)
ledger_option = click.option(
    "--ledger",
    envvar="CHUNKFLOW_LEDGER",
    show_envvar=True,
    help="Path of the ledger, where task records are; by default, `log` below the last volume that "
    "the pipeline saves.",
)
job_option = click.option(
    "--job", help="Name of the job; by default, the latest job in the ledger."
)
cause_option = click.option(
    "--cause",
    help="Only tasks whose error contains this text. It may have # for numbers and <box> for "
    "boxes, as in the output of `failures`.",
)
boxes_option = click.option(
    "--boxes",
    "box_file",
    type=LocalFile(Path),
    metavar="FILE",
    help="Only the boxes that this file lists, one per line as z0-z1_y0-y1_x0-x1; - for the "
    "standard input. All must be boxes of the job.",
)
priority_option = click.option(
    "--priority",
    type=click.Choice(["normal", "high"]),
    default="normal",
    show_default=True,
    help="high sends to the queue NAME-high, from which workers take first, three times out of "
    "four. `queue create NAME --high` makes it.",
)
prices_option = click.option(
    "--prices",
    type=LocalFile(Path),
    help="Price table (YAML); by default, the one that comes with the package.",
)
interval_option = click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=5,
    show_default=True,
    help="Seconds between two polls.",
)
settle_option = click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    help="Seconds for which the queue must look empty before an unfinished job counts as ended.",
)
notify_option = click.option(
    "--notify",
    "channels",
    multiple=True,
    metavar="URL",
    envvar="CHUNKFLOW_NOTIFY",
    help="Send notices there when a quarter, a half, three quarters or all of the boxes are done, "
    "when boxes fail, and when the job is paused, cancelled or ends otherwise: a webhook "
    "(https://...; Slack's format for hooks.slack.com, else JSON) or sns:ARN of a topic. Give it "
    "as $CHUNKFLOW_NOTIFY to keep the address out of the list of processes. May be repeated.",
)
of_queue_option = click.option(
    "--queue", help="Name of the SQS queue of the job, to be sure that it is the right job."
)


def _box(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from chunkflow_worker.image.bbox import BoundingBox

    try:
        return None if value is None else str(BoundingBox.parse(value))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


box_option = click.option(
    "--box", callback=_box, help="Only the task of this box, z0-z1_y0-y1_x0-x1."
)


def options_of_a_decision(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the commands that pause, resume or cancel a job: which job it is."""
    for option in (job_option, ledger_option, pipeline_option, of_queue_option):
        command = option(command)
    return command


def numbers(
    kind: type[_Number], least: float, most: float, what: str
) -> Callable[[click.Context, click.Parameter, str], tuple[_Number, ...]]:
    """A callback that reads numbers which are separated by commas. what: legal ones, in words."""

    def read(ctx: click.Context, param: click.Parameter, text: str) -> tuple[_Number, ...]:
        with suppress(ValueError):
            found = tuple(dict.fromkeys(kind(part) for part in text.split(",")))
            if all(least <= number <= most for number in found):
                return found
        raise click.BadParameter(f"{text!r} is not {what}, separated by commas", ctx, param)

    return read


def options_of(kind: type[_Options], given: dict[str, Any]) -> _Options:
    """Those options of the command line that belong to `kind`. Raises ConfigError."""
    from pydantic import ValidationError

    from chunkflow_worker.config.options import faults_of

    mine = {name: value for name, value in given.items() if name in kind.model_fields}
    try:
        return kind.model_validate(mine)
    except ValidationError as error:
        command = click.get_current_context().info_name or ""
        raise ConfigError("chunkflow-producer", faults_of(error, kind, command)) from None


def queue_name(given: str) -> str:
    """The name of a queue that is given by its name, URL or ARN. Raises ConfigError."""
    from chunkflow_worker.config.queue_name import QueueName

    try:
        return QueueName.parse(given).name
    except Mistake as mistake:
        raise mistake.at("queue", given) from None


def open_ledger(pipeline: Path | None, path: str | None) -> ArchivedLedger | None:
    """The ledger at `path`, or else that of the pipeline file; None when neither is given.

    Raises ConfigError when the pipeline file cannot be read.
    """
    from chunkflow_worker.job.archive.ledger import ArchivedLedger
    from producer.plan.pipeline_file import PipelineFile

    path = path or (PipelineFile.load(pipeline).ledger_path if pipeline else None)
    return ArchivedLedger(path) if path else None


def require_ledger(pipeline: Path | None, path: str | None, needed_by: str) -> ArchivedLedger:
    """Like `open_ledger`, but raises UsageError when there is no ledger.

    needed_by: the command or the options that need a ledger, for the message.
    """
    ledger = open_ledger(pipeline, path)
    if ledger is None:
        raise no_ledger(needed_by)
    return ledger


def no_ledger(needed_by: str) -> click.UsageError:
    return click.UsageError(f"{needed_by} needs a ledger: give --ledger or --pipeline")


def queue_of_job(
    given: str | None, ledger: ArchivedLedger | None, job: str | None
) -> tuple[Any, Queue | None]:
    """A client and the queue that is given, or else that of the job; None and None without one.

    Raises UsageError without a queue and a ledger, ConfigError and QueueUnavailable.
    """
    from producer.look.job import find_job

    if not given and ledger is None:
        raise click.UsageError("give --queue, or --pipeline or --ledger for a job without a queue")
    if not given and ledger is not None:
        record = find_job(ledger, job)
        given = record.queue if record else None
    if not given:
        return None, None
    client = sqs_client()
    return client, open_queue(client, given)


def sqs_client(connections: int = 10) -> Any:
    """A client of SQS. connections: how many threads can use it at the same time.

    Raises ConfigError when the settings or the environment are wrong.
    """
    from chunkflow_worker.config.settings import Settings
    from chunkflow_worker.job.sqs import make_client

    return make_client(Settings.load().region, read_seconds=5, connections=connections)


def of_priority(queue: Queue, priority: str) -> Queue:
    """The queue that messages of a priority go to. Raises ConfigError when there is none."""
    from chunkflow_worker.errors import ConfigError

    if priority == "normal":
        return queue
    if not queue.high_url:
        problem = f"does not exist, so queue {queue.name} takes no messages of high priority"
        cure = (
            f"create it with: chunkflow-producer queue create {queue.name} --high; or, on AWS, "
            "allow these credentials to see it"
        )
        raise ConfigError.one("queue", f"{queue.name}-high", problem, cure)
    return queue.at(queue.high_url)


def open_queue(client: Any, given: str) -> Queue:
    """The queue that is given by its name, URL or ARN; warns of dead letters that expire early.

    Raises ConfigError and QueueUnavailable as `find_queue` does.
    """
    from chunkflow_worker.job.sqs import find_queue

    queue = find_queue(client, given)
    if queue.expiry_warning:
        say(f"warning: {queue.expiry_warning}", err=True)
    return queue


def confirm(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone. yes: the user has said --yes.

    Raises UsageError where nobody can answer, and Abort for a no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Add --yes to confirm.")
    click.confirm(question, abort=True, err=True)


def notifier(channels: Sequence[str]) -> Notifier:
    """The notifier of --notify. Raises ConfigError for an address that is none."""
    from producer.look.notify import Notifier, open_channel

    return Notifier(tuple(map(open_channel, channels)), warn=lambda line: say(line, err=True))


def with_pictures(told: Notifier, asked: StatusPoll, ledger: Ledger | None) -> Notifier:
    """The notifier, whose notices have a picture of the map if Pillow is installed.

    asked: which polled the status that a notice is of.
    """
    from importlib.util import find_spec

    def draw() -> str:
        from producer.look.map_picture import put_picture

        if ledger is None or asked.survey is None or asked.job is None:
            return ""
        return put_picture(ledger, asked.job, asked.survey)

    return replace(told, draw=draw) if find_spec("PIL") else told
