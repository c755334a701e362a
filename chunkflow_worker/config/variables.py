"""`with_variables`: ``${env:NAME}`` in what a user wrote, replaced by the variable's value."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from chunkflow_worker.errors import Mistake

_BEGINS = "${env:"
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def with_variables(value: Any) -> Any:
    """`value`, with ``${env:NAME}`` replaced in all texts in it; the same object if there is none.

    Other dollar signs stay. Raises Mistake for a variable that is not set or empty: an empty folder
    would make another path of the rest.
    """
    if isinstance(value, str):
        return _replaced(value) if _BEGINS in value else value
    if isinstance(value, list | tuple):
        items = [with_variables(item) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items
    if isinstance(value, Mapping):
        pairs = {key: with_variables(item) for key, item in value.items()}
        return value if all(pairs[key] is value[key] for key in value) else pairs
    return value


def _replaced(text: str) -> str:
    replaced = _VARIABLE.sub(_value, text)
    if _BEGINS in _VARIABLE.sub("", text):
        raise Mistake(
            f"{text!r} holds a variable that is not complete",
            "write ${env:NAME} with the name of an environment variable",
        )
    return replaced


def _value(found: re.Match[str]) -> str:
    name = found.group(1)
    if value := os.environ.get(name):
        return value
    state = "is empty" if name in os.environ else "is not set"
    raise Mistake(
        f"the environment variable {name} {state}",
        f"set it here, and wherever the chain is used: export {name}=...",
    )
