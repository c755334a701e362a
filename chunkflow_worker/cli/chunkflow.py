"""The composable ``chunkflow`` command: operators chained on one line, each with its options."""

from __future__ import annotations

import sys
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import click

from chunkflow_worker.cli.worker import guarded
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.catalog import Entry, operator_names, package_operators, read_entry

if TYPE_CHECKING:
    from chunkflow_worker.pipeline.operator import Operator

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


class Chain(click.Group):
    """A group whose commands are the operators, found and loaded by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return operator_names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in operator_names():
            return None
        from chunkflow_worker.pipeline.operator import find_operator

        return _command(find_operator(name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in operator_names():
            from chunkflow_worker.pipeline.operator import find_operator

            find_operator(args[0])  # says which operator was meant
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        entries = [_entry(name) for name in operator_names()]
        for group in GROUPS:
            rows = [(entry.name, entry.summary) for entry in entries if entry.group == group]
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)


def _entry(name: str) -> Entry:
    if name not in package_operators():
        return read_entry(name)
    from chunkflow_worker.pipeline.operator import find_operator

    kind = find_operator(name)
    return Entry(name, kind.group if kind.group in GROUPS else "Other", _summary(kind))


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
    help="Mip level of operators that are given none.",
)
@click.option(
    "--dry-run/--real-run",
    default=False,
    help="Read and compute, but write nothing: no files, records or metrics.",
)
@click.option("--verbose/--quiet", default=False, help="Log each operator.")
@click.option(
    "--freeze",
    type=click.Path(dir_okay=False),
    help="Write the chain as a file for workers, and run nothing.",
)
@click.option(
    "--pipeline", type=click.Path(dir_okay=False), help="Run the chain of a pipeline file, here."
)
@click.option("--ledger", help="Write a record of each task below this path.")
@click.option(
    "--metrics",
    type=click.Choice(["cloudwatch"]),
    help="Send each task's timings there, as workers do; the namespace is CHUNKFLOW_METRICS_NAMESPACE, else chunkflow.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Tasks at the same time: one computes while others load and save; each takes its memory.",
)
@click.option(
    "--summary",
    is_flag=True,
    help="Tell at the end what each operator took, and the voxels a second.",
)
@click.version_option(package_name="chunkflow-worker")
def cli(**options: Any) -> None:
    """Run a chain of operators on one box or many, on this machine.

    Each operator is followed by its options; values are passed on by name, `chunk` unless told otherwise:

    \b
      chunkflow generate-tasks -v file://em -c 64 512 512 \\
          load-precomputed -v file://em \\
          inference -f pytorch -m net.py -w net.pt -s 16 128 128 -v 4 32 32 -c 1 \\
          save-precomputed -v file://membranes

    `chunkflow OPERATOR --help` explains one. The same chain goes to workers: chunkflow --freeze pipeline.yaml ...
    """


@cli.result_callback()
@click.pass_context
def run(ctx: click.Context, /, operators: list[Operator], **options: Any) -> None:
    from chunkflow_worker.cli.local import LocalOptions, freeze, run_here
    from chunkflow_worker.pipeline.chain import Pipeline
    from chunkflow_worker.pipeline.operator import TaskSource

    chain = Pipeline.load(options["pipeline"]) if options["pipeline"] else None
    sources = [o for o in operators if isinstance(o, TaskSource)]
    steps = [o for o in operators if not isinstance(o, TaskSource)]
    if len(sources) > 1 or (sources and operators[0] is not sources[0]):
        raise ConfigError.one(
            "chunkflow",
            sources[-1].op,
            "makes tasks, and there can be one such operator",
            "put it first",
        )
    if chain is not None:
        if steps:
            raise ConfigError.one(
                "chunkflow",
                steps[0].op,
                "stands beside --pipeline",
                "only an operator that makes tasks may",
            )
        chain = Pipeline(chain.operators, sources[0] if sources else chain.tasks, chain.digest)
    elif not steps and not sources:
        raise ConfigError.one("chunkflow", "operators", "there are none", "see chunkflow --help")
    elif steps:
        content: dict[str, Any] = {"operators": [_dump(o) for o in steps]}
        chain = Pipeline.parse(
            content | ({"tasks": _dump(sources[0])} if sources else {}), "chunkflow"
        )
    if options["freeze"]:
        freeze(chain, Path(options["freeze"]))
    else:
        kept = {f.name: options[f.name] for f in fields(LocalOptions)}
        run_here(chain, sources[0] if sources else None, LocalOptions(**kept))


def _command(kind: type[Operator]) -> click.Command:
    from chunkflow_worker.config.options import click_options, given_options

    def build(**params: Any) -> Operator:
        ctx = click.get_current_context()
        given = given_options(ctx, params)
        mip = ctx.find_root().params.get("mip", 0)
        if mip and "mip" in kind.model_fields and kind.model_fields["mip"].default is None:
            given.setdefault("mip", mip)
        return _build(kind, given)

    name = kind.model_fields["op"].default
    parameters = click_options(kind, skip=frozenset({"op"}))
    return click.Command(
        name,
        callback=build,
        params=parameters,
        help=kind.__doc__,
        short_help=_summary(kind),
        epilog=_epilog(kind),
    )


def _epilog(kind: type[Operator]) -> str | None:
    return f"Example:\n\n\b\n{indent(cleandoc(kind.example), '  ')}" if kind.example else None


def _build(kind: type[Operator], given: dict[str, Any]) -> Operator:
    from pydantic import ValidationError

    from chunkflow_worker.config.options import faults_of

    try:
        return kind.model_validate(given)
    except ValidationError as error:
        name = kind.model_fields["op"].default
        raise ConfigError(f"chunkflow {name}", faults_of(error, kind, name)) from None


def _dump(operator: Operator) -> dict[str, Any]:
    return {"op": operator.op} | operator.model_dump(mode="json", exclude_defaults=True)


def _summary(kind: type[Operator]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def main() -> None:
    sys.argv[0] = "chunkflow"
    guarded(cli)
