"""Options declared once: a frozen pydantic model gives the YAML keys, the schema and the command-line flags."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from chunkflow_worker.errors import Fault
from chunkflow_worker.image.bbox import Vec3

if TYPE_CHECKING:
    import click


class Options(BaseModel):
    """Base of everything that a user configures. Unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def field(
    default: Any = ...,
    *,
    flag: str = "",
    off: str = "",
    valued: bool = False,
    aliases: tuple[str, ...] = (),
    help: str,
    **limits: Any,
) -> Any:
    """Declare one option.

    default: value when the user gives none; leave out for a required option.
    flag: short command-line flag, for example ``-t``.
    off: for a boolean, the flag that turns it off; ``--no-<name>`` when empty.
    valued: for a boolean, that it is written ``--<name> true`` instead.
    aliases: further long flags.
    help: one sentence.
    limits: further arguments of pydantic's Field, for example ge=1.
    """
    flags: dict[str, Any] = {"flag": flag, "off": off, "valued": valued, "aliases": list(aliases)}
    return Field(
        default,
        description=help,
        json_schema_extra={"x-cli": {k: v for k, v in flags.items() if v}},
        **limits,
    )


def with_flag(model: type[Options], name: str, flag: str) -> Any:
    """Declare the option `name` of `model` again, with another short flag; it must have no limits."""
    option = model.model_fields[name]
    return field(option.default, flag=flag, help=option.description or "")


def above_zero(value: Any) -> Any:
    """Check a size, for pydantic's field_validator. Raises ValueError unless all its numbers are above 0."""
    if value is not None and min(value) <= 0:
        raise ValueError("takes numbers above 0")
    return value


def faults_of(error: ValidationError, model: type[Options], place: str) -> Iterator[Fault]:
    """What pydantic found wrong with the options of `model`, in the user's terms."""
    known = [name for name in model.model_fields if name != "op"]
    for e in error.errors():
        name = str(e["loc"][0]) if e["loc"] else ""
        where = f"{place}.{name}" if name else place
        info = model.model_fields.get(name)
        if e["type"] == "extra_forbidden":
            close = get_close_matches(name, known, n=1)
            cure = (f"did you mean {close[0]!r}? " if close else "") + "known: " + ", ".join(known)
            yield Fault(where, f"there is no option {name!r}", cure)
        elif e["type"] == "missing":
            yield Fault(where, "is required", info.description or "" if info else "")
        elif e["type"] == "literal_error":
            yield Fault(
                where, f"{e['input']!r} is not one of its values", "legal: " + e["ctx"]["expected"]
            )
        else:
            message = e["msg"].removeprefix("Value error, ")
            given = f"{e['input']!r}: " if name else ""
            yield Fault(
                where,
                given + message[:1].lower() + message[1:],
                info.description or "" if info else "",
            )


def click_options(
    model: type[Options], skip: frozenset[str] = frozenset()
) -> list[click.Parameter]:
    """Command-line options for the fields of `model`, in their order, without those named in `skip`."""
    return [
        _click_option(name, info) for name, info in model.model_fields.items() if name not in skip
    ]


def given_options(ctx: click.Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the user wrote on the command line, so that defaults stay the model's own."""
    from click.core import ParameterSource

    return {
        k: v
        for k, v in params.items()
        if ctx.get_parameter_source(k) is not ParameterSource.DEFAULT
    }


def _click_option(name: str, info: FieldInfo) -> click.Option:
    import click

    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    cli: dict[str, Any] = extra.get("x-cli", {})  # type: ignore[assignment]
    kind = _without_none(info.annotation)
    long = "--" + name.replace("_", "-")
    required = info.is_required()
    default = (
        None
        if required or info.default is PydanticUndefined
        else info.get_default(call_default_factory=True)
    )
    help_text = info.description or ""
    flags = [name, *([cli["flag"]] if "flag" in cli else []), *cli.get("aliases", [])]
    if kind is bool and not cli.get("valued"):
        off = cli.get("off") or f"--no-{name.replace('_', '-')}"
        return click.Option(
            [*flags, f"{long}/{off}"],
            default=default,
            show_default=default is not None,
            help=help_text,
        )
    nargs, click_type = _click_type(kind)
    return click.Option(
        [*flags, long],
        type=click_type,
        nargs=nargs,
        required=required,
        show_default=default not in (None, ""),
        help=help_text,
        metavar=_metavar(kind),
        **(
            {} if default is None else {"default": default}
        ),  # for click a default of None would satisfy `required`
    )


def _click_type(kind: Any) -> tuple[int, Any]:
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
    if kind is Vec3 or (get_origin(kind) is tuple and len(get_args(kind)) == 3):
        return "Z Y X"
    if get_origin(kind) is tuple:
        return " ".join(["N"] * len(get_args(kind)))
    return None


def _without_none(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _without_none(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        rest = [k for k in get_args(kind) if k is not type(None)]
        return _without_none(rest[0]) if len(rest) == 1 else str
    return kind
