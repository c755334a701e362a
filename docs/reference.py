"""Make the reference pages, in Markdown, from the operators' classes and the commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from inspect import cleandoc

import click
import yaml

from chunkflow_worker.cli.chunkflow import (
    COMPARED,
    GROUPS,
    Chain,
    cli,
    group_of,
    help_paragraphs,
)
from chunkflow_worker.config.catalog import folder_names, operator_names
from chunkflow_worker.config.options import click_options
from chunkflow_worker.pipeline.operator import Operator, TaskSource, find_operator

_HELP_WIDTH = 90
_TYPES = {"integer": "integer", "float": "number", "boolean": "true or false"}
_ALL_OPERATORS_INTRO = """# Operators

Options are the same on the command line (`--volume-path`) and in YAML (`volume_path`).
`make docs` generates this page.
"""


def grouped_operators() -> dict[str, list[str]]:
    """Return the names of all operators, in the groups of `chunkflow --help`.

    Operators of other packages are included.
    """
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in operator_names():
        groups[group_of(find_operator(name))].append(name)
    return {group: names for group, names in groups.items() if names}


def operators_index() -> str:
    """Return the page that lists all operators."""
    lines = [
        "# Operators",
        "",
        "Options are the same on the command line (`--volume-path`) and in YAML (`volume_path`).",
        "",
    ]
    for group, names in grouped_operators().items():
        rows = [f"| [{name}]({name}.md) | {find_operator(name).summary()} |" for name in names]
        lines += [f"## {group}", "", "| operator | what it does |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def operator_page(name: str) -> str:
    """Return the page of one operator."""
    kind = find_operator(name)
    parts = ["---\nhide: [toc]\n---", f"# {name}"]
    parts += _paragraphs(kind.__doc__ or "")
    if kind.differs:
        parts.append(f'!!! note "{COMPARED}"\n    {kind.differs}')
    if kind.example:
        parts += ["## Example", f"```bash\n{cleandoc(kind.example)}\n```"]
        parts += ["In a pipeline file:", f"```yaml\n{_as_yaml(kind)}```"]
    parts += ["## Options", f"```text\n{_usage(kind)}\n```", options_table(kind)]
    return "\n\n".join(part for part in parts if part) + "\n"


def all_operators_page() -> str:
    """Return one page with all operators of this package, for readers of the repository."""
    sections = []
    for name in sorted(folder_names()):
        kind = find_operator(name)
        paragraphs = _paragraphs("\n\n".join(help_paragraphs(kind)))
        example = f"```bash\n{cleandoc(kind.example)}\n```" if kind.example else ""
        parts = [f"## {name}", *paragraphs, example, options_table(kind)]
        sections.append("\n\n".join(part for part in parts if part) + "\n")
    return "\n".join([_ALL_OPERATORS_INTRO, *sections])


def options_table(kind: type[Operator]) -> str:
    """Return the options of an operator: names in YAML, flags, types, defaults, help texts."""
    rows = ["| option | flags | type | default | what it is |", "| --- | --- | --- | --- | --- |"]
    for option in click_options(kind, skip=frozenset({"op"})):
        assert isinstance(option, click.Option)
        assert option.name is not None
        info = kind.model_fields[option.name]
        default = "required" if info.is_required() else _default(info.default)
        text = (info.description or "").replace("|", "\\|")
        row = [f"`{option.name}`", _flags(option), _type(option), default, text]
        rows.append(f"| {' | '.join(row)} |")
    return "\n".join(rows)


def command_page(name: str, command: click.Command) -> str:
    """Return the page of a command: its help, and the help of each subcommand."""
    settings = command.context_settings | {"terminal_width": _HELP_WIDTH}
    ctx = click.Context(command, info_name=name, **settings)
    sections = [f"# {name}", *_help_sections(name, ctx)]
    return "\n\n".join(sections) + "\n"


def _help_sections(name: str, ctx: click.Context) -> Iterator[str]:
    yield f"```text\n{ctx.command.get_help(ctx)}\n```"
    if isinstance(ctx.command, click.Group) and not isinstance(ctx.command, Chain):
        for below in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, below)
            assert command is not None  # it is listed
            title = f"{name} {below}"
            yield f"## {title}"
            yield from _help_sections(title, click.Context(command, parent=ctx, info_name=below))


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, each in one line."""
    return [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]


def _usage(kind: type[Operator]) -> str:
    """Return the usage line of an operator, with its required options."""
    required = [option for option in click_options(kind, skip=frozenset({"op"})) if option.required]
    ctx = click.Context(click.Command("chunkflow"))
    words = [f"{option.opts[-1]} {option.make_metavar(ctx)}" for option in required]
    operator = [kind.model_fields["op"].default, *words, "[OPTIONS]"]
    if issubclass(kind, TaskSource):
        chain = ["chunkflow [OPTIONS]", *operator, "OPERATOR..."]
    else:
        chain = ["chunkflow [OPTIONS] [OPERATOR]...", *operator, "[OPERATOR]..."]
    return " ".join(chain)


def _as_yaml(kind: type[Operator]) -> str:
    """Return the operator of its example as a pipeline file writes it."""
    name = kind.model_fields["op"].default
    operator = next(operator for operator in _parse(kind.example) if operator.op == name)
    lines = [f"{key}: {_one_line(value)}\n" for key, value in operator.dump().items()]
    if isinstance(operator, TaskSource):
        return f"tasks:\n  {'  '.join(lines)}"
    return f"operators:\n  - {'    '.join(lines)}"


def _one_line(value: object) -> str:
    """Return a value in YAML. After a single word PyYAML adds a line, which is dropped."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]


def _parse(line: str) -> list[Operator]:
    """Return the operators of a command line."""
    words = shlex.split(line.replace("\\\n", " "))[1:]
    # Like the command `chunkflow`, but it runs nothing.
    chain = Chain("chunkflow", chain=True, params=cli.params)
    operators: list[Operator] = chain.main(words, standalone_mode=False)
    return operators


def _flags(option: click.Option) -> str:
    flags = sorted(option.opts, key=len, reverse=True)
    negative = sorted(option.secondary_opts, key=len, reverse=True)
    return " ".join(f"`{flag}`" for flag in [*flags, *negative])


def _type(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return " ".join(f"`{choice}`" for choice in option.type.choices)
    word = _TYPES.get(option.type.name, "text")
    return word if option.nargs == 1 else f"{option.nargs} {word}s"


def _default(default: object) -> str:
    if default in (None, ""):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    text = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f"`{text}`"
