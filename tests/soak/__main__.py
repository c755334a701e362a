"""The script of `make soak`: many tiny tasks, whose workers are killed, and must not leak.

With --write, the figures and the plot also go to docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from tests.chaos.report import put
from tests.soak.picture import PICTURE, draw
from tests.soak.run import Size, run


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    size = Size(
        options.tasks,
        options.workers,
        options.in_flight,
        options.seed,
        options.kill_every,
        options.sample_every,
    )
    folder = Path(mkdtemp(prefix="soak-"))
    outcome = run(folder, size)
    report = outcome.report()
    (folder / "samples.json").write_text(json.dumps(outcome.samples, default=vars))
    draw(outcome, folder / PICTURE.name)
    print(f"\n{report.table()}\n")
    for growth in outcome.growths:
        print(
            f"    {growth.name}: {growth.what} {growth.amount:+.3g} (at least {growth.least:+.3g})"
        )
    if options.write:
        put(report)
        shutil.copyfile(folder / PICTURE.name, PICTURE)
    if report.broken:
        print(f"BROKEN: {'; '.join(report.broken)}; see {folder}")
        return 1
    print("all promises were kept")
    shutil.rmtree(folder)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    usual = Size()
    parser = argparse.ArgumentParser(prog="make soak", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--tasks", type=_count, default=usual.tasks, help="number of tasks (%(default)s)")
    add("--workers", type=_count, default=usual.workers, help="number of workers (%(default)s)")
    add("--in-flight", type=_count, default=usual.in_flight, help="tasks of a worker (%(default)s)")
    add("--seed", type=int, default=usual.seed, help="of the kills (%(default)s)")
    add(
        "--kill-every",
        type=_seconds,
        default=usual.kill_every,
        help="mean seconds between two kills (%(default)s)",
    )
    add(
        "--sample-every",
        type=_seconds,
        default=usual.sample_every,
        help="seconds between two looks at the processes (%(default)s)",
    )
    add("--write", action="store_true", help="also write the table and plot of docs/reliability.md")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _seconds(text: str) -> float:
    if (number := float(text)) <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
