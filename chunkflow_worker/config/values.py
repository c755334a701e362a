"""`as_meant`: values of options as YAML reads them, taken as the command line would take them."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Literal, get_origin

from chunkflow_worker.errors import Mistake
from chunkflow_worker.image.bbox import Vec3

_QUOTES = "put it in quotes"
_WHOLE_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


def as_meant(kind: Any, value: Any, is_list: bool) -> Any:
    """`value`, of the type that an option takes where only one meaning is possible.

    kind: the option's type. is_list: it takes a text that separates its items by commas.
    Raises Mistake for a value that has another meaning in YAML than it seems to have. What is wrong
    for other reasons is returned as it is.
    """
    if kind is str:
        return _as_text(value, is_list)
    if kind is Vec3 and isinstance(value, int | float | str):
        raise Mistake("takes three whole numbers, z y x", "in brackets, for example [64, 512, 512]")
    if kind is bool or get_origin(kind) is Literal:
        return value
    if isinstance(value, list | tuple):
        return [_as_number(item) for item in value]
    return _as_number(value) if kind in (int, float) else value


def _as_number(value: Any) -> Any:
    """A number that is written as text, such as 1e3; other values as they are."""
    if isinstance(value, bool):
        raise Mistake(f"{value} is not a number", "YAML reads yes, no, on and off as true or false")
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else value
    return value


def _as_text(value: Any, is_list: bool) -> Any:
    if isinstance(value, bool):
        cure = f"YAML reads yes, no, on and off as true or false: {_QUOTES}"
        raise Mistake(f"takes text, and {value} is not", cure)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | date):
        raise Mistake(f"takes text, and YAML reads {value} as a {_name(value)}", _QUOTES)
    if isinstance(value, list | tuple):
        items = [item for item in value if isinstance(item, int | str) and item is not True]
        if not is_list or len(items) < len(value):
            example = ", for example 1,2" if is_list else ""
            raise Mistake("takes text, and this is a list", f"write one text{example}")
        return ",".join(map(str, items))
    if isinstance(value, dict):
        cure = f"a text that holds a colon or braces has quotes around it: {_QUOTES}"
        raise Mistake("takes text, and YAML reads this as a mapping", cure)
    return value


def _name(value: float | date) -> str:
    return "number" if isinstance(value, float) else "date"
