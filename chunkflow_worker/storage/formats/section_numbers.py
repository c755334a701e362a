"""The numbers of sections in the names of their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

_DIGITS = re.compile(r"[0-9]+")
_MINUS = re.compile(r"-(?=[0-9])")


class NotNumbered(ValueError):
    """The names don't give each section one number. The text says why."""


def section_numbers(
    names: Sequence[str], start: str = "", digits: int | None = None
) -> list[int] | None:
    """The number of each section: that in its name which differs from file to file.

    Among several, as in s001_40nm and s002_80nm, it is the one that counts by ones.

    names: of the files, with an extension. start: what all begin with; its digits don't count.
    Without it, a minus at the start of a name belongs to the number.
    digits: how many the number has, with leading zeros; larger numbers have more. None: any.
    Returns None if no name has digits, or all differ in their words. Raises NotNumbered if names
    have no such number, or more than one, or two names have the same.
    """
    stems = [PurePath(name).stem[len(start) :] for name in names]
    negative = [not start and _MINUS.match(stem) is not None for stem in stems]
    plain = [stem[1:] if minus else stem for stem, minus in zip(stems, negative, strict=True)]
    fields = [_DIGITS.findall(stem) for stem in plain]
    texts = [_DIGITS.sub("#", stem) for stem in plain]
    if not any(fields) or len(set(texts)) == len(texts) > 1:
        return None
    _check_alike(names, texts)
    columns = list(zip(*fields, strict=True))
    if digits is not None:
        _check_digits(names, fields, digits)
        columns = [column for column in columns if all(_fits(n, digits) for n in column)]
    different = [column for column in columns if len(set(map(int, column))) > 1] or columns[-1:]
    found = {tuple(map(int, column)) for column in different}
    found = {column for column in found if _counts(column)} if len(found) > 1 else found
    if len(found) != 1:
        raise NotNumbered(f"several numbers differ in {names[0]!r} and {names[1]!r}")
    signs = zip(negative, found.pop(), strict=True)
    numbers = [-number if minus else number for minus, number in signs]
    _check_different(names, numbers)
    return numbers


def _counts(numbers: Sequence[int]) -> bool:
    """Whether each number from the lowest to the highest stands there once."""
    return sorted(numbers) == list(range(min(numbers), min(numbers) + len(numbers)))


def _check_alike(names: Sequence[str], texts: Sequence[str]) -> None:
    """Raises NotNumbered unless the names differ in their digits alone."""
    usual = max(sorted(set(texts)), key=texts.count)
    odd = next((i for i, text in enumerate(texts) if text != usual), None)
    if odd is not None:
        raise NotNumbered(f"{names[odd]!r} is not named like {names[texts.index(usual)]!r}")


def _check_digits(names: Sequence[str], fields: Sequence[Sequence[str]], digits: int) -> None:
    columns = list(zip(*fields, strict=True))
    if any(all(_fits(number, digits) for number in column) for column in columns):
        return
    odd = next(i for i, row in enumerate(fields) if not all(_fits(n, digits) for n in row))
    raise NotNumbered(f"{names[odd]!r} does not have {digits} digits")


def _fits(text: str, digits: int) -> bool:
    return len(text) == digits or (len(text) > digits and text[0] != "0")


def _check_different(names: Sequence[str], numbers: Sequence[int]) -> None:
    seen: dict[int, str] = {}
    for number, name in zip(numbers, names, strict=True):
        if number in seen:
            raise NotNumbered(f"{seen[number]!r} and {name!r} have the same number")
        seen[number] = name
