"""Find the commands, operators and options that a page or a manifest names and that do not exist.

The reference is the code: the commands of click, and the operators below `chunkflow`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click

from chunkflow_worker.cli.chunkflow import COMMANDS
from chunkflow_worker.cli.chunkflow import cli as chunkflow
from chunkflow_worker.cli.worker import cli as worker
from producer.cli import cli as producer
from tests.support.paths import ROOT

PAGES = [
    page
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "deploy/**/*.md")
    for page in sorted(ROOT.glob(pattern))
]
PROGRAMS: dict[str, click.Group] = {
    "chunkflow": chunkflow,
    "chunkflow-worker": worker,
    "chunkflow-producer": producer,
}
ALONE = click.Group("chunkflow", commands=COMMANDS)
"""The commands of chunkflow that are no operators."""

_BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"--?[a-z]")
_HYPHENATED = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
_IN_A_CONTAINER = {
    r"docker compose run --rm( --no-deps)? producer ": "chunkflow-producer ",
    r"docker run .* your-image ": "chunkflow-worker ",
}


def unknown(words: list[str]) -> list[str]:
    """Return what a command line names and its program does not have: commands, operators, options.

    Lines of other programs give an empty list.
    """
    if words[:1] == ["tini"]:
        words = words[2:]
    if not words or words[0] not in PROGRAMS:
        return []
    is_alone = words[0] == "chunkflow" and words[1:2] and words[1] in COMMANDS
    program = command = ALONE if is_alone else PROGRAMS[words[0]]
    rest, wrong = iter(words[1:]), []
    with click.Context(program) as context:
        for word in rest:
            if _OPTION.match(word):
                name, _, value = word.partition("=")
                option = _option(command, name, context)
                if option is None:
                    wrong.append(f"{command.name} {name}")
                elif not value and not option.is_flag:
                    _ = [next(rest, "") for _ in range(option.nargs)]
                continue
            group = program if program.chain else command
            if not isinstance(group, click.Group) or not re.match("[a-z]", word):
                continue
            inner = group.get_command(context, word)
            if inner is None:
                wrong.append(f"{group.name} {word}")
            else:
                command = inner
    return wrong


def _option(command: click.Command, name: str, context: click.Context) -> click.Option | None:
    for parameter in command.get_params(context):
        names = (*parameter.opts, *parameter.secondary_opts)
        if isinstance(parameter, click.Option) and name in names:
            return parameter
    return None


def command_lines(path: Path) -> Iterator[list[str]]:
    """The command lines of our programs: of a page those in code, of other files also comments."""
    text = re.sub(r"\\\n\s*", "", path.read_text())
    for start, program in _IN_A_CONTAINER.items():
        text = re.sub(start, program, text)
    if path.suffix == ".md":
        found = re.findall(r"^ *(chunkflow\S* .+)$", "\n".join(_code(text)), re.MULTILINE)
    else:
        found = re.findall(r"\b(chunkflow-(?:worker|producer) .+)", text)
    for line in found:
        command = re.split(r" (?:[|&>]|#)|;", line)[0]
        yield [word.strip("`'\".,:()") or word for word in command.split()]


def _code(page: str) -> list[str]:
    """The blocks of code of a page, then its code spans."""
    return [*_BLOCK.findall(page), *_SPAN.findall(_BLOCK.sub("", page))]


def unknown_words(page: Path) -> set[str]:
    """Return the options, and the words with a hyphen, in the page's code spans that are not ours.

    Operators and commands are nearly all such words. So a name that no longer exists is found even
    where no command line calls it.
    """
    spans = _SPAN.findall(_BLOCK.sub("", page.read_text()))
    words = {word.strip(",.:;").partition("=")[0] for span in spans for word in span.split()}
    names = {word for word in words if _OPTION.match(word) or _HYPHENATED.fullmatch(word)}
    return names - known_words()


@cache
def known_words() -> frozenset[str]:
    """The names of our programs, commands and operators, and all their options."""
    groups = [*PROGRAMS.values(), ALONE]
    return frozenset({*PROGRAMS, *(word for group in groups for word in _below(group))})


def _below(command: click.Command) -> Iterator[str]:
    with click.Context(command) as context:
        for parameter in command.get_params(context):
            yield from (*parameter.opts, *parameter.secondary_opts)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield name
                yield from _below(inner)
