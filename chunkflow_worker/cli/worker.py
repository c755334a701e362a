"""The ``chunkflow-worker`` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from chunkflow_worker.config.commands import Group, LocalFile, run_command
from chunkflow_worker.report.quiet import quiet_libraries
from chunkflow_worker.report.say import say, say_json, say_text

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Group, context_settings=_CONTEXT)
@click.version_option(package_name="chunkflow-worker")
def cli() -> None:
    """Take tasks from a queue and run a chain of operators on each."""


@cli.command()
@click.option(
    "--pipeline",
    "-p",
    type=LocalFile(),
    help="File with the chain of operators (YAML).",
)
@click.option("--queue", "-q", help="Name of the SQS queue; its URL or ARN will do.")
@click.option(
    "--stages",
    help="Take only these stages of the pipeline file, separated by commas, from their queue "
    "(default: all whose tasks come through the queue).",
)
@click.option(
    "--ledger",
    help="Path for the records of tasks; by default log/ below the last volume that is saved.",
)
@click.option(
    "--shared-disk",
    is_flag=True,
    default=None,
    help="Allow relative paths to write to: all workers run in one folder of one disk.",
)
@click.option("--in-flight", type=int, help="Number of tasks to work on at the same time.")
@click.option(
    "--lease",
    "lease_seconds",
    type=int,
    help="Seconds after which the task of a dead worker becomes visible to others.",
)
@click.option(
    "--grace",
    "grace_seconds",
    type=float,
    help="Seconds that tasks have to finish after SIGTERM (default: 1).",
)
@click.option(
    "--task-time-limit",
    type=float,
    help="Seconds after which a task counts as hung: it fails, and the worker exits.",
)
@click.option(
    "--devices",
    help="GPUs, with one worker process for each: 0,1,2 or UUIDs or all (default: one process).",
)
def run(**options: Any) -> None:
    """Work on a queue until stopped.

    Each option can also be set as an environment variable, for example CHUNKFLOW_PIPELINE: see
    `chunkflow-worker settings`. `celery -A chunkflow_worker worker` runs the same worker.
    """
    for name, value in options.items():
        if value is not None:
            os.environ[f"CHUNKFLOW_{name.upper()}"] = str(value)
    command = [sys.executable, "-m", "celery", "--quiet", "--app", "chunkflow_worker", "worker"]
    devices = os.environ.pop("CHUNKFLOW_DEVICES", "")
    if devices or options["devices"] is not None:
        from chunkflow_worker.service.supervise import supervise

        sys.exit(supervise(devices, command))
    os.execv(sys.executable, command)


@cli.command()
@click.argument("pipeline", type=LocalFile())
@click.option(
    "--chunk-size",
    "-c",
    type=click.IntRange(1),
    nargs=3,
    multiple=True,
    help="Size of a task's box to estimate for (default: that of the pipeline's tasks); with "
    "--json, it may be given several times.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print what tasks read, compute and hold in memory as JSON, and nothing else.",
)
@click.option(
    "--region",
    help="With --json: the region that the boxes cut, z0-z1_y0-y1_x0-x1 (default: one box).",
)
@click.option(
    "--ledger",
    envvar="CHUNKFLOW_LEDGER",
    show_envvar=True,
    help="Path for the records of tasks, for a chain that saves no volume.",
)
@click.option("--stage", metavar="NAME", help="Only this stage of a file with stages.")
@click.option(
    "--open",
    "open_it",
    is_flag=True,
    help="Also open the volumes, load the models and measure their memory.",
)
def check(
    pipeline: str,
    chunk_size: tuple[tuple[int, int, int], ...],
    as_json: bool,
    region: str | None,
    ledger: str | None,
    stage: str | None,
    open_it: bool,
) -> None:
    """Validate a pipeline file and print what it will do.

    Reports all errors at once, with exit status 2.
    """
    from chunkflow_worker.cli.check import report, report_json, report_stages
    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.job.stages import has_stages, split_stage, stage_path
    from chunkflow_worker.pipeline.chain import Pipeline

    if as_json and open_it:
        raise click.UsageError("give --json or --open")
    if not as_json and (region is not None or len(chunk_size) > 1):
        raise click.UsageError("--region, and several of --chunk-size, need --json")
    size = chunk_size[0] if chunk_size else None
    if stage:
        pipeline = str(stage_path(split_stage(pipeline)[0], stage))
    if not as_json and has_stages(split_stage(pipeline)[0]):
        report_stages(pipeline, size, ledger, open_it)
        return
    chain = Pipeline.load(pipeline)
    if not as_json:
        report(chain, pipeline, size, ledger, open_it)
        return
    try:
        box = BoundingBox.parse(region) if region else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--region") from None
    report_json(chain, chunk_size, box)


@cli.command()
@click.option(
    "--ready",
    is_flag=True,
    help="Also check that volumes and models are open and that the queue answers.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Check only that the workers are alive (default).",
)
def health(ready: bool, live: bool) -> None:
    """Show the health of the workers on this machine, for probes.

    The exit status is 0 or 1, and one line says why. Reads the small files that workers write to
    CHUNKFLOW_HEALTH_FOLDER; by default, to a folder of the user's own among the temporary files.
    Files of other users do not count.
    """
    from chunkflow_worker.service.health import probe

    if ready and live:
        raise click.UsageError("give --live or --ready")
    good, line = probe(ready)
    say(line, err=not good)
    sys.exit(not good)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of a pipeline file.

    Editors use it to complete and check such files.
    """
    from chunkflow_worker.pipeline.schema import pipeline_schema

    say_json(pipeline_schema(), indent=2)


@cli.command()
def settings() -> None:
    """Print all settings as a Markdown table."""
    from chunkflow_worker.config.settings import settings_table

    say_text(settings_table())


@cli.command("local-aws")
@click.option("--port", default=0, help="Port to listen on; 0 chooses a free port.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Anyone who can reach it has full access.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps queues and S3 objects for the next start; none: all is lost at the end."
    " Give --port too, so that the address stays.",
)
def local_aws_command(port: int, host: str, data: Path | None) -> None:
    """Serve a local AWS (SQS, S3, CloudWatch) until stopped.

    Prints the environment variables that point AWS clients to it.

    With --data, each change is in the folder before its request is answered. So nothing is lost
    when the process is stopped or killed. After a power cut, the changes of the last moments may be
    missing. A message in flight comes back when its visibility timeout ends. Of a bucket, only its
    objects are kept, each in its latest version, without access list and tags. Metrics and
    incomplete uploads are not kept. All objects are read into memory at the start.
    """
    import signal
    import threading

    from chunkflow_worker.local_aws.serve import local_aws

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with local_aws(port, host, data=data) as variables:
        for name, value in variables.items():
            click.echo(f"export {name}={value}")
        sys.stdout.flush()
        stop.wait()


def main() -> None:
    quiet_libraries()
    sys.exit(run_command(cli, "chunkflow-worker"))
