"""What every benchmark can be told on its command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """repeats: number of rounds. write: whether the figures go to RESULTS.md too."""

    repeats: int
    write: bool


def options(question: str | None, repeats: int, meaning: str = "number of rounds") -> Options:
    """Read the command line. `repeats` is the default; `meaning` explains the option."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--repeats", type=int, default=repeats, help=meaning)
    parser.add_argument(
        "--write", action="store_true", help="also write the figures to benchmarks/RESULTS.md"
    )
    given = parser.parse_args()
    return Options(given.repeats, given.write)
