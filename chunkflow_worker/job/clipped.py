"""`Clipped`: how many values of a task an operator's output type could not hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

WORTH_A_WORD = 0.001
"""The share of clipped values from which people are told."""

_Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True)
class Clipped:
    """The values that an operator converted in a task.

    values: number that saturated, or that were NaN and became 0. of: number that it converted.
    """

    operator: str
    values: _Count
    of: _Count


def clipped_shares(found: Iterable[Clipped]) -> dict[str, float]:
    """The share of the values that each operator clipped, from 0 to 1, over many tasks."""
    values: dict[str, int] = {}
    of: dict[str, int] = {}
    for one in found:
        values[one.operator] = values.get(one.operator, 0) + one.values
        of[one.operator] = of.get(one.operator, 0) + one.of
    return {operator: values[operator] / of[operator] for operator in of if of[operator]}


def clipped_lines(shares: Mapping[str, float]) -> Iterator[str]:
    """A line for each operator that clipped more than a few values."""
    for operator, share in shares.items():
        if share >= WORTH_A_WORD:
            yield f"{100 * share:.1f} % of the voxels were clipped by {operator}"
