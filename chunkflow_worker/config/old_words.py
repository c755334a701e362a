"""`OldWords`: what older versions of chunkflow called an option, and what to write today."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chunkflow_worker.config.facts import Facts

_NUMBERS = {"Z", "Y", "X", "N"}


@dataclass(frozen=True)
class OldWord:
    """One entry of the facts `renamed` and `removed`.

    old: an option of an older version. Words may follow it: values, or Z, Y, X and N for numbers.
    today: what means the same today; empty if nothing does.
    cure: what to do instead, where nothing means the same.
    """

    old: tuple[str, ...]
    today: tuple[str, ...] = ()
    cure: str = ""

    def numbers_in(self, words: Sequence[str]) -> dict[str, str] | None:
        """The numbers by their letter, if `words` begin like the old ones; otherwise None."""
        if len(words) < len(self.old):
            return None
        numbers = {}
        for old, word in zip(self.old, words, strict=False):
            if old in _NUMBERS and _is_number(word):
                numbers[old] = word
            elif old != word and (old.startswith("-") or old != word.lower()):
                return None
        after = words[len(self.old) : len(self.old) + 1]
        return None if numbers and after and _is_number(after[0]) else numbers

    def in_todays_words(self, words: Sequence[str]) -> list[str]:
        """`words`, which begin like the old ones, with today's instead."""
        numbers = self.numbers_in(words) or {}
        return [*(numbers.get(word, word) for word in self.today), *words[len(self.old) :]]


@dataclass(frozen=True)
class Translation:
    """A command line in today's words, and the old words that were in it."""

    words: list[str]
    renamed: list[OldWord]
    removed: OldWord | None = None


@dataclass(frozen=True)
class OldWords:
    """The options of older versions that a command knows; those with most words come first."""

    words: tuple[OldWord, ...] = ()

    @classmethod
    def of(cls, facts: type[Facts]) -> OldWords:
        return cls.read(facts.renamed, facts.removed)

    @classmethod
    def read(cls, renamed: Mapping[str, str], removed: Mapping[str, str]) -> OldWords:
        """From mappings as in `Facts`: commas separate old words that have one answer."""
        words = [
            *(OldWord(old, today=tuple(today.split())) for old, today in _entries(renamed)),
            *(OldWord(old, cure=cure) for old, cure in _entries(removed)),
        ]
        return cls(tuple(sorted(words, key=lambda word: -len(word.old))))

    def translate(self, line: Sequence[str], values: Mapping[str, int]) -> Translation:
        """The options at the start of a command line, in today's words; the rest is kept.

        values: the options of today, and how many values each takes.
        Stops at an option that was removed, or that no version has.
        """
        words: list[str] = []
        renamed: list[OldWord] = []
        rest = list(line)
        while rest and rest[0].startswith("-"):
            option, *attached = _split(rest[0], values)
            whole = [option, *attached, *rest[1:]]
            old = self.find(whole)
            if old is not None and not old.today:
                return Translation([*words, *rest], renamed, old)
            if old is not None:
                renamed.append(old)
                rest = old.in_todays_words(whole)
            elif option in values:
                stop = 1 + max(values[option] - len(attached), 0)
                words += rest[:stop]
                rest = rest[stop:]
            else:
                break
        return Translation([*words, *rest], renamed)

    def find(self, words: Sequence[str]) -> OldWord | None:
        """The entry that `words` begin with, if there is one."""
        return next((word for word in self.words if word.numbers_in(words) is not None), None)


def plain(text: str) -> str:
    """A text for a terminal: without the marks of Markdown around code."""
    return text.replace("`", "")


def _entries(facts: Mapping[str, str]) -> list[tuple[tuple[str, ...], str]]:
    return [
        (tuple(old.split()), answer) for olds, answer in facts.items() for old in olds.split(", ")
    ]


def _split(word: str, values: Mapping[str, int]) -> list[str]:
    """An option and the value that is attached to it, if any: --size=3, -s3."""
    if word.startswith("--"):
        return word.split("=", 1)
    # An option without values may be followed by other letters, which click reads.
    attached = word not in values and len(word) > 2 and values.get(word[:2], 1)
    return [word[:2], word[2:]] if attached else [word]


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?\d+", word) is not None
