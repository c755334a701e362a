"""Options declared once: a pydantic model gives the YAML keys, the schema and the flags."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from chunkflow_worker.config.facts import Facts
from chunkflow_worker.config.old_words import OldWord, OldWords, plain
from chunkflow_worker.errors import Fault
from chunkflow_worker.image.bbox import Vec3

if TYPE_CHECKING:
    import click


class Options(BaseModel):
    """Base class of everything that a user configures. Unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def field(
    default: Any = ...,
    *,
    flag: str = "",
    off: str = "",
    valued: bool = False,
    aliases: tuple[str, ...] = (),
    metavar: str = "",
    help: str,
    **limits: Any,
) -> Any:
    """Declare one option.

    default: the value when the user gives none; leave it out for a required option.
    flag: short command-line flag, for example ``-t``.
    off: the flag that turns a boolean off; ``--no-<name>`` when empty.
    valued: write a boolean as ``--<name> true``, not as a pair of flags.
    aliases: further long flags.
    metavar: what stands for the values in the help text; by default it follows from the type.
    help: one sentence.
    limits: further arguments of pydantic's Field, for example ge=1.
    """
    flags: dict[str, Any] = {
        "flag": flag,
        "off": off,
        "valued": valued,
        "aliases": list(aliases),
        "metavar": metavar,
    }
    given_flags = {name: value for name, value in flags.items() if value}
    return Field(default, description=help, json_schema_extra={"x-cli": given_flags}, **limits)


def with_flag(model: type[Options], name: str, flag: str) -> Any:
    """Declare an option of `model` again, with another short flag. It must have no limits."""
    option = model.model_fields[name]
    return field(option.default, flag=flag, help=option.description or "")


def above_zero(value: Any) -> Any:
    """Check a size, as a pydantic validator. Raises ValueError unless all numbers are above 0."""
    if value is not None and min(value) <= 0:
        raise ValueError("takes numbers above 0")
    return value


def faults_of(error: ValidationError, model: type[Options], place: str) -> Iterator[Fault]:
    """The faults that pydantic found in the options of `model`, in the user's terms.

    place: the name of these options in the configuration, for example operators.2.
    """
    for details in error.errors():
        yield _fault(details, model, place)


def _fault(details: ErrorDetails, model: type[Options], place: str) -> Fault:
    name = str(details["loc"][0]) if details["loc"] else ""
    where = f"{place}.{name}" if name else place
    info = model.model_fields.get(name)
    description = info.description or "" if info else ""
    old = _old_word(details, model, name)
    if old is not None:
        problem = "is written differently today" if old.today else "is no longer an option"
        return Fault(where, problem, _today(old))
    if details["type"] == "extra_forbidden":
        known = [known for known in model.model_fields if known != "op"]
        similar = get_close_matches(name, known, n=1)
        question = f"did you mean {similar[0]!r}? " if similar else ""
        return Fault(where, f"there is no option {name!r}", f"{question}known: {', '.join(known)}")
    if details["type"] == "missing":
        return Fault(where, "is required", description)
    if details["type"] == "literal_error":
        problem = f"{details['input']!r} is not one of its values"
        return Fault(where, problem, "legal: " + details["ctx"]["expected"])
    message = details["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return Fault(where, f"{details['input']!r}: {message}" if name else message, description)


def _old_word(details: ErrorDetails, model: type[Options], name: str) -> OldWord | None:
    """The option or value of an older version that is the fault; None if it is another."""
    if not issubclass(model, Facts):
        return None
    words = [f"--{name.replace('_', '-')}"]
    if details["type"] == "literal_error":
        words.append(str(details["input"]))
    elif details["type"] != "extra_forbidden":
        return None
    return OldWords.of(model).find(words)


def _today(old: OldWord) -> str:
    """What a pipeline file says instead of an old word."""
    if not old.today:
        return plain(old.cure)
    flag, *values = old.today
    value = " ".join(values) or "..."
    return f"write {flag.removeprefix('--').replace('-', '_')}: {value}"


def click_options(
    model: type[Options], skip: frozenset[str] = frozenset()
) -> list[click.Parameter]:
    """Command-line options for the fields of `model`, in their order, without those in `skip`.

    The option `name`, which all operators have and few users need, comes last.
    """
    names = [name for name in model.model_fields if name not in skip]
    names.sort(key=lambda name: name == "name")
    return [_click_option(name, model.model_fields[name]) for name in names]


def given_options(ctx: click.Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that the user wrote on the command line; the model supplies the defaults."""
    from click.core import ParameterSource

    return {
        name: value
        for name, value in params.items()
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def _click_option(name: str, info: FieldInfo) -> click.Option:
    import click

    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    flags: dict[str, Any] = extra.get("x-cli", {})  # type: ignore[assignment]
    kind = _without_none(info.annotation)
    dashed = name.replace("_", "-")
    names = [name, *([flags["flag"]] if "flag" in flags else []), *flags.get("aliases", [])]
    help_text = info.description or ""
    default = None if info.default is PydanticUndefined else info.default
    if kind is bool and not flags.get("valued"):
        off = flags.get("off") or f"--no-{dashed}"
        return click.Option(
            [*names, f"--{dashed}/{off}"],
            default=default,
            show_default=default is not None,
            help=help_text,
        )
    nargs, click_type = _click_type(kind)
    # click takes an explicit default of None for a value, so that `required` has no effect.
    default_given = {} if default is None else {"default": default}
    return click.Option(
        [*names, f"--{dashed}"],
        type=click_type,
        nargs=nargs,
        required=info.is_required(),
        show_default=default not in (None, ""),
        help=help_text,
        metavar=flags.get("metavar") or _metavar(kind),
        **default_given,
    )


def _click_type(kind: Any) -> tuple[int, Any]:
    """Number of values that the flag takes, and their type."""
    import click

    if get_origin(kind) is Literal:
        return 1, click.Choice([str(v) for v in get_args(kind)])
    if kind is Vec3:
        return 3, int
    if get_origin(kind) is tuple:
        items = get_args(kind)
        return len(items), _without_none(items[0])
    return 1, kind if kind in (int, float, bool) else str


def _metavar(kind: Any) -> str | None:
    """The placeholder for the values in the help text; None leaves it to click."""
    is_tuple = get_origin(kind) is tuple
    if kind is Vec3 or (is_tuple and len(get_args(kind)) == 3):
        return "Z Y X"
    return " ".join(["N"] * len(get_args(kind))) if is_tuple else None


def _without_none(kind: Any) -> Any:
    """The type of a value that may also be None; str for a union of several other types."""
    if get_origin(kind) is Annotated:
        return _without_none(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        others = [k for k in get_args(kind) if k is not type(None)]
        return _without_none(others[0]) if len(others) == 1 else str
    return kind
