"""``chunkflow-producer``: what does the user want?

commands/          one file for each command
options.py         the options that several commands have
stages.py          the option --stage, for commands that know nothing of stages
stage_bars.py      one bar for each stage, for ``run``
send_boxes.py      sends messages and shows a progress bar, for ``enqueue`` and ``verify``
status_table.py    a status as text, for ``status``
runs_table.py      runs of a job on paper as a table, for ``simulate``
plan_table.py      a forecast as text, for ``plan``
verified.py        reads boxes back and tells what was found, for ``verify`` and ``status``
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from chunkflow_worker.config.commands import Group, run_command
from chunkflow_worker.report.quiet import quiet_libraries

_FOLDER = Path(__file__).parent / "commands"


class Commands(Group):
    """A group whose commands are the files of the folder `commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        files = (path.stem for path in _FOLDER.glob("*.py"))
        return sorted(stem.replace("_", "-") for stem in files if not stem.startswith("_"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        stem = name.replace("-", "_")
        module = import_module(f"producer.cli.commands.{stem}")
        command: click.Command = getattr(module, stem)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chunkflow-worker")
def cli() -> None:
    """Send the tasks of a job to SQS, and see what workers do with them.

    Region, endpoint and credentials come from the standard AWS variables, profiles and roles.
    """


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit status, see `run_command`."""
    quiet_libraries()
    return run_command(cli, "chunkflow-producer", args)
