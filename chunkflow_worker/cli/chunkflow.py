"""The composable ``chunkflow`` command: operators chained on one line, each with its options."""

from __future__ import annotations

import sys
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import click

from chunkflow_worker.cli import old_lines
from chunkflow_worker.cli.look import look
from chunkflow_worker.config.catalog import (
    facts_of,
    former_names,
    operator_names,
    replaced_names,
)
from chunkflow_worker.config.commands import (
    Command,
    Group,
    LocalFile,
    before_the_rest,
    note,
    run_command,
    todays_words,
)
from chunkflow_worker.config.facts import Facts
from chunkflow_worker.config.old_words import OldWords
from chunkflow_worker.errors import ConfigError

if TYPE_CHECKING:
    from chunkflow_worker.pipeline.chain import Pipeline
    from chunkflow_worker.pipeline.operator import Operator, TaskSource

GROUPS = (
    "Tasks",
    "Read",
    "Write",
    "Image",
    "Segmentation",
    "Inference",
    "Mesh and skeleton",
    "View",
    "Service",
    "Other",
)
COMMANDS: dict[str, click.Command] = {"look": look}
"""Commands that are no operators: they stand alone, as the first word of a line."""
COMPARED = "Differences from chunkflow 1.2.0"


class Chain(Group):
    """A group whose commands are the operators, found and loaded by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return operator_names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in operator_names():
            return None
        from chunkflow_worker.pipeline.operator import find_operator

        return _command(find_operator(name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = OldWords.read(old_lines.RENAMED, old_lines.REMOVED)
        return super().parse_args(ctx, todays_words(words, self, ctx, args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in operator_names():
            today = former_names().get(name)
            if today is None:
                raise _unknown_operator(ctx, name)
            note(ctx, f"{name} is called {today} today")
            args = [today, *args[1:]]
        return super().resolve_command(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(_example(_a_whole_chain()))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for name in operator_names():
            facts = _facts(name)
            rows[group_of(facts)].append((name, facts.summary()))
        for group, commands in rows.items():
            if commands:
                with formatter.section(group):
                    formatter.write_dl(commands)
        with formatter.section("Commands that stand alone"):
            formatter.write_dl([(n, c.get_short_help_str(100)) for n, c in COMMANDS.items()])


def group_of(facts: type[Facts]) -> str:
    """The group that help and reference list an operator in."""
    return facts.group if facts.group in GROUPS else "Other"


def help_paragraphs(kind: type[Operator]) -> list[str]:
    """The help text of an operator, without its options and example."""
    differs = [f"{COMPARED}: {kind.differs}"] if kind.differs else []
    return [*cleandoc(kind.__doc__ or "").split("\n\n"), *differs]


def _facts(name: str) -> type[Facts]:
    """The facts of an operator; imports it only if they cannot be read from the source."""
    facts = facts_of(name)
    if facts is not Facts:
        return facts
    from chunkflow_worker.pipeline.operator import find_operator

    return find_operator(name)


def _a_whole_chain() -> type[Facts]:
    """An operator whose example leads from an image to a result."""
    return next(facts for facts in map(_facts, operator_names()) if facts.group == "Inference")


@click.group(
    cls=Chain,
    chain=True,
    invoke_without_command=True,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--mip",
    "-m",
    type=int,
    default=0,
    show_default=True,
    help="Mip level for operators whose own --mip is not given.",
)
@click.option(
    "--dry-run/--real-run",
    default=False,
    help="Read and compute, but write nothing: no files, records or metrics.",
)
@click.option("--verbose/--quiet", default=False, help="Log each operator.")
@click.option(
    "--freeze",
    type=LocalFile(),
    help="Write the chain as a file for workers, and run nothing.",
)
@click.option(
    "--pipeline",
    type=LocalFile(),
    help="Run a pipeline file on this machine: its chain, or all its stages. FILE#STAGE runs one.",
)
@click.option(
    "--ledger",
    help="Write a record of each task below this path; with --keep-going, by default `log` below "
    "the last volume that the chain saves.",
)
@click.option("--job", default="local", show_default=True, help="Name of the job in the ledger.")
@click.option(
    "--keep-going",
    is_flag=True,
    help="Record a task that fails in the ledger, and go on with the next; the exit status is then "
    "1 at the end.",
)
@click.option(
    "--metrics",
    type=click.Choice(["cloudwatch"]),
    help="Send the timings of each task to CloudWatch, as workers do; the namespace is "
    "CHUNKFLOW_METRICS_NAMESPACE, or chunkflow if it is not set.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Number of tasks in flight: one computes while others load and save. Each needs memory.",
)
@click.option(
    "--summary",
    is_flag=True,
    help="At the end, print the time of each operator and the voxels per second.",
)
@click.version_option(package_name="chunkflow-worker")
def cli(**options: Any) -> None:
    """Run a chain of operators on one box or many, on this machine.

    Each operator is followed by its options. Operators pass values to each other by name; the name
    is `chunk` unless an option changes it. `chunkflow OPERATOR --help` explains an operator. With
    `--freeze pipeline.yaml` the same chain becomes a file for workers.
    """


@cli.result_callback()
def run(
    operators: list[Operator],
    /,
    *,
    mip: int,
    freeze: str | None,
    pipeline: str | None,
    **options: Any,
) -> None:
    from chunkflow_worker.cli import local
    from chunkflow_worker.cli.own_code import shown_traceback
    from chunkflow_worker.job.stages import has_stages

    if pipeline and not (operators or freeze) and has_stages(pipeline):
        from chunkflow_worker.cli.local_stages import run_stages

        with shown_traceback(options["verbose"]):
            run_stages(Path(pipeline), local.LocalOptions(**options))
        return
    chain, source = _chain(operators, pipeline)
    if freeze:
        local.freeze(chain, Path(freeze))
        return
    with shown_traceback(options["verbose"]):
        local.run_here(chain, source, local.LocalOptions(**options))


def _chain(
    operators: list[Operator], file: str | None
) -> tuple[Pipeline | None, TaskSource | None]:
    """The chain that the command line describes, and the operator on it that makes tasks.

    file: the pipeline file that is given, in place of operators that work on tasks.
    The chain is None if the command line holds nothing but an operator that makes tasks.
    Raises ConfigError.
    """
    from chunkflow_worker.pipeline.chain import Pipeline
    from chunkflow_worker.pipeline.operator import TaskSource

    sources = [o for o in operators if isinstance(o, TaskSource)]
    steps = [o for o in operators if not isinstance(o, TaskSource)]
    if len(sources) > 1 or (sources and operators[0] is not sources[0]):
        raise _error(
            sources[-1].op,
            "makes tasks, and a chain can have only one such operator",
            "put it first",
        )
    source = sources[0] if sources else None
    if file is not None:
        chain = Pipeline.load(file)
        if steps:
            cure = "with --pipeline, give at most one operator, which makes tasks"
            raise _error(steps[0].op, "cannot be used with --pipeline", cure)
        return (replace(chain, tasks=source) if source else chain), source
    if not operators:
        raise _error("operators", "the chain has no operators", "see chunkflow --help")
    return Pipeline.of(steps, source, "chunkflow") if steps else None, source


def _unknown_operator(ctx: click.Context, name: str) -> ConfigError:
    """The error for a word that follows an operator's options, or is the first on the line."""
    from chunkflow_worker.pipeline.operator import similar_operator, unknown_operator

    before = before_the_rest(ctx)
    if before is None or name in replaced_names() or similar_operator(name):
        return unknown_operator(name)
    operator, option, count = before
    values = f"takes {count or 'no'} value{'s' * (count != 1)}"
    rule = f"{option} of {operator} {values}" if option else f"{operator} takes values by options"
    return _error("operators", f"no operator is named {name!r}", f"{rule}: see its --help")


def _error(place: str, problem: str, cure: str) -> ConfigError:
    return ConfigError.one("chunkflow", place, problem, cure)


def _command(kind: type[Operator]) -> click.Command:
    from chunkflow_worker.config.options import click_options, given_options

    def build(**params: Any) -> Operator:
        ctx = click.get_current_context()
        given = given_options(ctx, params)
        root = ctx.find_root()
        takes_mip = "mip" in kind.model_fields and kind.model_fields["mip"].default is None
        if takes_mip and "mip" in given_options(root, root.params):
            given.setdefault("mip", root.params["mip"])
        return _build(kind, given)

    return Command(
        kind.model_fields["op"].default,
        old_words=OldWords.of(kind),
        callback=build,
        params=click_options(kind, skip=frozenset({"op"})),
        help="\n\n".join(help_paragraphs(kind)),
        short_help=kind.summary(),
        epilog=f"Example:\n\n{_example(kind)}" if kind.example else None,
    )


def _example(facts: type[Facts]) -> str:
    """The example, which click must not wrap."""
    return f"\b\n{indent(cleandoc(facts.example), '  ')}"


def _build(kind: type[Operator], given: dict[str, Any]) -> Operator:
    from pydantic import ValidationError

    from chunkflow_worker.config.options import faults_of

    try:
        return kind.model_validate(given)
    except ValidationError as error:
        name = kind.model_fields["op"].default
        raise ConfigError(f"chunkflow {name}", faults_of(error, kind, name)) from None


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    alone = Group("chunkflow", commands=COMMANDS)
    sys.exit(run_command(alone if name in COMMANDS else cli, "chunkflow"))
