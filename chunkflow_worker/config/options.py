"""Options declared once: a pydantic model gives the YAML keys, the schema and the flags."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticUndefined

from chunkflow_worker.config.facts import Facts
from chunkflow_worker.config.old_words import OldWord, OldWords, plain
from chunkflow_worker.config.values import as_meant
from chunkflow_worker.config.variables import with_variables
from chunkflow_worker.errors import Fault, Mistake
from chunkflow_worker.image.bbox import Vec3

if TYPE_CHECKING:
    import click


# The first words of pydantic's names of an error -> what to say.
_KINDS = {
    "string_type": "takes text: put it in quotes",
    "int_": "takes a whole number",
    "float_": "takes a number",
    "bool_": "takes true or false",
    "tuple_type": "takes a list of numbers in brackets",
    "finite_number": "takes a finite number",
}
_LIMITS = {
    "greater_than": ("must be above {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be below {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "too_short": ("takes at least {} values", "min_length"),
    "too_long": ("takes at most {} values", "max_length"),
    "string_too_short": ("takes at least {} characters", "min_length"),
    "string_too_long": ("takes at most {} characters", "max_length"),
}


class Options(BaseModel):
    """Base class of everything that a user configures. Unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="wrap")
    @classmethod
    def _as_meant(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Report what is wrong with the values as the user wrote them beside all other faults."""
        if not isinstance(data, Mapping):
            return handler(data)
        try:
            return handler({name: cls._meant(name, value, data) for name, value in data.items()})
        except ValidationError as error:
            lines = [_named_mistake(details) for details in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, lines) from None

    @classmethod
    def _meant(cls, name: str, value: Any, data: Mapping[str, Any]) -> Any:
        try:
            return cls.meant(name, value, data)
        except Mistake as mistake:
            return _Wrong(value, mistake)

    @classmethod
    def meant(cls, name: str, value: Any, data: Mapping[str, Any]) -> Any:
        """The value of an option as the user means it, with variables replaced.

        data: all options, as the user gave them. Raises Mistake for a value that is wrong.
        """
        info, value = cls.model_fields.get(name), with_variables(value)
        if info is None or value is None:
            return value
        return as_meant(_without_none(info.annotation), value, _flags(info).get("many", False))


@dataclass(frozen=True)
class _Wrong:
    """Takes the place of a wrong value, so that pydantic finds all the other faults too."""

    value: Any
    mistake: Mistake


def _named_mistake(details: ErrorDetails) -> InitErrorDetails:
    value, kind, context = details["input"], details["type"], details.get("ctx", {})
    if isinstance(value, _Wrong):
        value, kind, context = value.value, "value_error", {"error": value.mistake}
    return InitErrorDetails(type=kind, loc=details["loc"], input=value, ctx=context)


def field(
    default: Any = ...,
    *,
    flag: str = "",
    off: str = "",
    valued: bool = False,
    aliases: tuple[str, ...] = (),
    metavar: str = "",
    many: bool = False,
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
    many: a text that separates its items by commas; in YAML it may also be a list.
    help: one sentence.
    limits: further arguments of pydantic's Field, for example ge=1.
    """
    flags: dict[str, Any] = {
        "flag": flag,
        "off": off,
        "valued": valued,
        "aliases": list(aliases),
        "many": many,
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
    return fault_list(error, model, lambda name: f"{place}.{name}" if name else place)


def fault_list(
    error: ValidationError, model: type[BaseModel], where: Callable[[str], str]
) -> Iterator[Fault]:
    """The same for any model. where: what the user calls an option; of "", all of them."""
    seen: set[str] = set()
    for details in error.errors():
        name = str(details["loc"][0]) if details["loc"] else ""
        if not name or name not in seen:  # a union reports each of its types
            yield _fault(details, model, name, where(name))
        seen.add(name)


def _fault(details: ErrorDetails, model: type[BaseModel], name: str, where: str) -> Fault:
    info = model.model_fields.get(name)
    description = info.description or "" if info else ""
    value = details["input"]
    old = _old_word(details, model, name)
    if old is not None:
        problem = "is written differently today" if old.today else "is no longer an option"
        return Fault(where, problem, _today(old))
    if details["type"] in ("extra_forbidden", "invalid_key"):
        known = [known for known in model.model_fields if known != "op"]
        similar = get_close_matches(name, known, n=1)
        question = f"did you mean {similar[0]!r}? " if similar else ""
        return Fault(where, f"there is no option {name!r}", f"{question}known: {', '.join(known)}")
    if details["type"] in ("missing", "too_long") and (count := _count(info)):
        return Fault(where, f"{_shown(value)}: takes {count} values", description)
    if details["type"] == "missing":
        return Fault(where, "is required", description)
    if details["type"] == "literal_error":
        problem = f"{value!r} is not one of its values"
        return Fault(where, problem, "legal: " + details["ctx"]["expected"])
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, Mistake):
        text = _shown(value)
        problem = cause.problem if text in cause.problem else f"{text}: {cause.problem}"
        return Fault(where, problem if name else cause.problem, cause.cure or description)
    message = _plain(details)
    return Fault(where, f"{_shown(value)}: {message}" if name else message, description)


def _plain(details: ErrorDetails) -> str:
    """What pydantic says about a value, in plain words."""
    limits = details.get("ctx", {})
    kind = next((k for k in _KINDS if details["type"].startswith(k)), None)
    if kind is not None:
        return _KINDS[kind]
    if details["type"] in _LIMITS:
        words, name = _LIMITS[details["type"]]
        return words.format(limits.get(name))
    message = details["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _count(info: FieldInfo | None) -> int:
    """How many values an option takes that has a fixed number of them; 0 for other options."""
    kind = _without_none(info.annotation) if info else None
    return len(get_args(kind)) if get_origin(kind) is tuple else 0


def _shown(value: Any) -> str:
    if isinstance(value, date):
        return str(value)
    return "null" if value is None else repr(value)


def _old_word(details: ErrorDetails, model: type[BaseModel], name: str) -> OldWord | None:
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

    flags = _flags(info)
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


def _flags(info: FieldInfo) -> dict[str, Any]:
    """What `field` noted for the command line."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    flags: dict[str, Any] = extra.get("x-cli", {})  # type: ignore[assignment]
    return flags


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
