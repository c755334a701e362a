"""Commands of click that take words of older versions, and tell wrong usage in a line or two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from chunkflow_worker.config.old_words import OldWords, plain
from chunkflow_worker.errors import ConfigError

_NOTES = f"{__name__}.notes"
_LINE = f"{__name__}.line"


class Command(click.Command):
    """A command that also takes the options of older versions, with a note for each.

    old_words: these options.
    """

    def __init__(self, *args: Any, old_words: OldWords | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.old_words = old_words or OldWords()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = todays_words(self.old_words, self, ctx, args)
        rest = super().parse_args(ctx, [*words])
        ctx.find_root().meta[_LINE] = (self, words[: len(words) - len(rest)])
        return rest


class Group(click.Group):
    """A group that tells wrong usage of it and of its commands in a line or two."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _short_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _short_usage():
            return super().invoke(ctx)


def todays_words(
    old_words: OldWords, command: click.Command, ctx: click.Context, args: list[str]
) -> list[str]:
    """The options of a command line in today's words; notes say which were old.

    Raises ConfigError for an option that was removed.
    """
    values = dict.fromkeys(command.get_help_option_names(ctx), 0)
    for option in command.params:
        count = 0 if isinstance(option, click.Option) and option.is_flag else option.nargs
        values |= dict.fromkeys((*option.opts, *option.secondary_opts), count)
    found = old_words.translate(args, values)
    for old in found.renamed:
        note(ctx, f"{ctx.info_name}: {' '.join(old.old)} is written {' '.join(old.today)} today")
    if found.removed is not None:
        old = found.removed
        raise ConfigError.one(
            ctx.command_path, old.old[0], "is no longer an option", plain(old.cure)
        )
    return found.words


def note(ctx: click.Context, text: str) -> None:
    """Tell something on stderr, once for a command line."""
    given: set[str] = ctx.find_root().meta.setdefault(_NOTES, set())
    if text not in given:
        given.add(text)
        click.echo(f"note: {text}", err=True)


def before_the_rest(ctx: click.Context) -> tuple[str, str, int] | None:
    """The command before the rest of a chain, its last option, and how many values that takes.

    The option is empty if it has none. None if no command was read.
    """
    command, words = ctx.find_root().meta.get(_LINE, (None, []))
    if command is None:
        return None
    options = {
        flag: option for option in command.params for flag in (*option.opts, *option.secondary_opts)
    }
    for word in reversed(words):
        option = options.get(word.partition("=")[0])
        if option is not None:
            return command.name, word, 0 if option.is_flag else option.nargs
    return command.name, "", 0


class _ShortUsage(click.UsageError):
    """A usage error that shows what is wrong and where help is."""

    def __init__(self, error: click.UsageError, where: str):
        super().__init__(error.format_message().rstrip("."), error.ctx)
        self.where = where

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {self.where}: {self.message}", file, err=True)
        click.echo(f"    see {self.where} --help", file, err=True)


@contextmanager
def _short_usage() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        is_help = isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ()))
        if is_help or isinstance(error, _ShortUsage) or error.ctx is None:
            raise
        raise _ShortUsage(error, error.ctx.command_path) from None
