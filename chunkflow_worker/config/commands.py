"""Commands of click that take words of older versions, and tell wrong usage in a line or two."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import click

from chunkflow_worker.config.old_words import OldWords, plain
from chunkflow_worker.config.places import check_local
from chunkflow_worker.errors import (
    ChunkflowError,
    ConfigError,
    Mistake,
    StorageUnavailable,
    exit_status,
)
from chunkflow_worker.report.say import say, say_text

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
        try:
            _check_numbers(self, words)
            rest = super().parse_args(ctx, [*words])
        except click.NoSuchOption as error:
            if ctx.parent is None or error.option_name not in _options(ctx.parent.command):
                raise
            place = f"it is an option of {ctx.parent.info_name}, before its first command"
            raise click.UsageError(f"No such option {error.option_name!r}: {place}", ctx) from None
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise
        ctx.find_root().meta[_LINE] = (self, words[: len(words) - len(rest)])
        return rest


class LocalFile(click.Path):
    """The name of a file on this machine; what looks like a mistyped address is refused."""

    def __init__(self, path_type: type | None = None):
        super().__init__(dir_okay=False, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            check_local(str(value))
        except Mistake as mistake:
            self.fail(f"{str(value)!r}: {mistake}", param, ctx)
        return super().convert(value, param, ctx)


class Group(click.Group):
    """A group that tells wrong usage of it and of its commands in a line or two."""

    command_class = Command

    def make_context(self, info_name: str | None, *args: Any, **kwargs: Any) -> click.Context:
        with _short_usage(info_name or ""):
            return super().make_context(info_name, *args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _short_usage(ctx.command_path):
            return super().invoke(ctx)


def run_command(command: click.Command, name: str, args: Sequence[str] | None = None) -> int:
    """Run a command and print what ends it. args: of the command line, if they are not sys.argv.

    Returns the exit status: 0 success, 1 failure, 2 if a person must act, 130 an interrupt. It ends
    quietly when nobody reads its output any more, as behind `| head`.
    """
    try:
        status = int(command.main(args, prog_name=name, standalone_mode=False) or 0)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (ChunkflowError, OSError) as error:
        if _is_broken_pipe(error):
            _forget_output()
            return 1
        if not isinstance(error, ChunkflowError):
            raise
        say_text(f"error: {error}", err=True)
        return exit_status(error)
    except (click.Abort, KeyboardInterrupt):
        say("interrupted", err=True)
        return 130
    return status


def _is_broken_pipe(error: BaseException) -> bool:
    """Whether a write to stdout or stderr failed; those to storage are another error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, StorageUnavailable):
        if isinstance(cause, BrokenPipeError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _forget_output() -> None:
    """Keep Python from writing at its end what nobody reads, which would print an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(null, stream.fileno())


def todays_words(
    old_words: OldWords, command: click.Command, ctx: click.Context, args: list[str]
) -> list[str]:
    """The options of a command line in today's words; notes say which were old.

    Raises ConfigError for an option that was removed.
    """
    values = {flag: _count(option) for flag, option in _options(command).items()}
    values |= dict.fromkeys(command.get_help_option_names(ctx), 0)
    found = old_words.translate(args, values)
    for old in found.renamed:
        note(ctx, f"{ctx.info_name}: {' '.join(old.old)} is written {' '.join(old.today)} today")
    if found.removed is not None:
        option, cure = found.removed.old[0], plain(found.removed.cure)
        raise ConfigError.one(ctx.command_path, option, "is no longer an option", cure)
    return found.words


def note(ctx: click.Context, text: str) -> None:
    """Tell something on stderr, once for a command line."""
    given: set[str] = ctx.find_root().meta.setdefault(_NOTES, set())
    if text not in given:
        given.add(text)
        say_text(f"note: {text}", err=True)


def before_the_rest(ctx: click.Context) -> tuple[str, str, int] | None:
    """The command before the rest of a chain, its last option, and how many values that takes.

    The option is empty if it has none. None if no command was read.
    """
    command, words = ctx.find_root().meta.get(_LINE, (None, []))
    if command is None:
        return None
    options = _options(command)
    for word in reversed(words):
        option = options.get(word.partition("=")[0])
        if option is not None:
            return command.name, word, _count(option)
    return command.name, "", 0


def _options(command: click.Command) -> dict[str, click.Option]:
    return {
        flag: option
        for option in command.params
        if isinstance(option, click.Option)
        for flag in (*option.opts, *option.secondary_opts)
    }


def _count(option: click.Option) -> int:
    """How many values an option takes."""
    return 0 if option.is_flag else option.nargs


def _check_numbers(command: click.Command, words: list[str]) -> None:
    """Raises UsageError for an option with too few numbers, which takes words of what follows.

    click would tell that options of the next operator do not exist.
    """
    options, rest = _options(command), words
    while rest and rest[0] in options:
        option = options[rest[0]]
        values = rest[1 : 1 + _count(option)]
        if len(values) > 1 and option.type in (click.INT, click.FLOAT):
            wrong = next((value for value in values if not _is_number(value)), None)
            if wrong is not None:
                problem = f"Option {rest[0]!r} takes {len(values)} numbers, and {wrong!r} is none"
                raise click.UsageError(problem)
        rest = rest[1 + len(values) :]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


class _ShortUsage(click.UsageError):
    """A usage error that shows what is wrong and where help is."""

    def __init__(self, error: click.UsageError, where: str):
        super().__init__(error.format_message().rstrip("."), error.ctx)
        self.where = where

    def show(self, file: IO[Any] | None = None) -> None:
        say_text(f"error: {self.where}: {self.message}", err=True)
        say(f"    see {self.where} --help", err=True)


@contextmanager
def _short_usage(where: str) -> Iterator[None]:
    """where: the command, for an error that does not say which."""
    try:
        yield
    except click.UsageError as error:
        is_help = isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ()))
        if is_help or isinstance(error, _ShortUsage):
            raise
        raise _ShortUsage(error, error.ctx.command_path if error.ctx else where) from None
